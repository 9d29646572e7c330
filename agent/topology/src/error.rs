//! What can go wrong while the kernel's tables are read.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// Why the topology of this host is not known.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A table cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The table.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A table was different each time it was read.
    #[error("{} changed every time it was read ({reads} times in a row)", path.display())]
    Unsettled {
        /// The table.
        path: PathBuf,
        /// How often it was read.
        reads: usize,
    },
    /// A line of a table is not what its man page describes.
    #[error("cannot understand line {} of {}", bad.number, path.display())]
    Malformed {
        /// The table.
        path: PathBuf,
        /// The line, and what is wrong with it.
        #[source]
        bad: BadLine,
    },
    /// Something lies on itself.
    #[error("no order of freezing is possible: {}", path.join(" lies on "))]
    Cycle {
        /// The way round, by mount points, devices and files; the first is repeated at the end.
        path: Vec<String>,
    },
    /// Filesystems are mounted in each other and lie on each other.
    #[error("no order of freezing is possible: {}", path.join(" must be frozen before "))]
    Order {
        /// The mount points; the first is repeated at the end.
        path: Vec<String>,
    },
    /// A device is in use, and the kernel knows it no more.
    #[error("{what} lies on the device {device}, which is gone")]
    Gone {
        /// Where the filesystem is mounted.
        what: String,
        /// The name or the number of the device.
        device: String,
    },
    /// No btrfs filesystem has the device that this one was mounted from.
    #[error("the devices of the btrfs at {} cannot be found by {}", mount_point.display(), source_name.display())]
    Btrfs {
        /// Where it is mounted.
        mount_point: PathBuf,
        /// What was mounted.
        source_name: OsString,
    },
    /// The file of a loop device lies on no mount.
    #[error("{device} is a loop over {}, which lies on no mount that can be seen here", file.display())]
    LoopFile {
        /// The loop device.
        device: String,
        /// Its file.
        file: PathBuf,
    },
}

impl TopologyError {
    /// What to run or to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("look at it with `cat {}`, as root", path.display()),
            Self::Unsettled { .. } => {
                "something mounts and unmounts without pause; find it with `findmnt --poll`".to_owned()
            }
            Self::Malformed { path, bad } => {
                format!("show the line with `sed -n {}p {}`", bad.number, path.display())
            }
            Self::Cycle { .. } => "look at `lsblk --inverse` and `losetup --list`".to_owned(),
            Self::Order { .. } => {
                "look at `findmnt` and `losetup --list`, and mount one of them elsewhere".to_owned()
            }
            Self::Gone { .. } => {
                "it was detached while it was mounted: look at `dmesg`, and unmount".to_owned()
            }
            Self::Btrfs { mount_point, .. } => {
                format!(
                    "compare `btrfs filesystem show {}` with `ls /sys/fs/btrfs/*/devices`",
                    mount_point.display()
                )
            }
            Self::LoopFile { device, .. } => {
                format!("it was made in another mount namespace: look at `losetup --list /dev/{device}`")
            }
        }
    }
}

/// A line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// The line ends too early.
    #[error("the {field} is missing")]
    Missing {
        /// The field that should come next.
        field: &'static str,
    },
    /// A field is not what it should be.
    #[error("the {field} is {found:?}, not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there, shortened.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// Two mounts claim the same id.
    #[error("the mount id {id} stands on an earlier line already")]
    DuplicateId {
        /// The id.
        id: u32,
    },
}

impl LineProblem {
    /// A field that is not what it should be; what stands there may be long, or no text at all.
    pub(crate) fn field(field: &'static str, found: &[u8], expected: &'static str) -> Self {
        let found = String::from_utf8_lossy(found).chars().take(80).collect();
        Self::Field { field, found, expected }
    }
}
