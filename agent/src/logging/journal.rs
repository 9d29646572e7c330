//! Entries for journald, with a field for each value (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
//!
//! They go through the gate like every line: journald may wait for the very filesystem that is frozen, and a socket that
//! nobody reads is full soon.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Gate;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// For tests, which have no journald.
const SOCKET_VARIABLE: &str = "QUIESCED_JOURNAL_SOCKET";

/// Longer values are cut: an entry must fit into one datagram, whose limit is usually 208 KiB.
const MOST: usize = 16 * 1024;

/// How long an entry may wait for room. Only the first does: a journald that does not read keeps nobody waiting again.
const PATIENCE: Duration = Duration::from_millis(100);

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Looked up for each entry: journald may be started again.
    path: PathBuf,
    /// The last entry found no room.
    is_deaf: bool,
}

impl Journal {
    /// The way to journald, if standard error leads there (systemd.exec(5), `$JOURNAL_STREAM`).
    pub(super) fn find() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        if stream != format!("{}:{}", stderr.dev(), stderr.ino()) {
            return None;
        }
        let path = std::env::var_os(SOCKET_VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from);
        Self::at(path).ok()
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path, is_deaf: false })
    }

    /// Sends an entry.
    pub(super) fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        let sent = self.socket.send_to(entry, &self.path).map(drop);
        if sent.is_err() != self.is_deaf {
            self.is_deaf = sent.is_err();
            self.socket.set_nonblocking(self.is_deaf)?;
        }
        sent
    }
}

/// Makes an entry of each event.
#[derive(Debug)]
pub(super) struct Entries(pub(super) Gate);

/// What a span adds to the events within it.
struct Inherited(Vec<u8>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Entries {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut entry = Entry::default();
        attributes.record(&mut entry);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Inherited(entry.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut entry = Entry::default();
        entry.put("PRIORITY", priority(*event.metadata().level()));
        entry.put("SYSLOG_IDENTIFIER", "quiesced");
        event.record(&mut entry);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Inherited(fields)) = span.extensions().get::<Inherited>() {
                entry.0.extend_from_slice(fields);
            }
        }
        self.0.entry(entry.0);
    }
}

/// syslog(3)
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// An entry on its way: `NAME=value` lines, or the name, the length and the value where that has several lines.
#[derive(Default)]
struct Entry(Vec<u8>);

impl Entry {
    fn put(&mut self, name: &str, value: &str) {
        let value = &value.as_bytes()[..value.floor_char_boundary(MOST)];
        self.0.extend(name.bytes().map(|byte| byte.to_ascii_uppercase()));
        if value.contains(&b'\n') {
            self.0.push(b'\n');
            self.0.extend((value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        write!(text, "{value:?}").unwrap_or_default();
        self.put(field.name(), &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_is_told_with_its_length() {
        let mut entry = Entry::default();
        entry.put("message", "one");
        entry.put("hint", "two\nlines");
        assert_eq!(entry.0, b"MESSAGE=one\nHINT\n\x09\0\0\0\0\0\0\0two\nlines\n");
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_between_characters() {
        let mut entry = Entry::default();
        entry.put("a", &"ä".repeat(MOST));
        assert_eq!(entry.0.len(), "A=\n".len() + MOST);
    }

    #[test]
    fn a_journald_that_reads_nothing_keeps_nobody_waiting_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::at(path).unwrap();
        let full = (0..100_000).find_map(|_| journal.send(&[7; 1024]).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
        assert!(journal.is_deaf);
        let mut buffer = [0; 1024];
        reader.recv(&mut buffer).unwrap();
        journal.send(b"there is room").unwrap();
        assert!(!journal.is_deaf);
    }

    #[test]
    fn a_journald_that_was_started_again_gets_what_follows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut journal = Journal::at(path.clone()).unwrap();
        let before = UnixDatagram::bind(&path).unwrap();
        journal.send(b"one").unwrap();
        drop(before);
        journal.send(b"two").unwrap_err();
        std::fs::remove_file(&path).unwrap();
        let after = UnixDatagram::bind(&path).unwrap();
        journal.send(b"three").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(after.recv(&mut buffer).unwrap(), "three".len());
    }
}
