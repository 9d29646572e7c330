//! The identity of a mounted filesystem.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The device number under which the kernel knows one superblock, as `/proc/self/mountinfo` prints it.
///
/// Paths name mounts, and one filesystem may be mounted many times; this number is the same for all of them. On
/// btrfs it differs from `st_dev`, which there belongs to the subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Superblock {
    /// The major number; 0 for filesystems without a block device of their own.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

impl fmt::Display for Superblock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}
