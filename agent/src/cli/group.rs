//! `plan` and `check`: what a session would hold, found out without the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use quiesced_core::plan::Plan;

use super::{print_json, render, say};
use crate::daemon::survey::Surveyor;
use crate::error::CliError;
use crate::paths::Paths;

pub(super) async fn plan(paths: &Paths, group: &str, json: bool) -> Result<ExitCode, CliError> {
    let plan = survey(paths, group).await?;
    if json {
        print_json(&plan)?;
    } else {
        say(&render::plan(group, &plan));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn check(paths: &Paths, group: &str, json: bool) -> Result<ExitCode, CliError> {
    let plan = survey(paths, group).await?;
    if json {
        print_json(&serde_json::json!({ "group": group, "ready": true, "plan": plan }))?;
    } else {
        say(&format!("group {group} is ready: {}\n{}", render::extent(&plan), render::outside(&plan)));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_config(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    let surveyor = load(paths)?;
    let files = &surveyor.config_files;
    if json {
        print_json(&serde_json::json!({ "valid": true, "files": files }))?;
    } else {
        say(&format!(
            "the configuration is valid: {} file(s), {} hook(s)\n",
            files.len(),
            surveyor.settings.hook.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn survey(paths: &Paths, group: &str) -> Result<Plan, CliError> {
    let surveyor = Arc::new(load(paths)?);
    Ok(surveyor.survey(group).await?)
}

fn load(paths: &Paths) -> Result<Surveyor, CliError> {
    Surveyor::load(paths).map_err(|errors| CliError::config(&errors))
}
