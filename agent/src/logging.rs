//! Logs: to stderr (and so to the journal) and to a daily file, but never while anything may be frozen.
//!
//! A line that waits for a frozen filesystem would keep the agent from thawing it. While a window is open every line
//! therefore stays in memory, in a ring of fixed size; afterwards the ring is written out, with the number of lines
//! that did not fit.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogSettings;

/// What a window may say at most; a session says a few dozen lines of 200 bytes.
const RING_BYTES: usize = 256 * 1024;

/// Holds log lines back while a window is open.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    closed: bool,
    lines: Vec<u8>,
    dropped: usize,
    file: Option<NonBlocking>,
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
        let dropped = std::mem::take(&mut ring.dropped);
        drop(ring);
        if dropped > 0 {
            tracing::warn!(dropped, "lines were lost: the window said more than the log's memory holds");
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

    /// A log that cannot be written must not fail what it tells of, so both errors end here.
    fn pass(&mut self, lines: &[u8]) {
        drop(io::stderr().write_all(lines));
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
    gate.ring().file = Some(file);
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(settings.level.as_str()))
        .with_writer(gate.clone())
        .with_ansi(false)
        .with_target(false)
        .init();
    Ok((gate, guard))
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
