//! Logs: to the journal or to stderr, and to a daily file, but never while anything may be frozen.
//!
//! A line that waits for a frozen filesystem would keep the agent from thawing it. While a window is open every line
//! therefore stays in memory, in a ring of fixed size; afterwards the ring is written out, with the number of lines
//! that did not fit.

pub mod ids;
mod journal;

use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{LogFormat, LogSettings};
use journal::Journal;

/// What a window may say at most; a session says a few dozen lines of 200 bytes.
const RING_BYTES: usize = 256 * 1024;

/// Holds log lines back while a window is open.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    closed: bool,
    lines: Vec<u8>,
    entries: Vec<Vec<u8>>,
    /// How many bytes the entries have.
    entries_bytes: usize,
    dropped: u64,
    file: Option<NonBlocking>,
    /// What the file's own queue could not take.
    file_errors: Option<ErrorCounter>,
    file_dropped: usize,
    journal: Option<Journal>,
    /// Everything that was ever lost.
    lost: Counter,
}

impl Gate {
    /// From now on nothing is written. The ring's memory is taken here, before the window.
    pub fn close(&self) {
        let mut ring = self.ring();
        ring.lines.reserve(RING_BYTES);
        ring.closed = true;
    }

    /// Writes out what was held back, and from now on everything at once.
    pub fn open(&self) {
        let mut ring = self.ring();
        if !std::mem::take(&mut ring.closed) {
            return;
        }
        let held_back = std::mem::take(&mut ring.lines);
        ring.pass(&held_back);
        ring.entries_bytes = 0;
        for entry in std::mem::take(&mut ring.entries) {
            ring.send(&entry);
        }
        let dropped = ring.take_dropped();
        ring.lost.inc_by(dropped);
        drop(ring);
        if dropped > 0 {
            tracing::warn!(
                message_id = ids::LINES_LOST,
                dropped,
                "log lines were lost: nobody took them in time"
            );
        }
    }

    /// Counts what was lost.
    pub fn lost(&self) -> Counter {
        self.ring().lost.clone()
    }

    fn entry(&self, entry: Vec<u8>) {
        let mut ring = self.ring();
        if !ring.closed {
            ring.send(&entry);
        } else if ring.entries_bytes + entry.len() <= RING_BYTES {
            ring.entries_bytes += entry.len();
            ring.entries.push(entry);
        } else {
            ring.dropped += 1;
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn take(&mut self, line: &[u8]) {
        if !self.closed {
            self.pass(line);
        } else if self.lines.len() + line.len() <= RING_BYTES {
            self.lines.extend_from_slice(line);
        } else {
            self.dropped += 1;
        }
    }

    fn take_dropped(&mut self) -> u64 {
        let of_file = self.file_errors.as_ref().map_or(0, ErrorCounter::dropped_lines);
        let new = of_file.saturating_sub(std::mem::replace(&mut self.file_dropped, of_file));
        std::mem::take(&mut self.dropped) + u64::try_from(new).unwrap_or(u64::MAX)
    }

    fn send(&mut self, entry: &[u8]) {
        if self.journal.as_mut().is_some_and(|journal| journal.send(entry).is_err()) {
            self.dropped += 1;
        }
    }

    /// A log that cannot be written must not fail what it tells of, so both errors end here.
    fn pass(&mut self, lines: &[u8]) {
        if self.journal.is_none() {
            drop(io::stderr().write_all(lines));
        }
        if let Some(file) = &mut self.file {
            drop(file.write_all(lines));
        }
    }
}

/// One line on its way into the gate.
#[derive(Debug)]
pub struct Line(Gate);

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.ring().take(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Gate {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.clone())
    }
}

/// Why the log file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the log directory {directory} cannot be used")]
pub struct LogError {
    directory: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Starts logging for the whole process. The guard writes out the last lines when it is dropped.
///
/// # Errors
/// When no log file can be made in `directory`.
pub fn start(settings: &LogSettings, directory: &Path) -> Result<(Gate, WorkerGuard), LogError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| LogError {
        directory: directory.display().to_string(),
        source,
    };
    // The appender would make the directory too, but not before it has complained that it is missing.
    let made = DirBuilder::new().recursive(true).mode(0o750).create(directory);
    made.map_err(|source| failed(source.into()))?;
    let appender = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("quiesced")
        .filename_suffix("log")
        .max_log_files(usize::try_from(settings.keep).unwrap_or(usize::MAX))
        .build(directory)
        .map_err(|source| failed(source.into()))?;
    let (file, guard) = tracing_appender::non_blocking(appender);
    let gate = Gate::default();
    let journal = Journal::find();
    let entries = journal.is_some().then(|| journal::Entries(gate.clone()));
    {
        let mut ring = gate.ring();
        ring.file_errors = Some(file.error_counter());
        ring.file = Some(file);
        ring.journal = journal;
    }
    let lines =
        tracing_subscriber::fmt::layer().with_writer(gate.clone()).with_ansi(false).with_target(false);
    let lines = match settings.format {
        LogFormat::Text => lines.fmt_fields(debug_fn(text_field)).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    // Libraries tell their errors to whoever calls them, and at finer levels what they send, secrets too.
    let level = EnvFilter::new(format!("error,quiesced={}", settings.level.as_str()));
    tracing_subscriber::registry().with(level).with(lines).with(entries).init();
    Ok((gate, guard))
}

/// A field as people read it.
fn text_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        ids::FIELD => Ok(()),
        "message" => write!(writer, "{value:?}"),
        // The only field of its span.
        "execution_id" => write!(writer, "execution_id={value:?}"),
        name => write!(writer, " {name}={value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_keeps_lines_and_counts_what_does_not_fit() {
        let gate = Gate::default();
        gate.close();
        let mut writer = gate.make_writer();
        writer.write_all(b"held back\n").unwrap();
        writer.write_all(&vec![b'x'; RING_BYTES]).unwrap();
        assert_eq!(gate.ring().lines, b"held back\n");
        assert_eq!(gate.ring().dropped, 1);
    }

    #[test]
    fn the_ring_takes_no_memory_inside_the_window() {
        let gate = Gate::default();
        gate.close();
        let before = gate.ring().lines.as_ptr();
        gate.make_writer().write_all(&vec![b'x'; RING_BYTES]).unwrap();
        assert_eq!(gate.ring().lines.as_ptr(), before);
    }
}
