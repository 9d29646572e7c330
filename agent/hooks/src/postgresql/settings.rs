//! What a hook file may say of a PostgreSQL server.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::server::{IfUnavailable, PasswordSource, When};
use crate::settings::CommonSettings;

/// `[hook.NAME.postgresql]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The directory of the server's socket, or the name of its host.
    #[serde(default = "default_host")]
    pub host: String,
    /// Its port; it is also part of the socket's name.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The role that the agent logs in as.
    #[serde(default = "default_name")]
    pub user: String,
    /// The database that it connects to; any will do.
    #[serde(default = "default_database")]
    pub database: String,
    /// Where the role's password is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordSource>,
    /// A PEM file with the authorities that the server's certificate is checked against. With it the connection must be
    /// encrypted; without it, it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// What is asked of the server.
    #[serde(default)]
    pub mode: PostgresMode,
    /// On which servers the hook holds.
    #[serde(default)]
    pub when: When,
    /// What becomes of a session when the server cannot be reached.
    #[serde(default)]
    pub if_unavailable: IfUnavailable,
}

/// What is asked of a PostgreSQL server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresMode {
    /// A checkpoint, so that recovery is short. Nothing is locked: what is on the frozen disks recovers as after a crash.
    #[default]
    Flush,
    /// Backup mode on a session that is held, so that the snapshot can also be the base of a point-in-time recovery.
    Backup,
}

fn default_host() -> String {
    "/var/run/postgresql".to_owned()
}

const fn default_port() -> u16 {
    5432
}

fn default_name() -> String {
    "quiesced".to_owned()
}

fn default_database() -> String {
    "postgres".to_owned()
}
