//! What volume is wanted, and what was made.

use std::path::{Path, PathBuf};

/// 2^20 bytes.
pub const MIB: u64 = 1024 * 1024;
/// 2^30 bytes.
pub const GIB: u64 = 1024 * MIB;

/// A filesystem that can be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fs {
    /// ext4.
    Ext4,
    /// XFS; mkfs.xfs wants at least 300 MiB.
    Xfs,
    /// btrfs.
    Btrfs,
}

impl Fs {
    /// Its name in mount(8) and `/proc/filesystems`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// Where the image of a volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the bed's pool, where it can be snapshotted.
    Pool,
    /// On the host's filesystem.
    Host,
    /// In a directory, for example on another volume: freezing that one makes a freeze of this one stick.
    Inside(PathBuf),
}

/// A volume that is wanted.
#[derive(Clone, Debug)]
pub struct VolumeSpec {
    name: String,
    fs: Fs,
    size: u64,
    place: Place,
    mount_point: Option<PathBuf>,
}

impl VolumeSpec {
    /// A volume in the pool, mounted on `mnt/NAME` of the bed.
    pub fn new(name: &str, fs: Fs, size: u64) -> Self {
        Self { name: name.to_owned(), fs, size, place: Place::Pool, mount_point: None }
    }

    /// Puts the image elsewhere.
    #[must_use]
    pub fn place(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// Mounts it elsewhere below the bed's directory, for example inside another volume.
    #[must_use]
    pub fn mounted_at(mut self, mount_point: impl Into<PathBuf>) -> Self {
        self.mount_point = Some(mount_point.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fs(&self) -> Fs {
        self.fs
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn at(&self) -> &Place {
        &self.place
    }

    pub(super) fn mount_point(&self) -> Option<&Path> {
        self.mount_point.as_deref()
    }
}

/// A mounted volume. It stays until [`super::Bed::remove`] or the end of its bed.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its name, unique in its bed.
    pub name: String,
    /// Its filesystem.
    pub fs: Fs,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Its loop device.
    pub device: PathBuf,
    /// The file under the device.
    pub image: PathBuf,
}
