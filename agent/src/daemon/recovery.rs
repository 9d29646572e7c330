//! Releasing what the journal lists, with or without a daemon.

use std::time::Duration;

use serde::Serialize;

use quiesced_core::problem::Problem;
use quiesced_core::report::ThingKind;
use quiesced_freezer::journal::{Journal, JournalError, Status};
use quiesced_freezer::recover::{HookToUndo, Recovery};
use quiesced_hooks::Undo;
use quiesced_topology::Mounts;

use super::survey::blocking;
use crate::paths::Paths;

/// What was found and done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Recovered {
    /// The session whose journal it was; absent when there was none.
    pub execution_id: Option<String>,
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

impl Recovered {
    /// Whether nothing is held any more.
    pub fn is_clean(&self) -> bool {
        self.things.iter().all(|thing| thing.released)
    }
}

/// Releases what the journal of a runtime directory lists, and nothing else: filesystems first, then hooks. The
/// journal is removed when nothing is left. Waits for freezes and thaws that are under way, but not longer than
/// `patience`.
///
/// # Errors
/// When the journal cannot be read.
pub async fn recover(paths: &Paths, patience: Duration) -> Result<Recovered, Problem> {
    let problem = |error: JournalError| Problem::from_error(&error).with_hint(Some(error.hint()));
    let Some((journal, record, statuses)) = Journal::open(&paths.runtime_dir).map_err(problem)? else {
        return Ok(Recovered::default());
    };
    let execution_id = record.execution_id.to_string();
    let root = paths.host_root().to_owned();
    let thaw = blocking(move || {
        // Without the table of mounts the journaled mount points are still tried.
        let mounts = Mounts::read(&root).ok();
        let locate = |superblock| {
            let places = mounts.iter().flat_map(|mounts| mounts.of_superblock(superblock));
            places.map(|mount| mount.mount_point.clone()).collect()
        };
        quiesced_freezer::recover::recover(&record, &statuses, &locate, patience)
    });
    let Recovery { filesystems, hooks } = thaw.await.map_err(|mut problems| problems.remove(0))?;
    let mut things = Vec::new();
    for filesystem in filesystems {
        let released = filesystem.outcome.is_released();
        settle(&journal, filesystem.thing, released);
        things.push(RecoveredThing {
            kind: ThingKind::Filesystem,
            name: filesystem.mount_point.display().to_string(),
            released,
            outcome: filesystem.outcome.to_string(),
        });
    }
    for hook in hooks {
        let outcome = undo(&hook).await;
        settle(&journal, hook.thing, outcome.is_ok());
        things.push(RecoveredThing {
            kind: ThingKind::Hook,
            name: hook.name,
            released: outcome.is_ok(),
            outcome: outcome.map_or_else(|problem| problem.to_string(), |()| "undone".to_owned()),
        });
    }
    let recovered = Recovered { execution_id: Some(execution_id), things };
    if recovered.is_clean() {
        journal.finish().map_err(problem)?;
    }
    Ok(recovered)
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
