//! A server of Redis or Valkey on a socket in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{RedisBuild, ServerError, until_answering};
use crate::tool::{Tool, ToolError};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct Redis {
    build: RedisBuild,
    directory: tempfile::TempDir,
    data: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server that keeps its data in `data`, or below its own directory; `options` are those of redis-server.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn new(data: Option<&Path>, options: &[&str]) -> Result<Self, ServerError> {
        Self::of(RedisBuild::Debian, data, options)
    }

    /// The same, of another build.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn of(build: RedisBuild, data: Option<&Path>, options: &[&str]) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Io { what: "a directory".to_owned(), source };
        let directory = tempfile::tempdir().map_err(failed)?;
        let data = data.unwrap_or_else(|| directory.path()).to_owned();
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { build, directory, data, options, child: None };
        server.start()?;
        Ok(server)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(&mut self) -> Result<(), ServerError> {
        let failed = |source| ServerError::Io { what: self.build.name().to_owned(), source };
        let log = fs::File::create(self.directory.path().join("log")).map_err(failed)?;
        let mut command = Command::new(self.build.program());
        command.args(["--port", "0", "--unixsocket"]).arg(self.socket()).arg("--dir").arg(&self.data);
        command.args(&self.options).current_dir("/");
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let mut child = command.spawn().map_err(failed)?;
        let answers = || self.ask(&["PING"]).is_ok_and(|answer| answer == "PONG");
        let answering = until_answering(&mut child, START_LIMIT, answers, || self.log());
        self.child = Some(child);
        answering
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The process that was started last, to be noted where it must not outlive its owner.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Its own client, which also runs what comes by standard input.
    pub fn client(&self) -> Command {
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(self.socket());
        client
    }

    /// Asks it by its own client. What it refuses is an answer too.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, command: &[&str]) -> Result<String, ToolError> {
        Tool::of(self.client()).args(command).run()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
