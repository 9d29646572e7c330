//! Why a MySQL server could not be held, beside what every server of its kind can answer.

use std::path::PathBuf;

use crate::mysql_client::{ClientError, Server};

/// What went wrong with a server.
#[derive(Debug, thiserror::Error)]
pub enum MysqlError {
    /// As with MariaDB.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The user lacks privileges.
    #[error("{server} has not granted {} to {account}", missing.join(", "))]
    Missing {
        /// The server.
        server: Server,
        /// The user as the server knows it.
        account: String,
        /// The privileges.
        missing: Vec<&'static str>,
    },
    /// There is no backup lock.
    #[error("{server} is {version}, which has no backup lock: mode `flush` needs MySQL 8.0.11")]
    NoBackupLock {
        /// The server.
        server: Server,
        /// What it says it is.
        version: String,
    },
    /// The read lock would hold up a group.
    #[error("{server} is a member of a replication group, which a global read lock holds up as a whole")]
    InGroup {
        /// The server.
        server: Server,
    },
    /// A table without transactions appeared after it had been decided that there is none.
    #[error("{server} has a table without transactions, {}, which was not there before", table.display())]
    NewPlainTable {
        /// The server.
        server: Server,
        /// A file of it.
        table: PathBuf,
    },
    /// A statement that must not be waited for behind a lock.
    #[error(
        "{server} has run a statement of user {user} for {seconds} s (connection {id}); the global read lock would keep \
         everybody waiting for its end"
    )]
    LongStatement {
        /// The server.
        server: Server,
        /// Whose it is.
        user: String,
        /// Its connection.
        id: u64,
        /// How long it has run.
        seconds: u64,
        /// Whether it can be ended without harm.
        is_select: bool,
    },
    /// A session that locks tables and does nothing.
    #[error(
        "{server} has tables locked for user {user} (connection {id}), who does nothing; the global read lock would keep \
         everybody waiting for their end"
    )]
    TablesLocked {
        /// The server.
        server: Server,
        /// Whose they are.
        user: String,
        /// The connection.
        id: u64,
    },
    /// The read lock was given up, and not everybody goes on.
    #[error(
        "{server} keeps readers of a table waiting that was to be closed for the global read lock, until connection {id} of \
         user {user} ends its statement"
    )]
    ReadersWait {
        /// The server.
        server: Server,
        /// Whose it is.
        user: String,
        /// The connection.
        id: u64,
        /// What became of the lock.
        source: Box<ClientError>,
    },
    /// Replication does not go on.
    #[error("{server} does not start to apply again what it receives over the channel '{channel}'")]
    NotApplying {
        /// The server.
        server: Server,
        /// The channel.
        channel: String,
        /// What it said.
        source: Box<ClientError>,
    },
}

impl MysqlError {
    /// Whether nobody answers at all, as opposed to a server that refuses.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_unavailable())
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.hint(),
            Self::Missing { account, missing, .. } => Some(grant(account, missing)),
            Self::NoBackupLock { .. } => Some("mode = \"lock\" in the hook".to_owned()),
            Self::InGroup { .. } => Some(
                "ALTER TABLE … ENGINE = InnoDB for what makes the lock necessary, or STOP GROUP_REPLICATION on a \
                 secondary for the time of the snapshot"
                    .to_owned(),
            ),
            Self::NewPlainTable { .. } => Some("run pre-script again; or mode = \"lock\"".to_owned()),
            Self::LongStatement { id, is_select: true, .. } => {
                Some(format!("KILL QUERY {id}; or `kill_selects = true`, or raise `longest_statement`"))
            }
            Self::LongStatement { id, .. } => {
                Some(format!("wait for its end, or KILL QUERY {id}; or raise `longest_statement`"))
            }
            Self::TablesLocked { id, .. } => Some(format!("let its client UNLOCK TABLES, or KILL {id}")),
            Self::ReadersWait { id, .. } => Some(format!("KILL QUERY {id}")),
            Self::NotApplying { channel, .. } => {
                Some(format!("START REPLICA SQL_THREAD FOR CHANNEL '{channel}'"))
            }
        }
    }
}

/// The statements that grant what is missing. What begins with SELECT is a right on tables.
fn grant(account: &str, missing: &[&'static str]) -> String {
    let global: Vec<&str> = missing.iter().copied().filter(|name| !name.starts_with("SELECT")).collect();
    let tables = missing.iter().filter(|name| name.starts_with("SELECT"));
    let mut statements: Vec<String> = tables.map(|name| format!("GRANT {name} TO {account}")).collect();
    if !global.is_empty() {
        statements.insert(0, format!("GRANT {} ON *.* TO {account}", global.join(", ")));
    }
    statements.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_the_account_and_each_kind_of_right_by_itself() {
        assert_eq!(
            grant("'q'@'localhost'", &["RELOAD", "PROCESS", "SELECT ON performance_schema.*"]),
            "GRANT RELOAD, PROCESS ON *.* TO 'q'@'localhost'; GRANT SELECT ON performance_schema.* TO 'q'@'localhost'"
        );
        assert_eq!(grant("a@b", &["PROCESS"]), "GRANT PROCESS ON *.* TO a@b");
    }
}
