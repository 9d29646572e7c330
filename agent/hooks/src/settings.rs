//! What a hook file may say of a hook, one type for each kind.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::mariadb::settings::MariadbSettings;
pub use crate::mysql::settings::{MysqlMode, MysqlSettings};
pub use crate::mysql_client::settings::ServerSettings;
pub use crate::postgresql::settings::{PostgresMode, PostgresSettings};
pub use crate::redis::settings::RedisSettings;

/// One `[hook.NAME.KIND]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookSettings {
    /// Two commands: one quiesces, one resumes.
    Exec(ExecSettings),
    /// A MariaDB server.
    Mariadb(MariadbSettings),
    /// A MySQL server.
    Mysql(MysqlSettings),
    /// A PostgreSQL server.
    Postgresql(PostgresSettings),
    /// A Redis or Valkey server.
    Redis(RedisSettings),
    /// One long-lived child process that holds the application still for as long as it is told to.
    Session(SessionSettings),
    /// SQLite databases, held by a write transaction of the agent's own.
    Sqlite(SqliteSettings),
}

impl HookSettings {
    /// What every kind of hook can be told.
    pub fn common(&self) -> &CommonSettings {
        match self {
            Self::Exec(exec) => &exec.common,
            Self::Mariadb(mariadb) => &mariadb.common,
            Self::Mysql(mysql) => &mysql.common,
            Self::Postgresql(postgresql) => &postgresql.common,
            Self::Redis(redis) => &redis.common,
            Self::Session(session) => &session.common,
            Self::Sqlite(sqlite) => &sqlite.common,
        }
    }

    /// The name of the kind, as it stands in the table's header.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Mariadb(_) => "mariadb",
            Self::Mysql(_) => "mysql",
            Self::Postgresql(_) => "postgresql",
            Self::Redis(_) => "redis",
            Self::Session(_) => "session",
            Self::Sqlite(_) => "sqlite",
        }
    }
}

/// Keys that every kind of hook has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommonSettings {
    /// How long each step of this hook (prepare, quiesce, verify, resume) may take.
    #[serde(with = "humantime_serde", default = "default_timeout")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// Hooks that must be quiesced before this one; it is resumed before them.
    #[serde(default)]
    pub after: Vec<String>,
}

/// Enough for a lock that is waited for, well inside the default budget of 8 s.
fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

/// `[hook.NAME.exec]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The command that quiesces, as an argument vector; the first element is an absolute path.
    pub quiesce: Vec<String>,
    /// The command that resumes; it runs whenever `quiesce` was started, whatever became of it.
    pub resume: Vec<String>,
    /// A command that exits 0 while the application is still held. Without it the hold is claimed, not proved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Vec<String>>,
    /// The user that runs the commands; root when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the application's data lies: files or directories.
    #[serde(default)]
    pub data: Vec<PathBuf>,
}

/// `[hook.NAME.session]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The child's argument vector; the first element is an absolute path.
    pub command: Vec<String>,
    /// The user that runs the child; root when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where the application's data lies: files or directories.
    #[serde(default)]
    pub data: Vec<PathBuf>,
}

/// `[hook.NAME.sqlite]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The database files, as absolute paths or as patterns: `/srv/tenants/*.db`. What a pattern matches is looked up in
    /// every session.
    pub databases: Vec<PathBuf>,
}
