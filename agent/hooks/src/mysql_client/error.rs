//! Why a MariaDB or MySQL server could not be held.

use std::io;
use std::path::PathBuf;

use mysql_async::Error;

use super::{Product, Server};
use crate::server::SecretError;

/// ER_ACCESS_DENIED_ERROR and ER_ACCESS_DENIED_NO_PASSWORD_ERROR; both products have these numbers
/// (<https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html>,
/// <https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference>).
const WRONG_PASSWORD: [u16; 2] = [1045, 1698];
/// ER_CON_COUNT_ERROR
const TOO_MANY: u16 = 1040;
/// ER_SPECIFIC_ACCESS_DENIED_ERROR and ER_TABLEACCESS_DENIED_ERROR
const NOT_PERMITTED: [u16; 2] = [1227, 1142];
/// ER_LOCK_WAIT_TIMEOUT
const LOCK_WAIT: u16 = 1205;

/// What went wrong with a server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The password file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody answers, or the login is refused.
    #[error("{server} does not let {user} in")]
    Connect {
        /// The server.
        server: Server,
        /// The user.
        user: String,
        /// What it said.
        source: Error,
    },
    /// A statement failed.
    #[error("{server} refuses {statement}")]
    Refused {
        /// The server.
        server: Server,
        /// The statement.
        statement: &'static str,
        /// What it said.
        source: Error,
    },
    /// It is too old, or the other product.
    #[error("the server at {} is {version}; {} is the oldest that this hook knows", server.place, oldest(server.product))]
    OtherServer {
        /// The server.
        server: Server,
        /// What it says it is.
        version: String,
    },
    /// It is a node of a cluster, which would be held up as a whole.
    #[error("{server} is a node of a Galera cluster: a lock on it stops the whole cluster")]
    Galera {
        /// The server.
        server: Server,
    },
    /// A directory that it names is not on this host.
    #[error("{server} keeps data in {path}, which is not that directory of this host")]
    Elsewhere {
        /// The server.
        server: Server,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The hold is broken.
    #[error("{server} was not held: {why}")]
    Lost {
        /// The server.
        server: Server,
        /// What became of it.
        why: String,
    },
}

/// The number of a server's own error.
pub(crate) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(error) => Some(error.code),
        _ => None,
    }
}

/// The hold of a server is broken.
pub(crate) fn lost(server: &Server, why: impl Into<String>) -> ClientError {
    ClientError::Lost { server: server.clone(), why: why.into() }
}

fn oldest(product: Product) -> &'static str {
    match product {
        Product::Mariadb => "MariaDB 10.5",
        Product::Mysql => "MySQL 5.7",
    }
}

impl ClientError {
    /// Whether nobody answers at all, as opposed to a server that refuses.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Connect { source: Error::Io(_), .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => Some(error.hint()),
            Self::Connect { user, source, server } => Some(connect_hint(server.product, user, source)),
            Self::Refused { source, server, .. } => refused_hint(server.product, code(source)?),
            Self::Galera { .. } => {
                Some("take the snapshot of a node with wsrep_desync = ON, through an `exec` hook".to_owned())
            }
            Self::OtherServer { server, version } => Some(other_hint(server.product, version)),
            Self::Elsewhere { .. } => Some(
                "run the agent as root where the server runs: on its host, and not beside its container"
                    .to_owned(),
            ),
            Self::Lost { .. } => None,
        }
    }
}

fn connect_hint(product: Product, user: &str, source: &Error) -> String {
    match (code(source), product) {
        (Some(code), _) if WRONG_PASSWORD.contains(&code) => {
            format!("ALTER USER {user} IDENTIFIED BY '…', and put the same into `password`")
        }
        (Some(TOO_MANY), Product::Mariadb) => {
            "SET GLOBAL max_connections = …; or connect to extra_port".to_owned()
        }
        (Some(TOO_MANY), Product::Mysql) => {
            "SET GLOBAL max_connections = …; or connect to admin_port".to_owned()
        }
        (_, Product::Mariadb) => "mariadb-admin ping; or `if_unavailable = \"skip\"` in the hook".to_owned(),
        (_, Product::Mysql) => "mysqladmin ping; or `if_unavailable = \"skip\"` in the hook".to_owned(),
    }
}

fn refused_hint(product: Product, code: u16) -> Option<String> {
    let hint = match product {
        Product::Mariadb if NOT_PERMITTED.contains(&code) => {
            "GRANT RELOAD, REPLICA MONITOR ON *.* TO the user"
        }
        Product::Mysql if NOT_PERMITTED.contains(&code) => {
            "GRANT BACKUP_ADMIN, PROCESS, RELOAD, REPLICATION CLIENT ON *.* TO the user; \
             GRANT SELECT ON performance_schema.* TO the user"
        }
        Product::Mariadb if code == LOCK_WAIT => {
            "a statement on a table that is not transactional, or another backup, is in the way: SHOW PROCESSLIST"
        }
        Product::Mysql if code == LOCK_WAIT => {
            "a statement, or a session with LOCK TABLES, is in the way: SHOW PROCESSLIST"
        }
        Product::Mariadb | Product::Mysql => return None,
    };
    Some(hint.to_owned())
}

fn other_hint(product: Product, version: &str) -> String {
    let hint = match (product, version.contains("MariaDB")) {
        (Product::Mysql, true) => "use a `mariadb` hook for it",
        (Product::Mariadb, false) => "use a `mysql` hook for it",
        (Product::Mysql, false) | (Product::Mariadb, true) => "use an `exec` or a `session` hook for it",
    };
    hint.to_owned()
}
