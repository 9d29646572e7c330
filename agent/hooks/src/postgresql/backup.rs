//! Backup mode: what it is begun and ended with, and what a restore needs of it.
//!
//! A snapshot that was taken in backup mode recovers by itself, as any other. With the label file, which the server
//! hands out at the end, it is also the base of a point-in-time recovery
//! (<https://www.postgresql.org/docs/current/continuous-archiving.html>).

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::PostgresError;
use super::facts::{Facts, Functions, V14};
use super::session::Session;
use crate::hook::StepContext;

/// What the server's own timeout is longer than the lease by.
const GRACE: Duration = Duration::from_secs(10);

/// The slot keeps the WAL from the start on. It is temporary: it ends with the session.
const SLOT: &str = "SELECT slot_name::text FROM pg_create_physical_replication_slot($slot$quiesced_$slot$ || pg_backend_pid(), true, true)";

/// Begins backup mode; returns the LSN that it begins at.
pub(super) async fn start(
    session: &mut Session,
    facts: &Facts,
    lease: Duration,
) -> Result<String, PostgresError> {
    if facts.version >= V14 {
        // An agent that is gone without closing the connection: the server ends the session by itself.
        let millis = (lease + GRACE).as_millis();
        let limit = format!("SET idle_session_timeout = {millis}");
        session.execute("for a limit of the idle session", &limit).await?;
    }
    session.ask("for a replication slot", SLOT).await?;
    let row = session.ask("for backup mode", Functions::of(facts.version).start).await?;
    Ok(row.get(0))
}

/// What the server hands out at the end of backup mode.
#[derive(Debug)]
pub(super) struct Label {
    pub(super) stopped_at: String,
    backup_label: String,
    tablespace_map: String,
}

/// Ends backup mode. The server writes WAL for it, so everything must be thawed before.
pub(super) async fn stop(session: &mut Session, facts: &Facts) -> Result<Label, PostgresError> {
    let row = session.ask("for the end of backup mode", Functions::of(facts.version).stop).await?;
    let map: Option<String> = row.get(2);
    Ok(Label { stopped_at: row.get(0), backup_label: row.get(1), tablespace_map: map.unwrap_or_default() })
}

impl Label {
    /// Keeps the files that a restore puts into the data directory, byte for byte; returns where they are.
    pub(super) async fn keep(self, step: &StepContext) -> Result<PathBuf, PostgresError> {
        let stop = self.stopped_at.replace('/', "-");
        let directory = step.records_dir.join(format!("{}-{}-{stop}", step.hook, step.execution_id));
        let path = directory.clone();
        // Others still hold their locks: the agent must not wait for this disk.
        let kept = tokio::task::spawn_blocking(move || self.keep_in(directory)).await;
        kept.unwrap_or_else(|lost| Err(PostgresError::Keep { path, source: io::Error::other(lost) }))
    }

    fn keep_in(&self, directory: PathBuf) -> Result<PathBuf, PostgresError> {
        let failed = |source| PostgresError::Keep { path: directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
        keep(&directory.join("backup_label"), &self.backup_label)?;
        if !self.tablespace_map.is_empty() {
            keep(&directory.join("tablespace_map"), &self.tablespace_map)?;
        }
        fs::File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(directory)
    }
}

fn keep(path: &Path, text: &str) -> Result<(), PostgresError> {
    let failed = |source| PostgresError::Keep { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}
