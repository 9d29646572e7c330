//! One block device: what its directory under `/sys/class/block` says.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use quiesced_core::block::DeviceNumber;

use super::sysfs::Sysfs;
use crate::error::{BadLine, TopologyError};
use crate::mountinfo::device_number;

/// What is known of a device before anything below it has been looked at.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) number: DeviceNumber,
    pub(super) role: Role,
    /// What it lies on (`bd_link_disk_holder` in block/holder.c: device mapper, MD and bcache all call it); for a
    /// partition its disk.
    pub(super) below: Vec<String>,
}

/// What a device is.
#[derive(Debug)]
pub(super) enum Role {
    Partition,
    Mapped { name: String, maker: Option<String> },
    Raid { level: String },
    Loop { file: PathBuf },
    Bcache,
    Disk,
}

/// Reads a device, if there is one of this name.
pub(super) fn read(sysfs: &Sysfs, name: &str) -> Result<Option<Device>, TopologyError> {
    let here = format!("class/block/{name}");
    let Some(place) = sysfs.link(&here)? else { return Ok(None) };
    let Some(number) = number(sysfs, &here)? else { return Ok(None) };
    // Only a partition has this attribute, and its directory lies in its disk's (block/partitions/core.c).
    if sysfs.attribute(&format!("{here}/partition"))?.is_some() {
        let disk = place.parent().and_then(Path::file_name);
        let below = disk.map(|disk| disk.to_string_lossy().into_owned()).into_iter().collect();
        return Ok(Some(Device { number, role: Role::Partition, below }));
    }
    let below = sysfs.names(&format!("{here}/slaves"))?;
    let role = role(sysfs, name, &here)?;
    Ok(Some(Device { number, role, below }))
}

fn number(sysfs: &Sysfs, here: &str) -> Result<Option<DeviceNumber>, TopologyError> {
    let path = format!("{here}/dev");
    let Some(text) = sysfs.attribute(&path)? else { return Ok(None) };
    let number = device_number(&text).map_err(|problem| TopologyError::Malformed {
        path: sysfs.path(&path),
        bad: BadLine { number: 1, problem },
    })?;
    Ok(Some(DeviceNumber { major: number.major, minor: number.minor }))
}

fn role(sysfs: &Sysfs, name: &str, here: &str) -> Result<Role, TopologyError> {
    if let Some(mapped) = mapped_name(sysfs, name)? {
        let uuid = sysfs.text(&format!("{here}/dm/uuid"))?;
        return Ok(Role::Mapped { name: mapped, maker: uuid.as_deref().and_then(maker) });
    }
    if let Some(level) = sysfs.text(&format!("{here}/md/level"))? {
        return Ok(Role::Raid { level });
    }
    if let Some(file) = sysfs.attribute(&format!("{here}/loop/backing_file"))? {
        return Ok(Role::Loop { file: backing_file(&file) });
    }
    // Not by its directory `bcache`: the devices below it have one as well (drivers/md/bcache/super.c).
    Ok(if name.starts_with("bcache") { Role::Bcache } else { Role::Disk })
}

/// The name that a device of the device mapper was made with (Documentation/ABI/testing/sysfs-block-dm).
pub(super) fn mapped_name(sysfs: &Sysfs, name: &str) -> Result<Option<String>, TopologyError> {
    sysfs.text(&format!("class/block/{name}/dm/name"))
}

/// By agreement of all who make devices, the UUID begins with their name: `LVM-…`, `CRYPT-LUKS2-…` (dmsetup(8)).
fn maker(uuid: &str) -> Option<String> {
    uuid.split_once('-').map(|(maker, _)| maker.to_lowercase())
}

/// The kernel prints the path as it is, without escapes, and marks a file that was unlinked
/// (`loop_attr_backing_file_show` in drivers/block/loop.c, `d_path` in fs/d_path.c). A file that really has such a name
/// lies in the same directory, hence on the same filesystem, as the one without it.
fn backing_file(text: &[u8]) -> PathBuf {
    let path = text.strip_suffix(b" (deleted)").unwrap_or(text);
    OsString::from_vec(path.to_vec()).into()
}

/// The name of the device of a node in `/dev`; the kernel has `!` in names where the node has `/`
/// (`kobject_set_name_vargs` in lib/kobject.c).
pub(super) fn of_node(node: &Path) -> Option<String> {
    let name = node.strip_prefix("/dev").ok().filter(|name| !name.as_os_str().is_empty())?;
    Some(String::from_utf8_lossy(name.as_os_str().as_bytes()).replace('/', "!"))
}
