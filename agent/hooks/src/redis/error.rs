//! Why a Redis or Valkey server could not be held.

use std::io;
use std::path::PathBuf;

use redis::ErrorKind;

use crate::server::SecretError;

/// What went wrong with a server; `server` is how it is reached.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// The password file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates of the authorities.
    #[error("the certificates in {path} cannot be read")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers, or the login is refused.
    #[error("Redis at {server} does not let the agent in")]
    Connect {
        /// The server.
        server: String,
        /// What it said.
        source: redis::RedisError,
    },
    /// A command failed.
    #[error("Redis at {server} refuses {command}")]
    Refused {
        /// The server.
        server: String,
        /// The command.
        command: &'static str,
        /// What it said.
        source: redis::RedisError,
    },
    /// An answer lacks what every supported version says.
    #[error("Redis at {server} does not say {field}")]
    Silent {
        /// The server.
        server: String,
        /// The field of INFO or CONFIG.
        field: &'static str,
    },
    /// The directory that it names is not on this host.
    #[error("Redis at {server} keeps its data in {path}, which is not that directory of this host")]
    Elsewhere {
        /// The server.
        server: String,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is reading its data.
    #[error("Redis at {server} is still loading its data")]
    Loading {
        /// The server.
        server: String,
    },
    /// It could not write its data out.
    #[error("Redis at {server} could not write its data out: {what}")]
    NotWritten {
        /// The server.
        server: String,
        /// What failed.
        what: &'static str,
    },
    /// The hold is broken.
    #[error("Redis at {server} was not held: {why}")]
    Lost {
        /// The server.
        server: String,
        /// What became of it.
        why: String,
    },
}

impl RedisError {
    /// Whether nobody answers at all, as opposed to a server that refuses.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == ErrorKind::Io)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => Some(error.hint()),
            Self::Authorities { path, .. } => Some(format!("ls -l {}", path.display())),
            Self::Connect { source, .. } => Some(login_hint(source)),
            Self::Refused { source, .. } if source.code() == Some("NOPERM") => Some(
                "ACL SETUSER quiesced +info +config|get +client|pause +client|unpause +bgsave +ping, then ACL SAVE"
                    .to_owned(),
            ),
            Self::Elsewhere { .. } => Some(
                "run the agent as root where the server runs: on its host, and not beside its container".to_owned(),
            ),
            Self::Loading { .. } => Some("wait until `redis-cli INFO persistence` says loading:0".to_owned()),
            Self::NotWritten { .. } => Some("look at its log, and at `redis-cli INFO persistence`".to_owned()),
            Self::Refused { .. } | Self::Silent { .. } | Self::Lost { .. } => None,
        }
    }
}

fn login_hint(source: &redis::RedisError) -> String {
    match (source.kind(), source.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS" | "NOAUTH")) => {
            "put the user's password into `password`: ACL SETUSER quiesced on '>…'".to_owned()
        }
        (_, _) if source.to_string().contains("max number of clients") => {
            "raise it: CONFIG SET maxclients".to_owned()
        }
        _ => "redis-cli PING; or `if_unavailable = \"skip\"` in the hook".to_owned(),
    }
}
