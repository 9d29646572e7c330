//! What children write, kept within bounds and made safe to show.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// How much of a child's output is kept: the end of it.
const KEPT_BYTES: usize = 64 * 1024;
/// How many lines of it are shown, and how much of each.
const SHOWN_LINES: usize = 5;
const SHOWN_CHARS: usize = 240;
/// How long the last output of a child that has ended is waited for. A process that it left behind may hold the pipe
/// open for ever, so the end of file is not.
const LAST_OUTPUT: Duration = Duration::from_millis(100);

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<u8>,
    total: u64,
}

impl Ring {
    fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let excess = (self.kept.len() + bytes.len()).saturating_sub(KEPT_BYTES);
        self.kept.drain(..excess);
        self.kept.extend(bytes);
    }
}

/// Reads a stream to its end, so that its writer never waits, and keeps the tail.
#[derive(Debug)]
pub(crate) struct Tail {
    ring: Arc<Mutex<Ring>>,
    reader: JoinHandle<()>,
}

impl Tail {
    /// Starts to read.
    pub(crate) fn of(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let ring = Arc::new(Mutex::new(Ring::default()));
        let shared = Arc::clone(&ring);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            // A read error ends the stream as end of file does: there is nothing more to keep.
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                lock(&shared).push(&buffer[..length]);
            }
        });
        Self { ring, reader }
    }

    /// The last lines, once the writer has ended.
    pub(crate) async fn said(&mut self) -> Said {
        // A task that has ended was waited for before, and may not be a second time.
        if !self.reader.is_finished() {
            // The outcome does not matter: what was read by now is what there is.
            let _ = tokio::time::timeout(LAST_OUTPUT, &mut self.reader).await;
        }
        let ring = lock(&self.ring);
        Said::new(&ring.kept.iter().copied().collect::<Vec<_>>(), ring.total)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A ring is whole after every push, so a panic of another holder leaves it usable.
fn lock(ring: &Mutex<Ring>) -> std::sync::MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last lines of a child's output, fit to be shown at the end of a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    lines: Vec<String>,
    total: u64,
}

impl Said {
    fn new(kept: &[u8], total: u64) -> Self {
        let text = String::from_utf8_lossy(kept);
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let mut lines: Vec<String> = lines.rev().take(SHOWN_LINES).map(shortened).collect();
        lines.reverse();
        Self { lines, total }
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        write!(f, "; the end of its output ({} bytes): {}", self.total, self.lines.join(" | "))
    }
}

fn shortened(line: &str) -> String {
    let mut chars = line.chars();
    let mut start: String = chars.by_ref().take(SHOWN_CHARS).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    shown(&start)
}

/// The text with every character escaped that could move the cursor, colour a terminal, or turn the direction of text.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push(' '),
            harmful if harmful.is_control() || is_invisible(harmful) => {
                shown.extend(harmful.escape_default());
            }
            harmless => shown.push(harmless),
        }
    }
    shown
}

/// Line separators, zero-width characters and the marks that turn the direction of text (Unicode UAX #9).
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_ring_keeps_the_end_of_everything(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40_000), 0..6)) {
            let mut ring = Ring::default();
            pieces.iter().for_each(|piece| ring.push(piece));
            let whole = pieces.concat();
            prop_assert_eq!(ring.total, whole.len() as u64);
            let kept: Vec<u8> = ring.kept.into_iter().collect();
            prop_assert_eq!(&kept[..], &whole[whole.len().saturating_sub(KEPT_BYTES)..]);
        }

        #[test]
        fn nothing_shown_moves_the_cursor(text in any::<String>()) {
            let shown = shown(&text);
            prop_assert!(!shown.chars().any(|shown| shown.is_control() || is_invisible(shown)));
        }

        #[test]
        fn what_a_child_said_is_short_and_on_one_line(bytes in prop::collection::vec(any::<u8>(), 0..100_000)) {
            let said = Said::new(&bytes, 0).to_string();
            prop_assert!(!said.contains('\n'));
            prop_assert!(said.chars().count() <= 100 + SHOWN_LINES * (SHOWN_CHARS + 4) * 10);
        }
    }

    #[test]
    fn harmless_text_is_shown_as_it_is() {
        assert_eq!(shown("Größe: 5 µs\tok"), "Größe: 5 µs ok");
        assert_eq!(shown("\u{1b}[31mred"), r"\u{1b}[31mred");
    }

    #[test]
    fn the_last_lines_are_shown() {
        let said = Said::new(b"1\n2\n3\n\n4\n5\n6\n", 13);
        assert_eq!(said.to_string(), "; the end of its output (13 bytes): 2 | 3 | 4 | 5 | 6");
    }
}
