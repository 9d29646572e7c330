//! What a filesystem lies on: block devices, and at their end volumes.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::superblock::Superblock;

/// Everything that one filesystem lies on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Stack {
    /// Every block device, once: each stands before the ones that it lies on.
    pub devices: Vec<BlockDevice>,
    /// Where the data ends up, once each.
    pub volumes: Vec<Volume>,
}

/// One block device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockDevice {
    /// The name that the kernel gave to it, which no other block device has.
    pub name: String,
    /// Its device number.
    pub number: DeviceNumber,
    /// What it is.
    #[serde(flatten)]
    pub kind: DeviceKind,
    /// The names of the devices that it lies on; none for a disk.
    pub below: Vec<String>,
}

/// The number of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceNumber {
    /// The major number: its driver.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// What a block device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DeviceKind {
    /// A part of another device.
    Partition,
    /// Made by the device mapper.
    Mapped {
        /// The name that its maker gave to it: `vg-data`.
        mapped_name: String,
        /// Who made it, in lower case: `lvm`, `crypt`, `mpath`; absent when it does not say so.
        maker: Option<String>,
    },
    /// An array of the MD driver.
    Raid {
        /// Its level: `raid0`.
        level: String,
    },
    /// A file that is shown as a device.
    Loop {
        /// The file; with loop over a device, that device's node.
        file: PathBuf,
        /// The filesystem that the file lies in; absent with loop over a device.
        filesystem: Option<Superblock>,
    },
    /// A device behind a cache.
    Bcache,
    /// The end of the stack.
    Disk,
}

/// Where data ends up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Volume {
    /// An EBS volume.
    Ebs {
        /// Its id: `vol-0123456789abcdef0`.
        id: String,
        /// The device that it is attached as.
        device: String,
    },
    /// A disk of the instance itself, which no snapshot has.
    InstanceStore {
        /// The device.
        device: String,
    },
    /// A device of a Xen instance: an EBS volume or instance store; the device does not tell.
    Xen {
        /// The device.
        device: String,
    },
    /// Another machine's data, which no snapshot of this one has.
    Network {
        /// What is mounted: `fs-0123.efs.eu-west-1.amazonaws.com:/`.
        source: String,
    },
    /// A filesystem without a device: in memory, or on top of other filesystems.
    NoDevice {
        /// The type of the filesystem.
        fs_type: String,
    },
    /// Nothing says that it is an EBS volume.
    Unknown {
        /// The device, or its number if it has no name.
        device: String,
        /// Why it is not known, as a clause.
        why: String,
    },
}

impl Stack {
    /// The device of this name.
    pub fn device(&self, name: &str) -> Option<&BlockDevice> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// The devices that nothing else of this stack lies on: the filesystem lies on them directly.
    pub fn topmost(&self) -> impl Iterator<Item = &BlockDevice> {
        self.devices
            .iter()
            .filter(|device| !self.devices.iter().any(|over| over.below.contains(&device.name)))
    }

    /// The volume that a disk is.
    pub fn volume_of(&self, disk: &str) -> Option<&Volume> {
        self.volumes.iter().find(|volume| volume.device() == Some(disk))
    }
}

impl Volume {
    /// The id of an EBS volume.
    pub fn ebs_id(&self) -> Option<&str> {
        match self {
            Self::Ebs { id, .. } => Some(id),
            Self::InstanceStore { .. }
            | Self::Xen { .. }
            | Self::Network { .. }
            | Self::NoDevice { .. }
            | Self::Unknown { .. } => None,
        }
    }

    /// The device that it is.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Ebs { device, .. }
            | Self::InstanceStore { device }
            | Self::Xen { device }
            | Self::Unknown { device, .. } => Some(device),
            Self::Network { .. } | Self::NoDevice { .. } => None,
        }
    }

    /// Why no snapshot of this instance's volumes can have it, as a clause; absent when one may.
    pub fn never_in_a_snapshot(&self) -> Option<String> {
        match self {
            Self::InstanceStore { device } => {
                Some(format!("{device} is instance store, which no snapshot has"))
            }
            Self::Network { source } => {
                Some(format!("{source} is another machine's, which no snapshot of this one has"))
            }
            Self::NoDevice { fs_type } => Some(format!("{fs_type} has no volume of its own")),
            Self::Ebs { .. } | Self::Xen { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// Whether a text has the form of an EBS volume's id: the older ones have 8 digits, all others 17.
pub fn is_volume_id(text: &str) -> bool {
    let digits = text.strip_prefix("vol-").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    matches!(digits.len(), 8 | 17) && digits.bytes().all(is_digit)
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition => f.write_str("partition"),
            Self::Mapped { mapped_name, maker } => {
                write!(f, "{} {mapped_name}", maker.as_deref().unwrap_or("device mapper"))
            }
            Self::Raid { level } => write!(f, "MD {level}"),
            Self::Loop { file, .. } => write!(f, "loop over {}", file.display()),
            Self::Bcache => f.write_str("bcache"),
            Self::Disk => f.write_str("disk"),
        }
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ebs { id, .. } => f.write_str(id),
            Self::InstanceStore { device } => write!(f, "{device} (instance store)"),
            Self::Xen { device } => write!(f, "{device} (Xen tells no volume id)"),
            Self::Network { source } => f.write_str(source),
            Self::NoDevice { fs_type } => write!(f, "{fs_type} (no volume)"),
            Self::Unknown { device, why } => write!(f, "{device} (unknown volume: {why})"),
        }
    }
}
