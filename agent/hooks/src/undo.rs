//! What releases a hold that outlived the agent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::HookError;
use crate::process::group;
use crate::process::program::Program;
use crate::process::supervise;

/// What `recover` does for a hook that was quiesced when the agent died. It stands in the journal as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// Run a command.
    Command {
        /// The argument vector.
        argv: Vec<String>,
        /// The user that runs it; the agent's own when absent.
        user: Option<String>,
        /// The environment variables that the hook's command is given, but for the deadline.
        environment: BTreeMap<String, String>,
        /// How long it may take.
        #[serde(with = "humantime_serde")]
        timeout: Duration,
    },
    /// End a process group, whose leader held the application still.
    KillGroup {
        /// The leader.
        pid: i32,
        /// When the leader began, as `/proc/PID/stat` has it: the same number may later name another process.
        start_time: u64,
    },
}

impl Undo {
    /// Carries it out, and waits until it is done.
    ///
    /// # Errors
    /// When the command may not run, fails or takes too long, or the group cannot be ended.
    pub async fn carry_out(&self) -> Result<(), HookError> {
        match self {
            Self::Command { argv, user, environment, timeout } => {
                let program = Program::resolve(argv.clone(), user.clone()).await?;
                Ok(supervise::run_within(&program, environment.clone(), *timeout).await?)
            }
            Self::KillGroup { pid, start_time } => Ok(group::end_if_same(*pid, *start_time).await?),
        }
    }
}
