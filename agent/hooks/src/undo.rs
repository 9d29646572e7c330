//! What releases a hold that outlived the agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::HookError;
use crate::mysql::StoppedChannels;
use crate::process::group::Leader;
use crate::process::mark::{Mark, end_marked};
use crate::process::program::Program;
use crate::process::supervise::Supervisor;
use crate::redis::{self, settings::RedisSettings};

/// What `recover` does for a hook that was quiesced when the agent died. It stands in the journal as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// End the hook's own command if it still runs, then run another.
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
        /// Where the hook's command left its mark.
        mark: PathBuf,
    },
    /// End a process group, whose leader held the application still.
    KillGroup(Leader),
    /// End a pause of a Redis or Valkey server. The settings name the file with the password, and do not hold it.
    RedisUnpause(Box<RedisSettings>),
    /// Let a MySQL replica apply again what it receives.
    MysqlApply(Box<StoppedChannels>),
}

impl Undo {
    /// Carries it out, and waits until it is done.
    ///
    /// # Errors
    /// When the command may not run, fails or takes too long, or the group cannot be ended.
    pub async fn carry_out(&self) -> Result<(), HookError> {
        match self {
            Self::Command { argv, user, environment, timeout, mark } => {
                end_marked(mark).await?;
                let program = Program::resolve(argv.clone(), user.clone()).await?;
                let mut supervisor = Supervisor::marked(Mark::create(mark)?);
                Ok(supervisor.run_within(&program, environment.clone(), *timeout).await?)
            }
            Self::KillGroup(leader) => Ok(leader.end().await?),
            Self::MysqlApply(stopped) => Ok(stopped.start_again().await?),
            Self::RedisUnpause(settings) => Ok(redis::end_pause(settings).await?),
        }
    }
}
