//! A whole host of which every file is made up: mounts, swap files, fstab and the tree of block devices.
#![no_main]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use quiesced_topology::{BlockStack, Mounts, boot_mounts, freeze_ranks, swap_files};

/// Each part of the input goes into one of them, in turn.
const FILES: [&str; 12] = [
    "proc/self/mountinfo",
    "proc/swaps",
    "etc/fstab",
    "sys/dev/block/7:0/dev",
    "sys/dev/block/7:0/uevent",
    "sys/dev/block/7:0/loop/backing_file",
    "sys/dev/block/7:0/partition",
    "sys/dev/block/259:0/dev",
    "sys/dev/block/259:0/uevent",
    "sys/dev/block/259:0/device/model",
    "sys/dev/block/259:0/device/serial",
    "sys/dev/block/259:0/dm/name",
];

fn make(root: &Path, input: &[u8]) -> std::io::Result<()> {
    for (name, text) in FILES.iter().zip(input.split(|&byte| byte == 0)) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(path, text)?;
    }
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    let Ok(root) = tempfile::tempdir_in("/dev/shm") else { return };
    if make(root.path(), input).is_err() {
        return;
    }
    let _swaps = swap_files(root.path());
    let _points = boot_mounts(root.path());
    let Ok(mounts) = Mounts::read(root.path()) else { return };
    let mut blocks = BlockStack::new(root.path(), &mounts);
    let superblocks: HashSet<_> = mounts.iter().map(|mount| mount.superblock).collect();
    let stacks =
        superblocks.iter().filter_map(|superblock| Some((*superblock, blocks.under(*superblock).ok()?)));
    let stacks = stacks.collect();
    let _ranks = freeze_ranks(&mounts, &stacks);
});
