//! In which order filesystems are frozen.

use std::collections::BTreeMap;

use quiesced_core::superblock::Superblock;

use crate::mounts::Mounts;

/// The rank of each filesystem: all of rank 0 are frozen first, together, then those of rank 1, and so on.
///
/// A filesystem that is mounted below another of them has a lower rank than that one, however many mounts lie in
/// between; otherwise ranks are as low as can be, so that what is independent is frozen in parallel.
///
/// Each filesystem stands where its [representative](Mounts::representative) is mounted. With bind mounts a
/// filesystem may appear above *and* below another one; but each has one representative, the mounts are a tree, and so
/// *is mounted below* can have no cycle. A filesystem without a visible mount cannot be opened, and gets no rank.
pub fn freeze_ranks(mounts: &Mounts, targets: &[Superblock]) -> BTreeMap<Superblock, u16> {
    let representatives: BTreeMap<u32, Superblock> = targets
        .iter()
        .filter_map(|&target| mounts.representative(target).map(|mount| (mount.id, target)))
        .collect();
    let mut ranks: BTreeMap<Superblock, u16> = representatives.values().map(|&target| (target, 0)).collect();
    for inner in representatives.keys().filter_map(|&id| mounts.by_id(id)) {
        let outer = mounts.ancestors(inner).filter_map(|mount| representatives.get(&mount.id));
        let mut nested: u16 = 0;
        for target in outer {
            nested = nested.saturating_add(1);
            ranks.entry(*target).and_modify(|rank| *rank = nested.max(*rank));
        }
    }
    ranks
}
