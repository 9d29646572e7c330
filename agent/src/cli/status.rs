//! `status`.

use std::process::ExitCode;

use super::{print_json, render, say};
use crate::api::client;
use crate::api::wire::StatusReply;
use crate::error::CliError;
use crate::paths::Paths;

pub(super) async fn status(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    let status: StatusReply =
        client::get(&paths.socket(), "/v1/status").await.map_err(|error| CliError::client(&error))?;
    if json {
        print_json(&status)?;
    } else {
        say(&render::status(&status));
    }
    Ok(ExitCode::SUCCESS)
}
