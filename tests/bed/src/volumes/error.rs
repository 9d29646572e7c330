//! What can go wrong with a bed.

use std::io;
use std::path::{Path, PathBuf};

use crate::tool::ToolError;

/// Why a bed could not be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum BedError {
    /// A tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A file or directory of the bed could not be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bed's own directory could not be made or written.
    #[error("cannot claim a directory in {}: {source}", path.display())]
    Claim {
        /// The root of all beds.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The turn of this bed could not be waited for.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The failsafe could not be started.
    #[error("cannot start the failsafe thaw of {}: {source}", bed.display())]
    Failsafe {
        /// The bed.
        bed: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A mount point that the sweeper would not find.
    #[error("{} lies outside the bed {}", path.display(), bed.display())]
    Outside {
        /// The mount point.
        path: PathBuf,
        /// The bed.
        bed: PathBuf,
    },
    /// A volume whose image is not in the pool.
    #[error("volume {name} is not in the pool, so it cannot be snapshotted")]
    NotInPool {
        /// The volume.
        name: String,
    },
    /// Something could not be unmounted.
    #[error("cannot unmount {}: {source}", path.display())]
    Unmount {
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something is left of a bed.
    #[error("the bed {} could not be removed: {}", bed.display(), left.join("; "))]
    Left {
        /// The bed.
        bed: PathBuf,
        /// What is left, and why.
        left: Vec<String>,
    },
}

impl BedError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_path_buf(), source }
    }

    pub(super) fn claim(path: &Path, source: io::Error) -> Self {
        Self::Claim { path: path.to_path_buf(), source }
    }

    /// What to run against it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tool(error) => error.hint().map(str::to_owned),
            Self::NotInPool { .. } => Some("make it with Place::Pool".to_owned()),
            Self::Claim { .. } | Self::Lock { .. } => Some("run this as root".to_owned()),
            Self::Unmount { path, .. } => Some(format!("fuser -vm '{}' shows what uses it", path.display())),
            Self::Left { bed, .. } => {
                Some(format!("findmnt and losetup -l show what uses '{}'", bed.display()))
            }
            Self::File { .. } | Self::Failsafe { .. } | Self::Outside { .. } => None,
        }
    }
}
