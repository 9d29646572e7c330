//! `plan` and `check`: what a session would hold, found out without the daemon.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use quiesced_core::coverage::Part;
use quiesced_core::finding::Severity;
use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;

use super::{PlanArgs, print_json, render, running, say, say_aside, tree};
use crate::daemon::OWN_BINARY;
use crate::daemon::survey::Surveyor;
use crate::error::CliError;
use crate::facts::Facts;
use crate::paths::Paths;
use crate::preflight::{self, Checked};

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
        say(&tree::plan(group, &plan));
        say_aside(&CliError::from(uncovered.clone()).to_string());
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
    let surveyor = Arc::new(load(paths)?);
    let mut checked = preflight::check(&surveyor, group, Path::new(OWN_BINARY)).await;
    checked.findings.extend(running::look(paths, &surveyor).await);
    let is_ready = checked.of(Severity::Error).is_empty();
    if json {
        let Checked { plan, findings } = &checked;
        print_json(&serde_json::json!({
            "group": group, "ready": is_ready, "findings": findings, "plan": plan, "host": Facts::gather()
        }))?;
    } else {
        say(&format!("{}{}\n", render::checked(group, &checked), Facts::gather()));
    }
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

fn load(paths: &Paths) -> Result<Surveyor, CliError> {
    Surveyor::load(paths).map_err(CliError::config)
}
