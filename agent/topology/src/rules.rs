//! What must never be frozen, and why.

use std::path::{Path, PathBuf};

use quiesced_core::superblock::Superblock;

use crate::kind::{Kind, Unfreezable};
use crate::mountinfo::Mount;
use crate::mounts::Mounts;

/// What this host refuses to freeze beyond what no host may.
///
/// All paths are absolute and free of symbolic links; whether they exist does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether the filesystem of `/` may be frozen.
    pub allow_root: bool,
    /// The directories of the SSM agent that is installed here: none, if none is.
    pub ssm_directories: Vec<PathBuf>,
    /// What the agent itself must be able to write, or to start, while others are frozen.
    pub own_paths: Vec<OwnPath>,
    /// The swap files in use, from [`swap_files`](crate::swap_files).
    pub swap_files: Vec<PathBuf>,
}

impl Rules {
    /// Every place that must stay writable while others are frozen, and what lies there.
    pub fn writable_places(&self) -> Vec<OwnPath> {
        let place = |what: &str, path: &PathBuf| OwnPath { what: what.to_owned(), path: path.clone() };
        let root = (!self.allow_root).then(|| place("the root filesystem", &PathBuf::from("/")));
        let ssm = self.ssm_directories.iter().map(|path| place("a directory of the SSM agent", path));
        let own = self.own_paths.iter().map(|own| place(&format!("the agent's own {}", own.what), &own.path));
        let swap = self.swap_files.iter().map(|path| place("a swap file", path));
        root.into_iter().chain(ssm).chain(own).chain(swap).collect()
    }
}

/// Something of the agent's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPath {
    /// What it is: `state`, `journal`.
    pub what: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Why a filesystem must not be frozen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Its type cannot be frozen, or must not be.
    #[error("{} is {fs_type}: {}", mount_point.display(), why.reason())]
    Kind {
        /// Where it is mounted.
        mount_point: PathBuf,
        /// Its type.
        fs_type: String,
        /// Why that type is refused.
        why: Unfreezable,
    },
    /// It cannot be written, as such or since an error.
    #[error("{} is read-only: there is nothing to hold still, or an error made it so", mount_point.display())]
    ReadOnly {
        /// Where it is mounted.
        mount_point: PathBuf,
    },
    /// It is the filesystem of `/`.
    #[error(
        "{} is the root filesystem: with it frozen, nothing on this host is sure to run the post-script",
        mount_point.display()
    )]
    Root {
        /// Where it is mounted.
        mount_point: PathBuf,
    },
    /// The SSM agent writes on it.
    #[error(
        "{} carries {} of the SSM agent, which could neither report nor run the post-script",
        mount_point.display(), directory.display()
    )]
    SsmDirectory {
        /// Where it is mounted.
        mount_point: PathBuf,
        /// The directory of the SSM agent.
        directory: PathBuf,
    },
    /// Something of the agent's own lies on it.
    #[error("{} carries the agent's own {what} ({})", mount_point.display(), path.display())]
    OwnPath {
        /// Where it is mounted.
        mount_point: PathBuf,
        /// What lies on it.
        what: String,
        /// Where that is.
        path: PathBuf,
    },
    /// The kernel swaps to a file on it.
    #[error("{} carries the swap file {}, which must stay writable", mount_point.display(), file.display())]
    SwapFile {
        /// Where it is mounted.
        mount_point: PathBuf,
        /// The swap file.
        file: PathBuf,
    },
}

impl Rules {
    /// Why the filesystem of this mount must not be frozen, if it must not.
    ///
    /// The rules look at filesystems, not at mounts: a bind mount of a directory of `/` is the root filesystem too. If
    /// several speak, the one that no configuration can change comes first.
    pub fn denial(&self, mounts: &Mounts, mount: &Mount) -> Option<Denial> {
        kind(mount)
            .or_else(|| read_only(mount))
            .or_else(|| self.root(mounts, mount))
            .or_else(|| self.ssm_directory(mounts, mount))
            .or_else(|| self.own_path(mounts, mount))
            .or_else(|| self.swap_file(mounts, mount))
    }

    fn root(&self, mounts: &Mounts, mount: &Mount) -> Option<Denial> {
        let denied = !self.allow_root && carries(mounts, mount.superblock, Path::new("/"));
        denied.then(|| Denial::Root { mount_point: mount.mount_point.clone() })
    }

    fn ssm_directory(&self, mounts: &Mounts, mount: &Mount) -> Option<Denial> {
        let directory = self.ssm_directories.iter().find(|path| carries(mounts, mount.superblock, path))?;
        Some(Denial::SsmDirectory { mount_point: mount.mount_point.clone(), directory: directory.clone() })
    }

    fn own_path(&self, mounts: &Mounts, mount: &Mount) -> Option<Denial> {
        let own = self.own_paths.iter().find(|own| carries(mounts, mount.superblock, &own.path))?;
        let OwnPath { what, path } = own.clone();
        Some(Denial::OwnPath { mount_point: mount.mount_point.clone(), what, path })
    }

    fn swap_file(&self, mounts: &Mounts, mount: &Mount) -> Option<Denial> {
        let file = self.swap_files.iter().find(|path| carries(mounts, mount.superblock, path))?;
        Some(Denial::SwapFile { mount_point: mount.mount_point.clone(), file: file.clone() })
    }
}

fn kind(mount: &Mount) -> Option<Denial> {
    match Kind::of(&mount.fs_type) {
        Kind::Freezable => None,
        Kind::Unfreezable(why) => {
            Some(Denial::Kind { mount_point: mount.mount_point.clone(), fs_type: mount.fs_type.clone(), why })
        }
    }
}

fn read_only(mount: &Mount) -> Option<Denial> {
    mount.superblock_read_only.then(|| Denial::ReadOnly { mount_point: mount.mount_point.clone() })
}

/// Whether a path lies on a filesystem. One that no mount can be found for may lie on any, so it lies on this one.
fn carries(mounts: &Mounts, superblock: Superblock, path: &Path) -> bool {
    mounts.of(path).is_none_or(|mount| mount.superblock == superblock)
}

impl Denial {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Kind { why, .. } => why.hint().to_owned(),
            Self::ReadOnly { mount_point } => format!(
                "see `dmesg` for errors and `findmnt {}`; take it out of `filesystems` if it is meant to be so",
                mount_point.display()
            ),
            Self::Root { .. } => {
                "keep the data on a volume of its own, or set `allow_root = true` in `[agent]` if no post-script \
                 comes over SSM"
                    .to_owned()
            }
            Self::SsmDirectory { .. } | Self::SwapFile { .. } => {
                "keep the data on a volume of its own".to_owned()
            }
            Self::OwnPath { what, .. } => format!("keep the agent's {what} on another filesystem than the data"),
        }
    }
}
