//! In which order filesystems are frozen.

use std::collections::{BTreeMap, BTreeSet};

use quiesced_core::block::{DeviceKind, Stack};
use quiesced_core::superblock::Superblock;

use crate::error::TopologyError;
use crate::mounts::Mounts;

/// For each filesystem, those that are frozen before it.
type Before = BTreeMap<Superblock, BTreeSet<Superblock>>;

/// The rank of each filesystem: all of rank 0 are frozen first, together, then those of rank 1, and so on.
///
/// A filesystem has a lower rank than one that it is mounted below, however many mounts lie in between, and than one
/// that holds a file with its blocks: to freeze it writes to that file, and would wait for the thaw of what holds it.
/// Otherwise ranks are as low as can be, so that what is independent is frozen in parallel.
///
/// Each filesystem stands where its [representative](Mounts::representative) is mounted. With bind mounts a
/// filesystem may appear above *and* below another one; but each has one representative, the mounts are a tree, and so
/// *is mounted below* alone can have no cycle. A filesystem without a visible mount cannot be opened, and gets no rank.
///
/// # Errors
/// When a filesystem is mounted on one whose blocks lie in it.
pub fn freeze_ranks(
    mounts: &Mounts,
    targets: &BTreeMap<Superblock, Stack>,
) -> Result<BTreeMap<Superblock, u16>, TopologyError> {
    let before = before(mounts, targets);
    let mut ranks: BTreeMap<Superblock, u16> = BTreeMap::new();
    for rank in 0.. {
        let is_ready = |inner: &BTreeSet<Superblock>| inner.iter().all(|target| ranks.contains_key(target));
        let waiting = before.iter().filter(|(target, _)| !ranks.contains_key(target));
        let ready: Vec<Superblock> =
            waiting.filter(|(_, inner)| is_ready(inner)).map(|(target, _)| *target).collect();
        if ready.is_empty() {
            break;
        }
        ranks.extend(ready.into_iter().map(|target| (target, rank)));
    }
    match before.keys().find(|target| !ranks.contains_key(target)) {
        Some(&stuck) => Err(TopologyError::Order { path: circle(mounts, &before, &ranks, stuck) }),
        None => Ok(ranks),
    }
}

fn before(mounts: &Mounts, targets: &BTreeMap<Superblock, Stack>) -> Before {
    let representatives: BTreeMap<u32, Superblock> = targets
        .keys()
        .filter_map(|&target| mounts.representative(target).map(|mount| (mount.id, target)))
        .collect();
    let mut before: Before = representatives.values().map(|&target| (target, BTreeSet::new())).collect();
    for (inner, &target) in
        representatives.iter().filter_map(|(id, target)| Some((mounts.by_id(*id)?, target)))
    {
        let around = mounts.ancestors(inner).filter_map(|mount| representatives.get(&mount.id).copied());
        let below = targets.get(&target).into_iter().flat_map(holders);
        for outer in around.chain(below) {
            before.entry(outer).and_modify(|earlier| earlier.extend([target]));
        }
    }
    before
}

/// The filesystems that hold files which a stack leads through.
fn holders(stack: &Stack) -> impl Iterator<Item = Superblock> {
    stack.devices.iter().filter_map(|device| match &device.kind {
        DeviceKind::Loop { filesystem, .. } => *filesystem,
        DeviceKind::Partition
        | DeviceKind::Mapped { .. }
        | DeviceKind::Raid { .. }
        | DeviceKind::Bcache
        | DeviceKind::Disk => None,
    })
}

/// Everything that has no rank waits for something that has none, so the way from one to the next comes round.
fn circle(
    mounts: &Mounts,
    before: &Before,
    ranks: &BTreeMap<Superblock, u16>,
    stuck: Superblock,
) -> Vec<String> {
    let mut path = vec![stuck];
    while let Some(next) = path
        .last()
        .and_then(|last| before.get(last))
        .and_then(|earlier| earlier.iter().copied().find(|target| !ranks.contains_key(target)))
    {
        let start = path.iter().position(|seen| *seen == next);
        path.push(next);
        if let Some(start) = start {
            path.drain(..start);
            break;
        }
    }
    let name = |target: &Superblock| match mounts.representative(*target) {
        Some(mount) => mount.mount_point.display().to_string(),
        None => target.to_string(),
    };
    path.iter().rev().map(name).collect()
}
