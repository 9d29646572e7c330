//! What a hook file may say of a MariaDB and of a MySQL server alike.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::server::{IfUnavailable, PasswordSource, When};

/// How a server is reached, and when its hook has something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerSettings {
    /// The path of the server's socket, or the name of its host.
    #[serde(default = "default_host")]
    pub host: String,
    /// Its port; of no use with a socket.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The user that the agent logs in as.
    #[serde(default = "default_name")]
    pub user: String,
    /// Where the user's password is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordSource>,
    /// A PEM file with the authorities that the server's certificate is checked against. With it the connection must be
    /// encrypted; without it, it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca: Option<PathBuf>,
    /// On which servers the hook holds.
    #[serde(default)]
    pub when: When,
    /// What becomes of a session when the server cannot be reached.
    #[serde(default)]
    pub if_unavailable: IfUnavailable,
}

impl ServerSettings {
    /// The server as errors name it.
    pub(crate) fn place(&self) -> String {
        if self.is_socket() { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// Whether it is reached over a socket of this host.
    pub(crate) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }
}

fn default_host() -> String {
    "/run/mysqld/mysqld.sock".to_owned()
}

const fn default_port() -> u16 {
    3306
}

fn default_name() -> String {
    "quiesced".to_owned()
}
