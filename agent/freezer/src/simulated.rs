//! Filesystems that are not there: for every exit code without root and without disks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::target::Filesystem;

/// What goes wrong, by mount point.
pub type Faults = BTreeMap<PathBuf, Fault>;

/// What goes wrong with one simulated filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Its data cannot be written out.
    SyncFails,
    /// Another filesystem shows at its mount point.
    Changed,
    /// Somebody else has frozen it.
    FrozenByOther,
    /// It refuses to be frozen.
    FreezeFails,
    /// Freezing it takes so many milliseconds, whatever happens meanwhile.
    FreezeTakes(u64),
    /// Somebody else thaws it right after it was frozen.
    ThawedByOther,
    /// It refuses to be thawed.
    ThawFails,
}

/// One filesystem that is not there.
#[derive(Debug, Default)]
pub struct Simulated {
    fault: Option<Fault>,
    frozen: AtomicBool,
}

impl Simulated {
    /// A thawed filesystem with which this goes wrong.
    pub const fn new(fault: Option<Fault>) -> Self {
        Self { fault, frozen: AtomicBool::new(false) }
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }
}

impl Filesystem for Simulated {
    fn sync(&self) -> Result<(), Errno> {
        if self.fault == Some(Fault::SyncFails) { Err(Errno::EIO) } else { Ok(()) }
    }

    fn is_unchanged(&self) -> bool {
        self.fault != Some(Fault::Changed)
    }

    fn freeze(&self) -> Result<(), Errno> {
        match self.fault {
            Some(Fault::FrozenByOther) => return Err(Errno::EBUSY),
            Some(Fault::FreezeFails) => return Err(Errno::EOPNOTSUPP),
            Some(Fault::FreezeTakes(millis)) => std::thread::sleep(Duration::from_millis(millis)),
            _ => {}
        }
        if self.frozen.swap(true, Ordering::SeqCst) { Err(Errno::EBUSY) } else { Ok(()) }
    }

    fn thaw(&self) -> Result<(), Errno> {
        match self.fault {
            Some(Fault::ThawFails) => return Err(Errno::EIO),
            Some(Fault::ThawedByOther) => self.frozen.store(false, Ordering::SeqCst),
            _ => {}
        }
        if self.frozen.swap(false, Ordering::SeqCst) { Ok(()) } else { Err(Errno::EINVAL) }
    }
}
