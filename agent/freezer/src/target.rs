//! One filesystem to be frozen: opened beforehand, so that no path is resolved inside the window.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;

use crate::sys;

/// A filesystem and what can be done to it. The guardian and the agent each hold one for every target.
pub trait Filesystem: Debug + Send + Sync {
    /// Writes out what is dirty. See [`sys::sync_filesystem`].
    ///
    /// # Errors
    /// When data could not be written.
    fn sync(&self) -> Result<(), Errno>;

    /// Whether this is still the filesystem that was opened.
    fn is_unchanged(&self) -> bool;

    /// Freezes it. See [`sys::freeze`].
    ///
    /// # Errors
    /// When it is not frozen by this call; `EBUSY` when somebody else has frozen it.
    fn freeze(&self) -> Result<(), Errno>;

    /// Thaws it. See [`sys::thaw`].
    ///
    /// # Errors
    /// When it is not thawed by this call; `EINVAL` when it was not frozen.
    fn thaw(&self) -> Result<(), Errno>;
}

/// A filesystem, held through its open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    st_dev: u64,
}

/// Why a target cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The mount point is gone or out of reach.
    #[error("the mount point {mount_point} cannot be opened")]
    Open {
        /// The mount point.
        mount_point: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not tell through which mount it was opened.
    #[error("the mount behind {mount_point} cannot be found out")]
    MountId {
        /// The mount point.
        mount_point: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Directory {
    /// Opens the directory at a mount point, without touching its access time: on a frozen filesystem that would
    /// sleep. `O_NOATIME` is for the owner only (open(2)), so a process without privileges does without.
    ///
    /// # Errors
    /// When it is not a directory that may be opened.
    pub fn open(mount_point: &Path) -> Result<Self, OpenError> {
        let open = |flags: OFlag| {
            OpenOptions::new().read(true).custom_flags((OFlag::O_DIRECTORY | flags).bits()).open(mount_point)
        };
        let opened = open(OFlag::O_NOATIME).or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => open(OFlag::empty()),
            _ => Err(error),
        });
        opened
            .and_then(|file: File| Ok(Self { st_dev: fstat(&file)?.st_dev, fd: file.into() }))
            .map_err(|source| OpenError::Open { mount_point: mount_point.to_owned(), source })
    }

    /// What another process sent: a descriptor, and the `st_dev` that was read when it was opened.
    pub(crate) const fn received(fd: OwnedFd, st_dev: u64) -> Self {
        Self { fd, st_dev }
    }

    /// The `st_dev` of the directory when it was opened.
    pub const fn st_dev(&self) -> u64 {
        self.st_dev
    }

    /// The id of the mount that it was opened through, as in the first field of `/proc/self/mountinfo`. The open
    /// directory keeps that mount, so the id cannot be given to another one meanwhile.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn mount_id(&self) -> io::Result<u32> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        info.lines()
            .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no mnt_id in fdinfo"))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Filesystem for Directory {
    fn sync(&self) -> Result<(), Errno> {
        sys::sync_filesystem(self.as_fd())
    }

    fn is_unchanged(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_dev == self.st_dev)
    }

    fn freeze(&self) -> Result<(), Errno> {
        sys::freeze(self.as_fd())
    }

    fn thaw(&self) -> Result<(), Errno> {
        sys::thaw(self.as_fd())
    }
}
