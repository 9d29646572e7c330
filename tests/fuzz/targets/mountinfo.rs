//! A table of mounts is read or refused, and what was read can be asked.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use quiesced_topology::Mounts;

fuzz_target!(|table: &[u8]| {
    let Ok(mounts) = Mounts::parse(table) else { return };
    for mount in mounts.iter() {
        let _lies_on = mounts.of(&mount.mount_point);
        let _opened = mounts.representative(mount.superblock);
        let _seen = mounts.is_visible(mount);
    }
    let _lies_on = mounts.of(Path::new("/srv/data/file"));
});
