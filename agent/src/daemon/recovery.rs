//! Releasing what the journal lists, with or without a daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use quiesced_core::id::ExecutionId;
use quiesced_core::problem::Problem;
use quiesced_core::report::ThingKind;
use quiesced_freezer::journal::{Journal, JournalError, Record, Status};
use quiesced_freezer::recover::{HookToUndo, Recovered as Filesystem, Recovery};
use quiesced_hooks::Undo;
use quiesced_topology::Mounts;

use super::survey::blocking;
use crate::paths::Paths;

/// What was found and done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovered {
    /// The session whose journal it was; absent when there was none.
    pub execution_id: Option<ExecutionId>,
    /// Everything that was or may have been held.
    pub things: Vec<RecoveredThing>,
}

/// What became of one thing.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveredThing {
    /// Whether it is a hook or a filesystem.
    pub kind: ThingKind,
    /// The hook's name or the mount point.
    pub name: String,
    /// Whether it is certainly not held by us any more.
    pub released: bool,
    /// What happened, in words.
    pub outcome: String,
}

impl RecoveredThing {
    fn filesystem(recovered: &Filesystem) -> Self {
        Self {
            kind: ThingKind::Filesystem,
            name: recovered.mount_point.display().to_string(),
            released: recovered.outcome.is_released(),
            outcome: recovered.outcome.to_string(),
        }
    }

    fn hook(name: String, undone: Result<(), Problem>) -> Self {
        Self {
            kind: ThingKind::Hook,
            name,
            released: undone.is_ok(),
            outcome: undone.map_or_else(|problem| problem.to_string(), |()| "undone".to_owned()),
        }
    }
}

impl Recovered {
    /// Whether a thing is not among those that may still be held.
    pub fn released(&self, kind: ThingKind, name: &str) -> bool {
        !self.things.iter().any(|thing| thing.kind == kind && thing.name == name && !thing.released)
    }

    /// Whether nothing is held any more.
    pub fn is_clean(&self) -> bool {
        self.things.iter().all(|thing| thing.released)
    }
}

/// How long hooks wait for the filesystems: a resume may have to write to them. A thaw takes well under a millisecond;
/// what takes longer is stuck, and no reason to keep applications waiting.
const FILESYSTEMS_FIRST: Duration = Duration::from_secs(2);

/// Releases what the journal of a runtime directory lists, and nothing else: filesystems first, then hooks. The
/// journal is removed when nothing is left. Waits for freezes and thaws that are under way, but not longer than
/// `patience`, and for hooks as long as their own timeouts say.
///
/// # Errors
/// When the journal cannot be read.
pub async fn recover(paths: &Paths, patience: Duration) -> Result<Recovered, Problem> {
    let problem = |error: JournalError| Problem::from_error(&error).with_hint(Some(error.hint()));
    let Some((journal, record, statuses)) = Journal::open(&paths.runtime_dir).map_err(problem)? else {
        return Ok(Recovered::default());
    };
    let end = Instant::now() + patience;
    let execution_id = record.execution_id.clone();
    let root = paths.host_root().to_owned();
    let mut recovery = off_task(move || begin(&root, &record, &statuses)).await?;
    recovery = wait(recovery, FILESYSTEMS_FIRST.min(patience)).await?;
    let mut undone = Vec::new();
    for hook in std::mem::take(&mut recovery.hooks) {
        let outcome = undo(&hook).await;
        settle(&journal, hook.thing, outcome.is_ok());
        undone.push(RecoveredThing::hook(hook.name, outcome));
    }
    recovery = wait(recovery, end.saturating_duration_since(Instant::now())).await?;
    let mut things = Vec::new();
    for filesystem in recovery.filesystems {
        settle(&journal, filesystem.thing, filesystem.outcome.is_released());
        things.push(RecoveredThing::filesystem(&filesystem));
    }
    things.extend(undone);
    let recovered = Recovered { execution_id: Some(execution_id), things };
    if recovered.is_clean() {
        journal.finish().map_err(problem)?;
    }
    Ok(recovered)
}

fn begin(root: &Path, record: &Record, statuses: &[Status]) -> Recovery {
    // Without the table of mounts the journaled mount points are still tried.
    let mounts = Mounts::read(root).ok();
    let locate = |superblock| {
        let places = mounts.iter().flat_map(|mounts| mounts.of_superblock(superblock));
        places.map(|mount| mount.mount_point.clone()).collect()
    };
    quiesced_freezer::recover::recover(record, statuses, &locate)
}

async fn wait(mut recovery: Recovery, patience: Duration) -> Result<Recovery, Problem> {
    let waited = move || {
        recovery.wait(patience);
        recovery
    };
    off_task(waited).await
}

async fn off_task<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    blocking(work).await.map_err(|mut problems| problems.remove(0))
}

async fn undo(hook: &HookToUndo) -> Result<(), Problem> {
    let undo: Undo =
        serde_json::from_value(hook.undo.clone()).map_err(|error| Problem::from_error(&error))?;
    undo.carry_out().await.map_err(|error| Problem::from(&error))
}

/// A journal that lags behind makes a later recovery try something twice, which it must bear.
fn settle(journal: &Journal, thing: usize, released: bool) {
    if released && let Err(error) = journal.set(thing, Status::Released) {
        tracing::warn!(%error, "the journal lags behind");
    }
}
