//! What an earlier session left.

use std::path::Path;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;
use quiesced_core::superblock::Superblock;
use quiesced_freezer::clock;
use quiesced_freezer::journal::{Journal, Record, Status, Thing};

/// Looks whether a session can keep its journal in a runtime directory.
pub(super) fn place(runtime_dir: &Path) -> Option<Finding> {
    let error = Journal::check_place(runtime_dir).err()?;
    Some(Finding::error(Problem::from_error(&error).with_hint(Some(error.hint()))))
}

/// Looks at the journal of a runtime directory. That of a session which is open belongs to a living agent.
pub fn look(runtime_dir: &Path) -> Vec<Finding> {
    match Journal::read(runtime_dir) {
        Ok(None) => Vec::new(),
        Ok(Some((record, statuses))) => left(&record, &statuses).into_iter().collect(),
        Err(error) => vec![Finding::error(Problem::from_error(&error).with_hint(Some(error.hint())))],
    }
}

/// The filesystems that an open session of a living agent may have frozen: nobody else's freeze, and no place to write to.
pub(super) fn held_by_an_open_session(runtime_dir: &Path) -> Vec<Superblock> {
    let Ok(Some((record, statuses))) = Journal::read(runtime_dir) else { return Vec::new() };
    if record.agent.is_dead() {
        return Vec::new();
    }
    let held = record.things.iter().zip(statuses).filter(|(_, status)| status.is_owed());
    let superblock = |(thing, _): (&Thing, Status)| match thing {
        Thing::Filesystem { superblock, .. } => Some(*superblock),
        Thing::Hook { .. } => None,
    };
    held.filter_map(superblock).collect()
}

fn left(record: &Record, statuses: &[Status]) -> Option<Finding> {
    if clock::boot_id().is_ok_and(|boot_id| boot_id != record.boot_id) {
        let message = "the journal is that of another boot, which holds nothing any more";
        let hint = "`quiesced recover` removes it; put the runtime directory on tmpfs";
        return Some(Finding::warning(Problem::new(message).with_hint(Some(hint))));
    }
    let owed = record.things.iter().zip(statuses).filter(|(_, status)| status.is_owed());
    let names: Vec<String> = owed.map(|(thing, _)| thing.name()).collect();
    let (session, names_shown) = (record.execution_id.session(), names.join(", "));
    let message = format!("{session}, of an agent that has died, may still hold {names_shown}");
    (!names.is_empty() && record.agent.is_dead())
        .then(|| Finding::error(Problem::new(message).with_hint(Some("run `quiesced recover`"))))
}

#[cfg(test)]
mod tests {
    use quiesced_core::finding::Severity;
    use quiesced_core::id::ExecutionId;
    use quiesced_core::time::BootTime;
    use quiesced_freezer::journal::JOURNAL_VERSION;
    use quiesced_freezer::process::ProcessId;

    use super::*;

    fn record(agent: ProcessId) -> Record {
        Record {
            version: JOURNAL_VERSION,
            boot_id: clock::boot_id().unwrap(),
            execution_id: ExecutionId::NONE,
            agent,
            guardian: None,
            lease_ends: BootTime::from_nanos(0),
            things: vec![Thing::Hook { name: "queue".into(), undo: serde_json::Value::Null }],
        }
    }

    #[test]
    fn what_a_dead_agent_may_hold_is_an_error_and_an_open_session_is_none() {
        let alive = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let dead = ProcessId { start_time: alive.start_time + 1, ..alive };
        assert_eq!(left(&record(alive), &[Status::Held]), None);
        assert_eq!(left(&record(dead), &[Status::Released]), None);
        assert_eq!(left(&record(dead), &[Status::MaybeHeld]).unwrap().severity, Severity::Error);
    }

    #[test]
    fn the_journal_of_another_boot_is_a_warning() {
        let dead = ProcessId { pid: 1, start_time: u64::MAX };
        let other = Record { boot_id: "another".into(), ..record(dead) };
        assert_eq!(left(&other, &[Status::Held]).unwrap().severity, Severity::Warning);
    }
}
