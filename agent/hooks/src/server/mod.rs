//! What hooks of database servers have in common: how they are reached, and when they have nothing to do.

mod parameters;
pub(crate) mod residence;
mod secret;
mod tls;

use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hook::DataPath;
pub use parameters::{ParameterError, ParameterStore, set_parameter_store};
pub use secret::{PasswordSource, Secret, SecretError};
pub use tls::{TlsError, client_config, client_config_of_system};

/// Whether the places that a server names are there: those of a server in a container may not be.
pub(crate) async fn exist(paths: Vec<DataPath>) -> Result<Vec<DataPath>, (PathBuf, io::Error)> {
    let look = move || {
        for data in &paths {
            std::fs::metadata(&data.path).map_err(|source| (data.path.clone(), source))?;
        }
        Ok(paths)
    };
    tokio::task::spawn_blocking(look)
        .await
        .unwrap_or_else(|lost| Err((PathBuf::new(), io::Error::other(lost))))
}

/// On which servers a hook holds; on others it has nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// On every server.
    #[default]
    Any,
    /// Only on one that copies another.
    ReplicaOnly,
    /// Only on one that copies no other.
    PrimaryOnly,
}

/// What becomes of a session when a hook's server cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IfUnavailable {
    /// It does not run.
    #[default]
    Fail,
    /// It runs without this hook, and its verdict says so.
    Skip,
}

impl When {
    /// Why the hook has nothing to do on this server; none when it has.
    pub(crate) fn skips(self, is_replica: bool) -> Option<String> {
        match (self, is_replica) {
            (Self::ReplicaOnly, false) => Some("skipped: the server is a primary".to_owned()),
            (Self::PrimaryOnly, true) => Some("skipped: the server is a replica".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_skips_only_servers_of_the_other_role() {
        assert_eq!(When::Any.skips(true), None);
        assert_eq!(When::ReplicaOnly.skips(true), None);
        assert_eq!(When::PrimaryOnly.skips(false), None);
        assert!(When::ReplicaOnly.skips(false).is_some());
        assert!(When::PrimaryOnly.skips(true).is_some());
    }
}
