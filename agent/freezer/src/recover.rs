//! Releasing what an agent left behind: after its death, from its journal alone.
//!
//! A guardian that is still at work may be thawing, or may be inside a FIFREEZE that finishes later and leaves a
//! frozen filesystem that nobody owns. FITHAW answers EINVAL until then, or sleeps until the FIFREEZE is over. So every
//! filesystem is tried, in a thread of its own, until that process has gone, and once more afterwards.
//!
//! A frozen filesystem that is unmounted stays frozen, and is frozen when it is mounted again. So one that cannot be
//! reached is residue, until its device is gone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use quiesced_core::problem::Problem;
use quiesced_core::superblock::Superblock;

use crate::clock;
use crate::journal::{Record, Status, Thing};
use crate::process::ProcessId;
use crate::target::{Directory, Filesystem};

/// How often a filesystem is tried while a guardian is at work: well below the two seconds in which all must be thawed.
const PAUSE: Duration = Duration::from_millis(20);

/// A recovery that is under way, and what has come of it so far.
#[derive(Debug)]
pub struct Recovery {
    /// Every filesystem that was or may have been frozen, in the order in which they are tried.
    pub filesystems: Vec<Recovered>,
    /// Every hook that was or may have been quiesced, in the order in which they must be undone.
    pub hooks: Vec<HookToUndo>,
    outcomes: mpsc::Receiver<(usize, Outcome)>,
}

/// A hook whose hold outlived the agent.
#[derive(Debug)]
pub struct HookToUndo {
    /// Its place among the journal's things.
    pub thing: usize,
    /// Its name.
    pub name: String,
    /// How its hold is undone, in the words of the hook.
    pub undo: serde_json::Value,
}

/// What became of one filesystem.
#[derive(Debug)]
pub struct Recovered {
    /// Its place among the journal's things.
    pub thing: usize,
    /// The mount through which it was frozen.
    pub mount_point: PathBuf,
    /// How it ended.
    pub outcome: Outcome,
}

/// How the recovery of a filesystem ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outcome {
    /// It was frozen, and has been thawed.
    #[error("thawed")]
    Thawed,
    /// It was not frozen any more, or never had been.
    #[error("is not frozen, or not any more")]
    WasNotFrozen,
    /// Its device is not there any more, and so neither is the filesystem.
    #[error("is gone together with its device")]
    Gone,
    /// It may be frozen: no path leads to it any more.
    #[error("cannot be reached, so it may be left frozen ({0}); mount it again, then run `quiesced recover`")]
    Unreachable(String),
    /// It may be frozen: a freeze or a thaw of it is still under way.
    #[error("is still being frozen or thawed, so it may be left frozen")]
    UnderWay,
    /// It may be frozen: it could not be thawed.
    #[error("could not be thawed: {0}")]
    Failed(Errno),
}

impl Outcome {
    /// Whether the filesystem is certainly not frozen by us any more.
    pub const fn is_released(&self) -> bool {
        match self {
            Self::Thawed | Self::WasNotFrozen | Self::Gone => true,
            Self::Unreachable(_) | Self::UnderWay | Self::Failed(_) => false,
        }
    }
}

/// Begins to thaw what the journal says is or may be frozen, and nothing else; `locate` names other places where a
/// filesystem is mounted.
pub fn recover(
    record: &Record,
    statuses: &[Status],
    locate: &dyn Fn(Superblock) -> Vec<PathBuf>,
) -> Recovery {
    let (sender, outcomes) = mpsc::channel();
    let mut recovery = Recovery { filesystems: Vec::new(), hooks: Vec::new(), outcomes };
    if clock::boot_id().is_ok_and(|boot_id| boot_id != record.boot_id) {
        return recovery;
    }
    if let Some(guardian) = record.guardian {
        guardian.wake();
    }
    for (thing, owed) in record.things.iter().enumerate().rev() {
        if !statuses.get(thing).is_some_and(|status| status.is_owed()) {
            continue;
        }
        match owed {
            Thing::Hook { name, undo } => {
                recovery.hooks.push(HookToUndo { thing, name: name.clone(), undo: undo.clone() });
            }
            Thing::Filesystem { mount_point, superblock, st_dev } => {
                let places = [mount_point.clone()].into_iter().chain(locate(*superblock)).collect();
                let outcome = Outcome::UnderWay;
                recovery.filesystems.push(Recovered { thing, mount_point: mount_point.clone(), outcome });
                let (superblock, st_dev) = (*superblock, *st_dev);
                // What was frozen once needs no second look: EINVAL then means that somebody has thawed it.
                let may_come = statuses.get(thing) == Some(&Status::MaybeHeld);
                let (guardian, outcomes) = (record.guardian.filter(|_| may_come), sender.clone());
                Attempt { thing, places, superblock, st_dev, guardian, outcomes }.begin();
            }
        }
    }
    recovery
}

impl Recovery {
    /// Waits until every filesystem is done with, but not longer than `patience`. It may be called again for those that
    /// are still under way.
    pub fn wait(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        let left = || end.saturating_duration_since(Instant::now());
        while let Ok((thing, outcome)) = self.outcomes.recv_timeout(left()) {
            if let Some(recovered) = self.filesystems.iter_mut().find(|recovered| recovered.thing == thing) {
                recovered.outcome = outcome;
            }
        }
    }
}

/// One filesystem to be thawed.
#[derive(Clone, Debug)]
struct Attempt {
    thing: usize,
    places: Vec<PathBuf>,
    superblock: Superblock,
    st_dev: u64,
    guardian: Option<ProcessId>,
    outcomes: mpsc::Sender<(usize, Outcome)>,
}

impl Attempt {
    /// Each filesystem has a thread of its own, so that a FITHAW that sleeps cannot keep the others frozen. Where there
    /// is no thread to be had, a thaw that may keep the others waiting is better than none.
    fn begin(self) {
        let own = self.clone();
        if thread::Builder::new().spawn(move || own.make()).is_err() {
            self.make();
        }
    }

    fn make(self) {
        let outcome = match open_any(&self.places, self.st_dev) {
            Ok(directory) => thaw_surely(&directory, self.guardian, &AtomicBool::new(false)),
            Err(_) if is_gone(self.superblock) => Outcome::Gone,
            Err(reason) => Outcome::Unreachable(reason),
        };
        // Nobody listens once patience has ended; the thaw has been done all the same.
        drop(self.outcomes.send((self.thing, outcome)));
    }
}

/// Opens the first place where the journaled filesystem shows now, or says why there is none.
fn open_any(places: &[PathBuf], st_dev: u64) -> Result<Directory, String> {
    let mut reasons = Vec::new();
    for place in places {
        match Directory::open(place) {
            Ok(directory) if directory.st_dev() == st_dev => return Ok(directory),
            Ok(_) => reasons.push(format!("{} shows another filesystem", place.display())),
            Err(error) => reasons.push(Problem::from_error(&error).to_string()),
        }
    }
    reasons.dedup();
    Err(reasons.join("; "))
}

/// Whether the block device of a filesystem has been removed. One without a device of its own (major 0, as on btrfs)
/// cannot be told to be gone.
fn is_gone(superblock: Superblock) -> bool {
    superblock.major != 0 && !Path::new(&format!("/sys/dev/block/{superblock}")).exists()
}

/// Thaws a filesystem that another process may still be freezing: tries until that process has gone, and once more.
/// Blocks for as long as it is at work, unless it is called off: what somebody freezes after we are done is theirs.
pub fn thaw_surely(
    filesystem: &dyn Filesystem,
    guardian: Option<ProcessId>,
    called_off: &AtomicBool,
) -> Outcome {
    loop {
        if called_off.load(Ordering::Acquire) {
            return Outcome::WasNotFrozen;
        }
        let at_work = guardian.is_some_and(ProcessId::is_at_work);
        match filesystem.thaw() {
            Ok(()) => return Outcome::Thawed,
            Err(Errno::EINVAL) if at_work => thread::sleep(PAUSE),
            Err(Errno::EINVAL) => return Outcome::WasNotFrozen,
            Err(errno) => return Outcome::Failed(errno),
        }
    }
}
