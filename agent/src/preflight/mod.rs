//! Preflight: everything that can be known before a session and might stand in its way.
//!
//! The survey comes first, since it says which filesystems it is about; then what is here. All of it only looks, and
//! ends in time: `/proc` and `/sys` are read by a thread, and what may block is done by a process of its own
//! ([`writes`]).

mod budget;
mod fanotify;
mod health;
mod leftovers;
pub mod writes;

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
        let found = self.findings.iter().filter(|finding| finding.severity == severity);
        found.map(|finding| finding.problem.clone()).collect()
    }
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
    Found { frozen, findings }
}

fn look(surveyor: &Surveyor, group: &GroupSettings, plan: &Plan) -> Vec<Finding> {
    let root = surveyor.paths.host_root();
    let mut findings = leftovers::look(&surveyor.paths.runtime_dir);
    findings.extend(health::look(plan, root));
    findings.extend(budget::look(&surveyor.settings, group, root));
    findings.extend(fanotify::look(root));
    findings
}

/// Filesystems of a made-up host are not there to be written to.
fn written(surveyor: &Surveyor, plan: &Plan) -> Vec<PathBuf> {
    let real = plan.filesystems.iter().filter(|_| surveyor.paths.simulate.is_none());
    real.map(|planned| planned.mount_point.clone()).collect()
}
