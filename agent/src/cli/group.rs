//! `plan` and `check`: what a session would hold, found out without the daemon.

use std::process::ExitCode;
use std::sync::Arc;

use quiesced_core::coverage::Part;
use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;

use super::{PlanArgs, print_json, render, tree};
use crate::daemon::survey::Surveyor;
use crate::error::CliError;
use crate::paths::Paths;

pub(super) async fn plan(paths: &Paths, args: &PlanArgs, json: bool) -> Result<ExitCode, CliError> {
    let group = &args.group.group;
    let surveyor = Arc::new(load(paths)?);
    let configured = &surveyor.group(group)?.expect_volumes;
    let expected = if args.expect_volumes.is_empty() { configured } else { &args.expect_volumes };
    let plan = surveyor.survey(group).await?;
    let uncovered = if expected.is_empty() { Vec::new() } else { plan.uncovered(expected) };
    if json {
        print_json(&Planned {
            group,
            plan: &plan,
            coverage: plan.coverage(),
            expected,
            uncovered: &uncovered,
        })?;
    } else {
        print!("{}", tree::plan(group, &plan));
        eprint!("{}", CliError::from(uncovered.clone()));
    }
    Ok(if uncovered.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What machines read.
#[derive(serde::Serialize)]
struct Planned<'a> {
    group: &'a str,
    #[serde(flatten)]
    plan: &'a Plan,
    coverage: Vec<Part<'a>>,
    #[serde(rename = "expect_volumes")]
    expected: &'a [String],
    uncovered: &'a [Problem],
}

pub(super) async fn check(paths: &Paths, group: &str, json: bool) -> Result<ExitCode, CliError> {
    let plan = survey(paths, group).await?;
    if json {
        print_json(&serde_json::json!({ "group": group, "ready": true, "plan": plan }))?;
    } else {
        println!("group {group} is ready: {}", render::extent(&plan));
        print!("{}", render::outside(&plan));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_config(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    let surveyor = load(paths)?;
    let files = &surveyor.config_files;
    if json {
        print_json(&serde_json::json!({ "valid": true, "files": files }))?;
    } else {
        println!(
            "the configuration is valid: {} file(s), {} hook(s)",
            files.len(),
            surveyor.settings.hook.len()
        );
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
