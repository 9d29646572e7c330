//! What a server is, and whether its user may do what is needed.

use std::path::PathBuf;

use super::error::MysqlError;
use super::plain::plain_table;
use super::rights::Rights;
use super::settings::{MysqlMode, MysqlSettings};
use crate::mysql_client::{ClientError, Server, Session, numbers, refuse_galera};

/// Asks for the channels over which the server copies another, and whether what comes is applied. A group's own are none.
const CHANNELS: &str = "SELECT CHANNEL_NAME, SERVICE_STATE FROM performance_schema.replication_applier_status \
     WHERE CHANNEL_NAME NOT LIKE 'group_replication_%'";

/// Asks for its part in a group that it is a member of. MySQL 5.7 does not say which part.
const GROUP_ROLE: &str = "SELECT _ROLE_ FROM performance_schema.replication_group_members \
     WHERE MEMBER_ID = @@server_uuid AND MEMBER_STATE <> 'OFFLINE'";

/// A version, and the words that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    numbers: [u32; 3],
}

impl Version {
    /// MySQL 5.7 and later; the pre-releases of 8.0 had neither all words of 5.7 nor all of 8.0.
    pub(super) fn known(text: String) -> Option<Self> {
        let version = Self { numbers: numbers(&text), text };
        let is_older = version.numbers < [5, 7, 0];
        let is_draft = version.numbers >= [5, 8, 0] && !version.has_backup_lock();
        (!version.text.contains("MariaDB") && !is_older && !is_draft).then_some(version)
    }

    /// LOCK INSTANCE FOR BACKUP, and performance_schema.log_status.
    pub(super) fn has_backup_lock(&self) -> bool {
        self.numbers >= [8, 0, 11]
    }

    /// The word for a server that copies another
    /// (<https://dev.mysql.com/doc/relnotes/mysql/8.0/en/news-8-0-22.html>).
    pub(super) fn replica(&self) -> &'static str {
        if self.numbers >= [8, 0, 22] { "REPLICA" } else { "SLAVE" }
    }
}

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Flush,
    Lock,
}

/// A server at one moment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) server: Server,
    pub(super) version: Version,
    pub(super) is_replica: bool,
    /// Channels whose changes are being applied.
    pub(super) applying: Vec<String>,
    pub(super) data_directory: PathBuf,
    rights: Rights,
    in_group: bool,
    /// A commit may be acknowledged before it is in any file.
    is_lazy: bool,
}

impl Facts {
    /// Asks the server, and makes sure that the hook's user has the rights that the hook needs.
    pub(super) async fn ask(session: &mut Session, settings: &MysqlSettings) -> Result<Self, MysqlError> {
        let version = version(session).await?;
        refuse_galera(session).await?;
        let rights = Rights::ask(session).await?;
        rights.check(session.server.clone(), settings, &version)?;
        let channels: Vec<(String, String)> = session.list("SELECT", CHANNELS).await?;
        let role = if version.has_backup_lock() { "MEMBER_ROLE" } else { "'MEMBER'" };
        let roles: Vec<String> = session.list("SELECT", &GROUP_ROLE.replace("_ROLE_", role)).await?;
        let variables = session.variables(&["datadir", "innodb_flush_log_at_trx_commit"]).await?;
        Ok(Self {
            server: session.server.clone(),
            version,
            is_replica: !channels.is_empty() || roles.iter().any(|role| role == "SECONDARY"),
            in_group: !roles.is_empty(),
            applying: channels.into_iter().filter(|(_, state)| state == "ON").map(|(name, _)| name).collect(),
            data_directory: variables.get("datadir").map(PathBuf::from).unwrap_or_default(),
            rights,
            is_lazy: variables.get("innodb_flush_log_at_trx_commit").is_some_and(|value| value == "0"),
        })
    }

    /// What has to be held on this server.
    pub(super) async fn hold(&self, mode: MysqlMode) -> Result<Hold, MysqlError> {
        let server = || self.server.clone();
        let hold = match mode {
            MysqlMode::Lock => Hold::Lock,
            MysqlMode::Flush => Hold::Flush,
            MysqlMode::Auto if !self.version.has_backup_lock() || self.why_inexact().await?.is_some() => {
                Hold::Lock
            }
            MysqlMode::Auto => Hold::Flush,
        };
        match hold {
            Hold::Flush if !self.version.has_backup_lock() => {
                Err(MysqlError::NoBackupLock { server: server(), version: self.version.text.clone() })
            }
            Hold::Lock if self.in_group => Err(MysqlError::InGroup { server: server() }),
            Hold::Lock if !self.applying.is_empty() => {
                self.rights.check_replica(server(), &self.version)?;
                Ok(hold)
            }
            Hold::Flush | Hold::Lock => Ok(hold),
        }
    }

    /// Why the backup lock alone does not make the snapshot exact.
    pub(super) async fn why_inexact(&self) -> Result<Option<String>, MysqlError> {
        if self.is_lazy {
            let why = "innodb_flush_log_at_trx_commit = 0 leaves commits in memory";
            return Ok(Some(why.to_owned()));
        }
        let table = self.plain_table().await?;
        Ok(table.map(|table| format!("{} is a table without transactions", table.display())))
    }

    /// A file of a table without transactions.
    pub(super) async fn plain_table(&self) -> Result<Option<PathBuf>, MysqlError> {
        let looked = plain_table(self.data_directory.clone()).await;
        let server = || self.server.clone();
        looked.map_err(|(path, source)| ClientError::Elsewhere { server: server(), path, source }.into())
    }
}

/// Asks which server it is, and refuses one that this hook does not know.
pub(super) async fn version(session: &mut Session) -> Result<Version, MysqlError> {
    let text: Option<String> = session.ask("SELECT VERSION()").await?;
    let text = text.unwrap_or_default();
    let other = ClientError::OtherServer { server: session.server.clone(), version: text.clone() };
    Version::known(text).ok_or_else(|| other.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Option<Version> {
        Version::known(text.to_owned())
    }

    #[test]
    fn mysql_and_percona_from_5_7_are_known_and_mariadb_is_not() {
        for text in ["5.7.44-log", "8.0.11", "8.0.36-28", "8.4.3", "9.7.4-2"] {
            assert!(known(text).is_some(), "{text}");
        }
        for text in ["5.6.51", "8.0.4-rc-log", "10.11.6-MariaDB", "5.5.5-10.3.9-MariaDB", ""] {
            assert!(known(text).is_none(), "{text}");
        }
    }

    #[test]
    fn each_version_is_asked_in_its_own_words() {
        let words = |text| known(text).map(|version| (version.has_backup_lock(), version.replica()));
        assert_eq!(words("5.7.44"), Some((false, "SLAVE")));
        assert_eq!(words("8.0.21"), Some((true, "SLAVE")));
        assert_eq!(words("8.0.22"), Some((true, "REPLICA")));
        assert_eq!(words("9.7.4"), Some((true, "REPLICA")));
    }
}
