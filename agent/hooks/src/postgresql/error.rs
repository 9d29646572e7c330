//! Why a PostgreSQL server could not be held.

use std::io;
use std::path::PathBuf;

use tokio_postgres::error::SqlState;

use crate::server::{SecretError, TlsError};

/// What went wrong with a server; `server` is how it is reached, for example `/var/run/postgresql:5432`.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The password file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Nobody answers, or the login is refused.
    #[error("PostgreSQL at {server} does not let {user} in")]
    Connect {
        /// The server.
        server: String,
        /// The role.
        user: String,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// A statement failed.
    #[error("PostgreSQL at {server} did not answer: {what}")]
    Query {
        /// The server.
        server: String,
        /// What it was asked.
        what: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// It is older than what was tested.
    #[error("PostgreSQL at {server} is version {version}; 12 is the oldest that is supported")]
    TooOld {
        /// The server.
        server: String,
        /// Its `server_version_num`.
        version: i32,
    },
    /// The data directory that it names is not its own here.
    #[error("PostgreSQL at {server} keeps its data elsewhere: {path} is not its control file")]
    Elsewhere {
        /// The server.
        server: String,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read; absent when it is that of another server.
        source: Option<io::Error>,
    },
    /// It does not wait for its disk, so no snapshot of it is worth anything.
    #[error("PostgreSQL at {server} runs with fsync = off: what it calls committed may be nowhere")]
    FsyncOff {
        /// The server.
        server: String,
    },
    /// Backup mode needs more WAL than it writes.
    #[error("PostgreSQL at {server} runs with wal_level = minimal, which has no backup mode")]
    MinimalWal {
        /// The server.
        server: String,
    },
    /// The role may not do what the mode needs.
    #[error("role {user} of PostgreSQL at {server} may not {what}")]
    NotPermitted {
        /// The server.
        server: String,
        /// The role.
        user: String,
        /// What it may not.
        what: &'static str,
        /// The statement that permits it.
        grant: String,
    },
    /// The hold is broken.
    #[error("PostgreSQL at {server} was not held: {why}")]
    Lost {
        /// The server.
        server: String,
        /// What became of it.
        why: String,
    },
    /// What a restore needs could not be kept.
    #[error("the backup label cannot be kept in {path}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl PostgresError {
    /// Whether nobody answers at all, as opposed to a server that refuses.
    pub(super) fn is_unavailable(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                source.code().is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW)
            }
            _ => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => Some(error.hint()),
            Self::Tls(error) => error.hint(),
            Self::Connect { server, user, source } => Some(login_hint(server, user, source.code())),
            Self::Query { source, .. } if source.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Some(
                "GRANT pg_monitor TO the role; docs/hooks/postgresql.md has all that it needs".to_owned(),
            ),
            Self::NotPermitted { grant, .. } => Some(grant.clone()),
            Self::Elsewhere { .. } => Some(
                "run the agent where the server runs: on its host, and not beside its container".to_owned(),
            ),
            Self::FsyncOff { .. } => Some("ALTER SYSTEM SET fsync = on, then reload".to_owned()),
            Self::MinimalWal { .. } => {
                Some("use `mode = \"flush\"`, or ALTER SYSTEM SET wal_level = replica and restart".to_owned())
            }
            Self::Keep { path, .. } => {
                Some(format!("look at `df -h {}`", path.parent().unwrap_or(path).display()))
            }
            Self::Query { .. } | Self::TooOld { .. } | Self::Lost { .. } => None,
        }
    }
}

fn login_hint(server: &str, user: &str, code: Option<&SqlState>) -> String {
    let (host, port) = server.rsplit_once(':').unwrap_or((server, "5432"));
    match code {
        Some(code) if *code == SqlState::INVALID_PASSWORD => {
            format!("ALTER ROLE {user} PASSWORD '…', and put the same into `password`")
        }
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            format!(
                "CREATE ROLE {user} LOGIN, and let it in with a line in pg_hba.conf (and pg_ident.conf for `peer`)"
            )
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "raise max_connections; from version 16 on, GRANT pg_use_reserved_connections to the role"
                .to_owned()
        }
        Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => {
            format!("it is starting up or shutting down: pg_isready -h {host} -p {port}")
        }
        _ => format!("pg_isready -h {host} -p {port}; or `if_unavailable = \"skip\"` in the hook"),
    }
}
