//! What can go wrong: files, and cargo.

use std::io;
use std::path::{Path, PathBuf};

/// Why the assets could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// A file could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// cargo could not say what the binary is made of.
    #[error("cannot list what is linked: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// A crate is linked whose licence would not be handed on.
    #[error("the crate {0} has neither a licence file nor the name of a licence")]
    NoLicence(String),
    /// cargo listed no crate of ours.
    #[error("the crate {0} is not part of this workspace")]
    NoCrate(&'static str),
}

impl AssetError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), AssetError> {
    std::fs::write(path, content).map_err(|source| AssetError::file(path, source))
}

pub(crate) fn create_dir(path: &Path) -> Result<(), AssetError> {
    std::fs::create_dir_all(path).map_err(|source| AssetError::file(path, source))
}
