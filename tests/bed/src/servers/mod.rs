//! Database servers for tests: each one is started by the test itself, as the server's own user, and ends with it.

mod builds;
mod mariadb;
mod mysql;
mod postgres;
mod redis;

pub use builds::{PostgresBuild, RedisBuild};
pub use mariadb::Mariadb;
pub use mysql::{Mysql, require_mysql};
pub use postgres::{Postgres, PostgresOptions};
pub use redis::Redis;

use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tool::{Tool, ToolError};
use crate::wait_until;

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its programs or its user are missing.
    #[error("{what} is not installed; scripts/install-test-tools or scripts/install-mysql installs it")]
    Missing {
        /// What is missing.
        what: String,
    },
    /// A tool of it failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file or a process of it.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Its own check finds damage.
    #[error("the server's own check finds damage:\n{report}")]
    Damaged {
        /// What the check printed.
        report: String,
    },
    /// It does not answer, or has ended.
    #[error("the server does not answer; its log:\n{log}")]
    Silent {
        /// What it wrote.
        log: String,
    },
}

/// Ends a server, and waits for its end.
fn end(child: Option<Child>, signal: Signal) {
    let Some(mut child) = child else { return };
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), signal);
    }
    let _ = child.wait();
}

/// A directory that belongs to a user.
fn directory_of(user: &str) -> Result<tempfile::TempDir, ServerError> {
    let failed = |source| ServerError::Io { what: "a directory".to_owned(), source };
    let directory = tempfile::tempdir().map_err(failed)?;
    Tool::new("chown").arg(user).arg(directory.path()).run()?;
    Ok(directory)
}

/// Waits until a server that was started answers. One that ends instead, as on data that it refuses, is not waited for.
fn until_answering(
    child: &mut Child,
    limit: Duration,
    answers: impl Fn() -> bool,
    log: impl Fn() -> String,
) -> Result<(), ServerError> {
    let mut ended = false;
    let waited = wait_until("the server answers", limit, || {
        ended = !matches!(child.try_wait(), Ok(None));
        ended || answers()
    });
    if ended || waited.is_err() { Err(ServerError::Silent { log: log() }) } else { Ok(()) }
}
