//! Commands that talk to an agent under test.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Agent, AgentError};

/// What a command answered.
#[derive(Clone, Debug)]
pub struct CliOutput {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
}

/// A command that is under way. Dropping it leaves it running; see [`RunningCli::kill`].
#[derive(Debug)]
pub struct RunningCli {
    child: Child,
    begun: Instant,
}

impl Agent {
    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cli<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<CliOutput, AgentError> {
        self.start_cli(arguments)?.wait()
    }

    /// Starts a command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_cli<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<RunningCli, AgentError> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).envs(self.environment());
        RunningCli::start(command)
    }

    /// `pre-script` with this execution id.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn pre_script(&self, execution_id: &str) -> Result<CliOutput, AgentError> {
        self.cli(["pre-script", "--execution-id", execution_id])
    }

    /// `post-script` with this execution id.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn post_script(&self, execution_id: &str) -> Result<CliOutput, AgentError> {
        self.cli(["post-script", "--execution-id", execution_id])
    }
}

impl RunningCli {
    /// Starts a command, with nothing to read and what it prints kept.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(mut command: Command) -> Result<Self, AgentError> {
        let begun = Instant::now();
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => Ok(Self { child, begun }),
            Err(source) => Err(AgentError::Start { program: command.get_program().into(), source }),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn wait(self) -> Result<CliOutput, AgentError> {
        let output = self.child.wait_with_output();
        let output =
            output.map_err(|source| AgentError::Start { program: "the command's output".into(), source })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(CliOutput {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            took: self.begun.elapsed(),
        })
    }

    /// Kills it with SIGKILL, as the SSM agent does, and reaps it.
    pub fn kill(mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }
}
