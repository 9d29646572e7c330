//! `status`.

use std::process::ExitCode;

use quiesced_core::finding::Finding;

use super::watch::Watch;
use super::{render, running, to_json};
use crate::api::client;
use crate::api::wire::StatusReply;
use crate::error::CliError;
use crate::facts::Facts;
use crate::paths::Paths;
use crate::preflight::leftovers;

/// What machines read.
#[derive(serde::Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    status: &'a StatusReply,
    warnings: &'a [Finding],
    host: Facts,
}

pub(super) async fn status(paths: &Paths, watch: &Watch, json: bool) -> Result<ExitCode, CliError> {
    watch.run(async || look(paths, json).await).await
}

async fn look(paths: &Paths, json: bool) -> Result<String, CliError> {
    let status: StatusReply = match client::get(&paths.socket(), "/v1/status").await {
        Ok(status) => status,
        Err(error) => {
            let mut failed = CliError::client(&error);
            // What a dead agent may have left held is more urgent than that it is dead.
            let left = leftovers::look(&paths.runtime_dir);
            failed.problems.splice(0..0, left.into_iter().map(|finding| finding.problem));
            return Err(failed);
        }
    };
    let warnings = running::config(&status.config);
    if json {
        return to_json(&Told { status: &status, warnings: &warnings, host: Facts::gather() });
    }
    Ok(format!("{}{}\n", render::status(&status, &warnings), Facts::gather()))
}
