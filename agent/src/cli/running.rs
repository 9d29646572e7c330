//! What a running agent, or its absence, means for the next session: a part of `check` that only a command can tell.

use std::time::Duration;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

use crate::api::client::{self, ClientError};
use crate::api::wire::{ConfigStatus, StatusReply};
use crate::daemon::survey::Surveyor;
use crate::paths::Paths;

/// An agent that lives tells its status in a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the agent what it is doing.
pub(super) async fn look(paths: &Paths, surveyor: &Surveyor) -> Vec<Finding> {
    let socket = paths.socket();
    match tokio::time::timeout(PATIENCE, client::get::<StatusReply>(&socket, "/v1/status")).await {
        Ok(Ok(status)) => {
            let open =
                status.session.and_then(|open| surveyor.in_the_way(&open.execution_id)).map(Finding::error);
            open.into_iter().chain(config(&status.config)).collect()
        }
        Ok(Err(error)) => vec![absent(&error)],
        Err(_) => {
            let problem = Problem::new("the agent is running, but does not answer");
            vec![Finding::error(problem.with_hint(Some("look at `systemctl status quiesced`")))]
        }
    }
}

/// The files are checked before the agent is started for the first time: that it does not run yet is no error.
fn absent(error: &ClientError) -> Finding {
    let problem = Problem::from_error(error).with_hint(Some(error.hint()));
    if error.is_not_running() && !error.is_forbidden() {
        Finding::warning(
            problem.within("the agent is not running: until then every pre-script is refused with 206"),
        )
    } else {
        Finding::error(problem)
    }
}

/// What is to be known of the files that the agent has read.
pub(super) fn config(status: &ConfigStatus) -> Vec<Finding> {
    let mut findings: Vec<Finding> = status
        .refused
        .iter()
        .map(|problem| Finding::warning(problem.clone().within("the agent could not read its files again")))
        .collect();
    let changed = status.stamp.changed();
    if !changed.is_empty() {
        let message =
            format!("the agent has not read these files since they changed: {}", changed.join(", "));
        let hint = "`systemctl reload quiesced`, or send SIGHUP to it";
        findings.push(Finding::warning(Problem::new(message).with_hint(Some(hint))));
    }
    findings
}
