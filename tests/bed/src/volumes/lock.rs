//! One bed at a time on a host: freezing tests of two processes would starve each other of disk and loop devices.

use std::fs::{self, File};
use std::path::Path;

use super::BedError;

/// The turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Lock {
    pub(super) fn take(root: &Path) -> Result<Self, BedError> {
        let path = root.join("lock");
        let locked = fs::create_dir_all(root)
            .and_then(|()| File::options().create(true).append(true).open(&path))
            .and_then(|file| file.lock().map(|()| file));
        locked.map(Self).map_err(|source| BedError::Lock { path, source })
    }
}
