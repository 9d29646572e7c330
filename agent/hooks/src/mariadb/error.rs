//! Why a MariaDB server could not be held.

use std::io;
use std::path::PathBuf;

use mysql_async::Error;

use crate::server::SecretError;

/// ER_ACCESS_DENIED_ERROR and ER_ACCESS_DENIED_NO_PASSWORD_ERROR
/// (<https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference>).
const WRONG_PASSWORD: [u16; 2] = [1045, 1698];
/// ER_CON_COUNT_ERROR
const TOO_MANY: u16 = 1040;
/// ER_SPECIFIC_ACCESS_DENIED_ERROR
const NOT_PERMITTED: u16 = 1227;
/// ER_LOCK_WAIT_TIMEOUT
const LOCK_WAIT: u16 = 1205;

/// What went wrong with a server; `server` is how it is reached.
#[derive(Debug, thiserror::Error)]
pub enum MariadbError {
    /// The password file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody answers, or the login is refused.
    #[error("MariaDB at {server} does not let {user} in")]
    Connect {
        /// The server.
        server: String,
        /// The user.
        user: String,
        /// What it said.
        source: Error,
    },
    /// A statement failed.
    #[error("MariaDB at {server} refuses {statement}")]
    Refused {
        /// The server.
        server: String,
        /// The statement.
        statement: &'static str,
        /// What it said.
        source: Error,
    },
    /// It is older than backup stages, or no MariaDB.
    #[error("the server at {server} is {version}; MariaDB 10.5 is the oldest that this hook knows")]
    OtherServer {
        /// The server.
        server: String,
        /// What it says it is.
        version: String,
    },
    /// It is a node of a cluster, which would be held up as a whole.
    #[error("MariaDB at {server} is a node of a Galera cluster: a lock on it stops the whole cluster")]
    Galera {
        /// The server.
        server: String,
    },
    /// A directory that it names is not on this host.
    #[error("MariaDB at {server} keeps data in {path}, which is not that directory of this host")]
    Elsewhere {
        /// The server.
        server: String,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The hold is broken.
    #[error("MariaDB at {server} was not held: {why}")]
    Lost {
        /// The server.
        server: String,
        /// What became of it.
        why: String,
    },
}

/// The number of a server's own error.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

impl MariadbError {
    /// Whether nobody answers at all, as opposed to a server that refuses.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Connect { source: Error::Io(_), .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => Some(error.hint()),
            Self::Connect { user, source, .. } => Some(match code(source) {
                Some(code) if WRONG_PASSWORD.contains(&code) => {
                    format!("ALTER USER {user} IDENTIFIED BY '…', and put the same into `password`")
                }
                Some(TOO_MANY) => "SET GLOBAL max_connections = …; or connect to extra_port".to_owned(),
                _ => "mariadb-admin ping; or `if_unavailable = \"skip\"` in the hook".to_owned(),
            }),
            Self::Refused { source, .. } => match code(source)? {
                NOT_PERMITTED => Some("GRANT RELOAD, REPLICA MONITOR ON *.* TO the user".to_owned()),
                LOCK_WAIT => Some(
                    "a statement on a table that is not transactional, or another backup, is in the way: SHOW \
                     PROCESSLIST"
                        .to_owned(),
                ),
                _ => None,
            },
            Self::Galera { .. } => {
                Some("take the snapshot of a node with wsrep_desync = ON, through an `exec` hook".to_owned())
            }
            Self::OtherServer { .. } => Some("use an `exec` or a `session` hook for it".to_owned()),
            Self::Elsewhere { .. } => Some(
                "run the agent as root where the server runs: on its host, and not beside its container".to_owned(),
            ),
            Self::Lost { .. } => None,
        }
    }
}
