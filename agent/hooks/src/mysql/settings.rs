//! What a hook file may say of a MySQL server.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mysql_client::settings::ServerSettings;
use crate::settings::CommonSettings;

/// `[hook.NAME.mysql]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MysqlSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The server.
    #[serde(flatten)]
    pub server: ServerSettings,
    /// What is held.
    #[serde(default)]
    pub mode: MysqlMode,
    /// The read lock is not asked for while a statement runs that has been running for this long, and is given up when it is
    /// not had within this time: everybody waits behind it meanwhile.
    #[serde(with = "humantime_serde", default = "default_longest")]
    #[schemars(with = "String")]
    pub longest_statement: Duration,
    /// Whether SELECTs may be ended that have been running for longer, or that began before a read lock which was not to be
    /// had: readers of their tables would wait for their end. Nothing else ever is.
    #[serde(default)]
    pub kill_selects: bool,
}

/// What a MySQL server is asked to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MysqlMode {
    /// `flush`, where that is exact: in MySQL 8.0 and later, when no table is without transactions and every commit is
    /// written out. `lock` elsewhere.
    #[default]
    Auto,
    /// The backup lock: definitions wait, transactions go on until the freeze.
    Flush,
    /// The backup lock and the global read lock: every change waits.
    Lock,
}

impl MysqlSettings {
    /// The longest statement in whole seconds, as the server counts.
    pub(super) fn longest_seconds(&self) -> u64 {
        let seconds = self.longest_statement.as_secs();
        let rest = u64::from(self.longest_statement.subsec_nanos() > 0);
        (seconds + rest).max(1)
    }
}

const fn default_longest() -> Duration {
    Duration::from_secs(2)
}
