//! Preflight: everything that can be known before a session and might stand in its way.
//!
//! The survey comes first, since it says which filesystems it is about; then what is here. All of it only looks, and
//! ends in time: `/proc` and `/sys` are read by a thread, and what may block is done by a process of its own
//! ([`writes`]).

mod budget;
mod dirty;
mod extent;
pub mod fanotify;
mod health;
mod kernel;
pub mod leftovers;
mod rights;
mod room;
mod unit;
pub mod writes;

use std::ffi::OsString;
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quiesced_core::finding::{Finding, Severity};
use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;

use crate::config::GroupSettings;
use crate::daemon::survey::{Surveyor, blocking};

/// Reading `/proc` of a busy host takes some ten milliseconds. What takes longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(2);

/// What preflight found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Filesystems that take no writes, because somebody else has frozen them.
    pub frozen: Vec<Problem>,
    /// Everything else.
    pub findings: Vec<Finding>,
}

impl Found {
    /// The findings of a severity.
    pub fn of(&self, severity: Severity) -> Vec<Problem> {
        of(&self.findings, severity)
    }
}

/// What a survey and preflight of a group came to.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What a session would hold; absent when that cannot be said.
    pub plan: Option<Plan>,
    /// What stands in the way, and what somebody should know.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// The findings of a severity.
    pub fn of(&self, severity: Severity) -> Vec<Problem> {
        of(&self.findings, severity)
    }
}

/// Looks whether a session of a group could run, without touching anything.
pub async fn check(surveyor: &Arc<Surveyor>, group_name: &str, program: &Path) -> Checked {
    let limit = surveyor.settings.agent.pre_script_budget;
    let late = || vec![Problem::new("the survey did not end within pre-script's budget")];
    let surveyed = tokio::time::timeout(limit, surveyor.survey(group_name)).await;
    let group = surveyor.group(group_name).map_err(|problem| vec![problem]);
    match surveyed.unwrap_or_else(|_| Err(late())).and_then(|plan| Ok((plan, group?))) {
        Ok((plan, group)) => {
            let Found { frozen, mut findings } = run(surveyor, group, &plan, program).await;
            findings.extend(frozen.into_iter().map(Finding::error));
            findings.extend(unit::look(&surveyor.settings, group, surveyor.paths.host_root()).await);
            Checked { plan: Some(plan), findings }
        }
        Err(problems) => {
            let mut findings: Vec<Finding> = problems.into_iter().map(Finding::error).collect();
            findings.extend(leftovers::look(&surveyor.paths.runtime_dir));
            findings.extend(leftovers::place(&surveyor.paths.runtime_dir));
            Checked { plan: None, findings }
        }
    }
}

fn of(findings: &[Finding], severity: Severity) -> Vec<Problem> {
    let found = findings.iter().filter(|finding| finding.severity == severity);
    found.map(|finding| finding.problem.clone()).collect()
}

/// Looks at everything that might stand in the way of a group's session, whose plan is known.
pub async fn run(surveyor: &Arc<Surveyor>, group: &GroupSettings, plan: &Plan, program: &Path) -> Found {
    let (own, own_group, own_plan) = (Arc::clone(surveyor), group.clone(), plan.clone());
    let read = tokio::time::timeout(LIMIT, blocking(move || look(&own, &own_group, &own_plan)));
    let (read, (frozen, refused)) = tokio::join!(read, writes::obstacles(program, written(surveyor, plan)));
    let mut findings = match read {
        Ok(Ok(findings)) => findings,
        Ok(Err(problems)) => problems.into_iter().map(Finding::error).collect(),
        Err(_) => vec![Finding::warning(Problem::new("preflight could not read /proc and /sys within 2 s"))],
    };
    findings.extend(refused.into_iter().map(Finding::error));
    if !group.expect_volumes.is_empty() {
        findings.extend(plan.uncovered(&group.expect_volumes).into_iter().map(Finding::error));
    }
    // Threads and processes answer in no order; people compare.
    findings.sort_by(|a, b| (a.severity, &a.problem.message).cmp(&(b.severity, &b.problem.message)));
    Found { frozen, findings }
}

fn look(surveyor: &Surveyor, group: &GroupSettings, plan: &Plan) -> Vec<Finding> {
    let root = surveyor.paths.host_root();
    let mut findings = leftovers::look(&surveyor.paths.runtime_dir);
    findings.extend(leftovers::place(&surveyor.paths.runtime_dir));
    findings.extend(extent::look(plan, root));
    findings.extend(health::look(plan, root));
    findings.extend(budget::look(&surveyor.settings, group));
    findings.extend(dirty::look(plan, surveyor.settings.agent.pre_script_budget, root));
    findings.extend(fanotify::look(root));
    findings.extend(kernel::look(plan, root));
    if surveyor.paths.simulate.is_none() {
        findings.extend(rights::look(&surveyor.paths.runtime_dir));
        findings.extend(room::look(&surveyor.paths.state_dir));
    }
    if surveyor.paths.simulate.is_none() && !nix::unistd::geteuid().is_root() {
        let problem = Problem::new(
            "without root it cannot be told whether filesystems take writes, and what processes do",
        );
        findings.push(Finding::error(problem.with_hint(Some("run the command as root"))));
    }
    findings
}

/// The descriptors of processes that lead to something of this name, each with the directory of its process in `/proc`. A
/// process that ends meanwhile, or that only root may look at, is passed over.
fn holders(root: &Path, target: &str) -> impl Iterator<Item = (PathBuf, OsString)> {
    let is_process = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_bytes().iter().all(u8::is_ascii_digit)
    };
    let processes = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).filter(is_process).flat_map(move |process| {
        let open = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let leads =
            |entry: &DirEntry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == target);
        let held: Vec<_> = open.filter(leads).map(|entry| (process.clone(), entry.file_name())).collect();
        held
    })
}

/// Filesystems of a made-up host are not there to be written to, and those of an open session are frozen by ourselves.
fn written(surveyor: &Surveyor, plan: &Plan) -> Vec<PathBuf> {
    if surveyor.paths.simulate.is_some() || !nix::unistd::geteuid().is_root() {
        return Vec::new();
    }
    let own = leftovers::held_by_an_open_session(&surveyor.paths.runtime_dir);
    let others = plan.filesystems.iter().filter(|planned| !own.contains(&planned.superblock));
    others.map(|planned| planned.mount_point.clone()).collect()
}
