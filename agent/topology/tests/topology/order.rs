//! In which order filesystems are frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::hosts::{host, superblock};
use proptest::prelude::*;
use quiesced_core::block::Stack;
use quiesced_core::superblock::Superblock;
use quiesced_topology::{Mount, Mounts};

/// The ranks of filesystems on disks of their own.
fn freeze_ranks(mounts: &Mounts, targets: &[Superblock]) -> BTreeMap<Superblock, u16> {
    let targets = targets.iter().map(|target| (*target, Stack::default())).collect();
    quiesced_topology::freeze_ranks(mounts, &targets).unwrap()
}

/// The ranks of the filesystems that these paths lie on.
fn ranks(name: &str, paths: &[&str]) -> Vec<Option<u16>> {
    let mounts = host(name);
    let targets: Vec<Superblock> = paths.iter().map(|path| superblock(&mounts, path)).collect();
    let ranks = freeze_ranks(&mounts, &targets);
    targets.iter().map(|target| ranks.get(target).copied()).collect()
}

#[test]
fn what_is_mounted_below_is_frozen_before_what_it_is_mounted_on() {
    assert_eq!(ranks("database", &["/", "/srv/db", "/srv/db/wal"]), [Some(2), Some(1), Some(0)]);
}

#[test]
fn mounts_in_between_that_are_no_targets_count_for_nesting() {
    assert_eq!(ranks("database", &["/srv/db", "/srv/db/tmp/sort"]), [Some(1), Some(0)]);
}

#[test]
fn unrelated_filesystems_are_frozen_together() {
    assert_eq!(ranks("database", &["/srv/db/wal", "/archive", "/mnt/swap space"]), [Some(0); 3]);
}

#[test]
fn a_filesystem_named_twice_is_frozen_once() {
    let mounts = host("database");
    let target = superblock(&mounts, "/archive");
    assert_eq!(freeze_ranks(&mounts, &[target, target]).len(), 1);
}

#[test]
fn a_filesystem_that_cannot_be_reached_has_no_rank() {
    let mounts = host("overmounted");
    let hidden = mounts.by_id(40).unwrap().superblock;
    assert!(freeze_ranks(&mounts, &[hidden]).is_empty());
}

/// Two filesystems, each mounted on a directory of the other, which the kernel allows.
#[test]
fn bind_mounts_that_nest_both_ways_make_no_cycle() {
    let table = "1 0 8:0 / / rw - ext4 r rw\n\
                 2 1 8:2 /t /t rw - ext4 b rw\n\
                 3 2 8:1 / /t/a rw - ext4 a rw\n\
                 4 1 8:1 /s /s rw - ext4 a rw\n\
                 5 4 8:2 / /s/b rw - ext4 b rw\n";
    let mounts = Mounts::parse(table.as_bytes()).unwrap();
    let targets = ["/t/a", "/s/b", "/"].map(|path| superblock(&mounts, path));
    let ranks = freeze_ranks(&mounts, &targets);
    assert_eq!(targets.map(|target| ranks[&target]), [0, 0, 1]);
}

/// One change of the tree.
#[derive(Clone, Debug)]
enum Step {
    Mount { superblock: u32, whole: bool, point: String },
    Unmount { point: String },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let point = "(/[ab]){1,4}";
    let mount = (1u32..6, any::<bool>(), point).prop_map(|(superblock, whole, point)| Step::Mount {
        superblock,
        whole,
        point,
    });
    let unmount = point.prop_map(|point| Step::Unmount { point });
    prop::collection::vec(prop_oneof![4 => mount, 1 => unmount], 0..24)
}

/// The table of a host whose mounts came and went like this: id, parent, superblock, whole, mount point.
struct Host(Vec<(u32, u32, u32, bool, String)>);

impl Host {
    fn after(steps: &[Step]) -> Self {
        let mut host = Self(vec![(1, 0, 0, true, "/".to_owned())]);
        for (id, step) in (2..).zip(steps) {
            match step {
                Step::Mount { superblock, whole, point } => {
                    let parent = host.on(point);
                    host.0.push((id, parent, *superblock, *whole, point.clone()));
                }
                Step::Unmount { point } => {
                    let top = host.on(point);
                    let busy = host.0.iter().any(|mount| mount.1 == top);
                    host.0.retain(|mount| mount.0 == 1 || busy || mount.0 != top);
                }
            }
        }
        host
    }

    /// Each new mount covers everything at and below its mount point, so the latest one that contains the path counts.
    fn on(&self, path: &str) -> u32 {
        self.0.iter().rfind(|mount| Path::new(path).starts_with(&mount.4)).map_or(0, |mount| mount.0)
    }

    fn mounts(&self) -> Mounts {
        let mut table = String::new();
        for (id, parent, superblock, whole, point) in &self.0 {
            let root = if *whole { "/" } else { "/part" };
            writeln!(table, "{id} {parent} 8:{superblock} {root} {point} rw shared:1 - ext4 /dev/x rw")
                .unwrap();
        }
        Mounts::parse(table.as_bytes()).unwrap()
    }
}

/// Whether `inner` is mounted below `outer`, by their paths: both are visible.
fn nested(inner: &Mount, outer: &Mount) -> bool {
    inner.id != outer.id && inner.mount_point.starts_with(&outer.mount_point)
}

proptest! {
    #[test]
    fn a_path_lies_on_the_latest_mount_that_contains_it(steps in steps(), path in "(/[ab]){1,5}") {
        let host = Host::after(&steps);
        let mounts = host.mounts();
        prop_assert_eq!(mounts.of(Path::new(&path)).map(|mount| mount.id), Some(host.on(&path)));
    }

    #[test]
    fn inner_filesystems_have_lower_ranks_and_ranks_are_as_low_as_can_be(
        steps in steps(),
        chosen: [bool; 6],
    ) {
        let mounts = Host::after(&steps).mounts();
        let targets: Vec<Superblock> =
            (0..6).zip(chosen).filter(|(_, chosen)| *chosen).map(|(minor, _)| Superblock { major: 8, minor }).collect();
        let ranks = freeze_ranks(&mounts, &targets);

        let visible: Vec<&Mount> = targets.iter().filter_map(|target| mounts.representative(*target)).collect();
        prop_assert_eq!(ranks.len(), visible.len());
        for outer in &visible {
            let inner = visible.iter().filter(|inner| nested(inner, outer));
            let lowest = inner.map(|inner| ranks[&inner.superblock] + 1).max().unwrap_or(0);
            prop_assert_eq!(ranks[&outer.superblock], lowest, "{:?}", outer);
        }
        let distinct: BTreeSet<u16> = ranks.values().copied().collect();
        prop_assert!(distinct.iter().copied().eq(0..u16::try_from(distinct.len()).unwrap()), "{:?}", ranks);
    }

    #[test]
    fn no_table_makes_it_panic(links in prop::collection::vec((0u32..8, 0u32..8, 0u32..3, "(/[ab]){1,2}"), 0..8)) {
        let mut table = String::from("1 1 8:0 / / rw - ext4 a rw\n");
        for (id, parent, minor, point) in links {
            writeln!(table, "{id} {parent} 8:{minor} / {point} rw - ext4 a rw").unwrap();
        }
        if let Ok(mounts) = Mounts::parse(table.as_bytes()) {
            let targets: Vec<Superblock> = mounts.iter().map(|mount| mount.superblock).collect();
            prop_assert!(freeze_ranks(&mounts, &targets).len() <= targets.len());
        }
    }
}
