//! Passwords: read from a file that nobody else can read or from systemd, and never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parameters::{self, ParameterError};

/// A password is shorter; a longer file is a mistake.
const LONGEST: u64 = 4096;

/// Where a password is: it never stands in a configuration file itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordSource {
    /// A file of one line, which only its owner may read.
    File(PathBuf),
    /// A credential that the agent's unit loads: `LoadCredential=` (systemd.exec(5)).
    Credential(String),
    /// A parameter of AWS Systems Manager's Parameter Store, read while a session is prepared.
    #[serde(rename = "ssm_parameter")]
    SsmParameter(String),
}

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// systemd has given the agent no credentials.
    #[error("the credential {name} is not there: the agent's unit loads none")]
    NoCredentials {
        /// Its name.
        name: String,
    },
    /// It cannot be read.
    #[error("the password file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read or change it.
    #[error("the password file {path} can be read or changed by others than its owner (mode {mode:o})")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody who is neither root nor the agent.
    #[error("the password file {path} belongs to user {uid}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The parameter cannot be had.
    #[error("the parameter {name} cannot be had")]
    Parameter {
        /// Its name.
        name: String,
        /// Why.
        source: ParameterError,
    },
    /// It holds no password.
    #[error("the password file {path} holds no password: it must be one line of text")]
    NoPassword {
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCredentials { name } => {
                format!(
                    "systemctl edit quiesced, and add LoadCredential={name}:/path/to/the/file below [Service]"
                )
            }
            Self::Read { path, .. } | Self::NoPassword { path } => format!("ls -l {}", path.display()),
            Self::Open { path, .. } => format!("chmod 600 {}", path.display()),
            Self::Parameter { source, .. } => source.hint.clone(),
            Self::Owner { path, .. } => {
                format!("look at what it contains; if it is yours: chown root: {}", path.display())
            }
        }
    }
}

impl PasswordSource {
    /// Reads it where it may block or wait.
    ///
    /// # Errors
    /// When it is not there, or not secret.
    pub async fn read_aside(&self) -> Result<Secret, SecretError> {
        let path = match self {
            Self::File(path) => path.clone(),
            Self::Credential(name) => credential(name)?,
            Self::SsmParameter(name) => {
                let value = parameters::get(name).await;
                return value
                    .map(Secret)
                    .map_err(|source| SecretError::Parameter { name: name.clone(), source });
            }
        };
        let read = tokio::task::spawn_blocking(move || Secret::read(&path)).await;
        read.unwrap_or_else(|lost| {
            Err(SecretError::Read { path: PathBuf::new(), source: io::Error::other(lost) })
        })
    }
}

/// Where systemd has put a credential.
fn credential(name: &str) -> Result<PathBuf, SecretError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
    let directory = directory.ok_or_else(|| SecretError::NoCredentials { name: name.to_owned() })?;
    Ok(Path::new(&directory).join(name))
}

impl Secret {
    /// Reads a file of one line, which only its owner may read.
    pub(crate) fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned(), mode: metadata.mode() & 0o777 });
        }
        if metadata.uid() != 0 && metadata.uid() != geteuid().as_raw() {
            return Err(SecretError::Owner { path: path.to_owned(), uid: metadata.uid() });
        }
        let mut text = String::new();
        file.take(LONGEST).read_to_string(&mut text).map_err(failed)?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.is_empty() || line.contains('\n') {
            return Err(SecretError::NoPassword { path: path.to_owned() });
        }
        Ok(Self(line.to_owned()))
    }

    /// The password, for the server alone.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(directory: &tempfile::TempDir, text: &str, mode: u32) -> PathBuf {
        let path = directory.path().join("password");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_password_is_read_without_its_line_end_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let secret = Secret::read(&file(&directory, "s3cret word\n", 0o600)).unwrap();
        assert_eq!(secret.expose(), "s3cret word");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_credential_that_nobody_loaded_is_an_error_with_the_line_for_the_unit() {
        let error = credential("orders").unwrap_err();
        assert!(error.hint().contains("LoadCredential=orders:"), "{error}");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "s3cret\n", 0o640);
        let error = Secret::read(&path).unwrap_err();
        assert!(error.to_string().contains("mode 640") && !error.to_string().contains("s3cret"), "{error}");
        assert_eq!(error.hint(), format!("chmod 600 {}", path.display()));
    }

    #[test]
    fn a_file_without_one_line_of_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for text in ["", "\n", "one\ntwo\n"] {
            let read = Secret::read(&file(&directory, text, 0o400));
            assert!(matches!(read, Err(SecretError::NoPassword { .. })), "{text:?}");
        }
    }
}
