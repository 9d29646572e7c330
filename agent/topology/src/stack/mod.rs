//! The block stack: from a filesystem down to the volumes that its data ends up on.
//!
//! ```text
//! superblock ──▶ partition ──▶ disk ──▶ EBS volume, instance store, Xen, unknown
//!     │  └─────▶ device mapper, MD, bcache ──slaves/──▶ …
//!     │  └─────▶ loop ──backing_file──▶ the filesystem that holds the file ──▶ …
//!     └─(btrfs)▶ every device of /sys/fs/btrfs/UUID/devices
//! ```
//!
//! Only what lies under the filesystems that are asked for is read, each file once.

mod btrfs;
mod device;
mod sysfs;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quiesced_core::block::{BlockDevice, DeviceKind, Stack, Volume};
use quiesced_core::superblock::Superblock;

use crate::error::TopologyError;
use crate::kind::{Kind, Unfreezable};
use crate::mountinfo::Mount;
use crate::mounts::Mounts;
use device::{Device, Role};
use sysfs::Sysfs;

/// What filesystems lie on, as far as it has been asked for.
#[derive(Debug)]
pub struct BlockStack<'a> {
    sysfs: Sysfs,
    mounts: &'a Mounts,
    /// Read when the first btrfs is met.
    pools: Option<Vec<btrfs::Pool>>,
    devices: BTreeMap<String, Node>,
    filesystems: BTreeMap<Superblock, Base>,
}

/// A device, and its volume if it lies on no other.
#[derive(Debug)]
struct Node {
    device: BlockDevice,
    volume: Option<Volume>,
}

/// What a filesystem lies on directly.
#[derive(Debug)]
enum Base {
    Devices(Vec<String>),
    Volume(Volume),
}

/// The way down from the filesystem that was asked for. Devices have no `/` in their names, and filesystems stand with
/// their numbers, since several may be mounted on one point.
#[derive(Debug, Default)]
struct Trail(Vec<String>);

impl Trail {
    /// One step down. What is on the way already would lie on itself.
    fn enter(&mut self, name: String) -> Result<(), TopologyError> {
        if let Some(start) = self.0.iter().position(|seen| *seen == name) {
            let path = self.0[start..].iter().cloned().chain([name]).collect();
            return Err(TopologyError::Cycle { path });
        }
        self.0.push(name);
        Ok(())
    }

    /// A step that cannot come round by itself.
    fn pass(&mut self, file: &Path) {
        self.0.push(file.display().to_string());
    }

    fn leave(&mut self) {
        self.0.pop();
    }
}

impl<'a> BlockStack<'a> {
    /// The stack below the mounts that were read from the same root.
    pub fn new(root: &Path, mounts: &'a Mounts) -> Self {
        Self {
            sysfs: Sysfs::below(root),
            mounts,
            pools: None,
            devices: BTreeMap::new(),
            filesystems: BTreeMap::new(),
        }
    }

    /// Everything that a filesystem lies on.
    ///
    /// # Errors
    /// When something below it cannot be read, is gone, or lies on itself.
    pub fn under(&mut self, superblock: Superblock) -> Result<Stack, TopologyError> {
        self.read_filesystem(superblock, &mut Trail::default())?;
        let mut walk = Walk { stack: self, seen: BTreeSet::new(), found: Stack::default() };
        walk.filesystem(superblock);
        let mut found = walk.found;
        found.devices.reverse();
        found.volumes.reverse();
        Ok(found)
    }

    fn read_filesystem(&mut self, superblock: Superblock, trail: &mut Trail) -> Result<(), TopologyError> {
        if self.filesystems.contains_key(&superblock) {
            return Ok(());
        }
        trail.enter(format!("{} ({superblock})", self.label(superblock)))?;
        let base = self.base(superblock)?;
        if let Base::Devices(names) = &base {
            names.iter().try_for_each(|name| self.read_device(name, superblock, trail))?;
        }
        trail.leave();
        self.filesystems.insert(superblock, base);
        Ok(())
    }

    /// How people find a filesystem: by where it is mounted.
    fn label(&self, superblock: Superblock) -> String {
        match self.mount(superblock) {
            Some(mount) => mount.mount_point.display().to_string(),
            None => superblock.to_string(),
        }
    }

    fn mount(&self, superblock: Superblock) -> Option<&'a Mount> {
        let mounts = self.mounts;
        mounts.representative(superblock).or_else(|| mounts.of_superblock(superblock).next())
    }

    fn base(&mut self, superblock: Superblock) -> Result<Base, TopologyError> {
        let mount = self.mount(superblock);
        let fs_type = mount.map_or("", |mount| mount.fs_type.as_str());
        // Major 0 means that no device is behind the number (Documentation/admin-guide/devices.txt).
        if superblock.major == 0 && fs_type != "btrfs" {
            return Ok(Base::Volume(match (Kind::of(fs_type), mount) {
                (Kind::Unfreezable(Unfreezable::Network | Unfreezable::Cluster), Some(mount)) => {
                    Volume::Network { source: mount.source.to_string_lossy().into_owned() }
                }
                _ => Volume::NoDevice { fs_type: fs_type.to_owned() },
            }));
        }
        if !self.sysfs.is_there() {
            let why = format!("there is no {}", self.sysfs.path("dev/block").display());
            return Ok(Base::Volume(Volume::Unknown { device: superblock.to_string(), why }));
        }
        if superblock.major == 0 {
            return self.btrfs(superblock).map(Base::Devices);
        }
        // Documentation/ABI/testing/sysfs-dev
        let place = self.sysfs.link(&format!("dev/block/{superblock}"))?;
        match place.as_deref().and_then(Path::file_name) {
            Some(name) => Ok(Base::Devices(vec![name.to_string_lossy().into_owned()])),
            None => Err(TopologyError::Gone { what: self.label(superblock), device: superblock.to_string() }),
        }
    }

    fn btrfs(&mut self, superblock: Superblock) -> Result<Vec<String>, TopologyError> {
        if self.pools.is_none() {
            self.pools = Some(btrfs::pools(&self.sysfs)?);
        }
        let pools = self.pools.as_deref().unwrap_or_default();
        let mut sources = self.mounts.of_superblock(superblock).map(|mount| &mount.source);
        sources.find_map(|source| btrfs::devices(pools, source)).ok_or_else(|| TopologyError::Btrfs {
            mount_point: self.label(superblock).into(),
            source_name: self.mount(superblock).map(|mount| mount.source.clone()).unwrap_or_default(),
        })
    }

    /// `over` is the filesystem whose stack leads to the device.
    fn read_device(&mut self, name: &str, over: Superblock, trail: &mut Trail) -> Result<(), TopologyError> {
        if self.devices.contains_key(name) {
            return Ok(());
        }
        trail.enter(name.to_owned())?;
        let Device { number, role, below } = device::read(&self.sysfs, name)?
            .ok_or_else(|| TopologyError::Gone { what: self.label(over), device: name.to_owned() })?;
        let (kind, below) = match role {
            Role::Partition => (DeviceKind::Partition, below),
            Role::Mapped { name, maker } => (DeviceKind::Mapped { mapped_name: name, maker }, below),
            Role::Raid { level } => (DeviceKind::Raid { level }, below),
            Role::Bcache => (DeviceKind::Bcache, below),
            Role::Disk => (DeviceKind::Disk, below),
            Role::Loop { file } => self.read_loop(name, file, over, trail)?,
        };
        below.iter().try_for_each(|name| self.read_device(name, over, trail))?;
        let is_end = below.is_empty() && !matches!(kind, DeviceKind::Loop { .. });
        let volume = is_end.then(|| volume::read(&self.sysfs, name)).transpose()?;
        trail.leave();
        let device = BlockDevice { name: name.to_owned(), number, kind, below };
        self.devices.insert(device.name.clone(), Node { device, volume });
        Ok(())
    }

    /// A loop device lies on what the filesystem of its file lies on, or on the device whose node was given instead.
    fn read_loop(
        &mut self,
        name: &str,
        file: PathBuf,
        over: Superblock,
        trail: &mut Trail,
    ) -> Result<(DeviceKind, Vec<String>), TopologyError> {
        // The path says where the file was opened; since then the loop's own filesystem may have been mounted above it.
        let mount = self
            .mounts
            .of_except(&file, over)
            .or_else(|| self.mounts.of(&file))
            .ok_or_else(|| TopologyError::LoopFile { device: name.to_owned(), file: file.clone() })?;
        // devtmpfs, or the tmpfs with a few nodes that containers have.
        let is_node = Kind::of(&mount.fs_type) == Kind::Unfreezable(Unfreezable::Memory);
        if let Some(device) = device::of_node(&file).filter(|_| is_node)
            && self.sysfs.link(&format!("class/block/{device}"))?.is_some()
        {
            return Ok((DeviceKind::Loop { file, filesystem: None }, vec![device]));
        }
        let filesystem = mount.superblock;
        trail.pass(&file);
        self.read_filesystem(filesystem, trail)?;
        trail.leave();
        let below = match self.filesystems.get(&filesystem) {
            Some(Base::Devices(names)) => names.clone(),
            Some(Base::Volume(_)) | None => Vec::new(),
        };
        Ok((DeviceKind::Loop { file, filesystem: Some(filesystem) }, below))
    }
}

/// Collects what was read, from the bottom up.
struct Walk<'s, 'a> {
    stack: &'s BlockStack<'a>,
    seen: BTreeSet<&'s str>,
    found: Stack,
}

impl<'s> Walk<'s, '_> {
    fn filesystem(&mut self, superblock: Superblock) {
        match self.stack.filesystems.get(&superblock) {
            Some(Base::Devices(names)) => names.iter().rev().for_each(|name| self.device(name)),
            Some(Base::Volume(volume)) => self.volume(volume),
            None => {}
        }
    }

    fn device(&mut self, name: &'s str) {
        let Some(node) = self.stack.devices.get(name).filter(|_| self.seen.insert(name)) else { return };
        node.device.below.iter().rev().for_each(|name| self.device(name));
        if let DeviceKind::Loop { filesystem: Some(filesystem), .. } = &node.device.kind {
            self.filesystem(*filesystem);
        }
        node.volume.iter().for_each(|volume| self.volume(volume));
        self.found.devices.push(node.device.clone());
    }

    fn volume(&mut self, volume: &Volume) {
        if !self.found.volumes.contains(volume) {
            self.found.volumes.push(volume.clone());
        }
    }
}
