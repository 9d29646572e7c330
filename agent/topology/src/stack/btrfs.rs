//! The devices of a btrfs filesystem.
//!
//! Its superblock has a device number without a device (`set_anon_super` in fs/super.c), and its directory in
//! `/sys/fs/btrfs` does not tell this number. What both sides know is a device: mountinfo prints one of them as the
//! source (`btrfs_show_devname` in fs/btrfs/super.c), and `/sys/fs/btrfs/UUID/devices` lists them all
//! (Documentation of btrfs, "sysfs interface").

use std::ffi::OsStr;
use std::path::Path;

use super::device;
use super::sysfs::Sysfs;
use crate::error::TopologyError;

/// The devices of one filesystem.
#[derive(Debug)]
pub(super) struct Pool {
    uuid: String,
    devices: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    mapped_name: Option<String>,
}

/// Reads every btrfs filesystem that is mounted.
pub(super) fn pools(sysfs: &Sysfs) -> Result<Vec<Pool>, TopologyError> {
    let pool = |uuid: String| {
        let names = sysfs.names(&format!("fs/btrfs/{uuid}/devices"))?;
        let member = |name: String| {
            let mapped_name = device::mapped_name(sysfs, &name)?;
            Ok(Member { name, mapped_name })
        };
        Ok(Pool { uuid, devices: names.into_iter().map(member).collect::<Result<_, _>>()? })
    };
    sysfs.names("fs/btrfs")?.into_iter().map(pool).collect()
}

/// The devices of the filesystem that was mounted from `source`.
pub(super) fn devices(pools: &[Pool], source: &OsStr) -> Option<Vec<String>> {
    let source = Path::new(source);
    let uuid = source.strip_prefix("/dev/disk/by-uuid").ok().and_then(Path::to_str);
    let (kernel, mapped) = (device::of_node(source), mapped(source));
    let is_source = |member: &Member| {
        Some(&member.name) == kernel.as_ref() || mapped.is_some() && member.mapped_name == mapped
    };
    let is_mounted = |pool: &&Pool| Some(pool.uuid.as_str()) == uuid || pool.devices.iter().any(is_source);
    let pool = pools.iter().find(is_mounted)?;
    Some(pool.devices.iter().map(|member| member.name.clone()).collect())
}

/// The device mapper's name behind `/dev/mapper/NAME` or LVM's `/dev/GROUP/VOLUME`; LVM doubles the dashes of both
/// names and joins them with one (lvm(8), "VALID NAMES").
fn mapped(source: &Path) -> Option<String> {
    let names: Vec<&str> = source.strip_prefix("/dev").ok()?.to_str()?.split('/').collect();
    match names[..] {
        ["mapper", name] => Some(name.to_owned()),
        [group, volume] => Some(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))),
        _ => None,
    }
}
