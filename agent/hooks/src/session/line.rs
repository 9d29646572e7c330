//! The lines that a session's child answers with.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use crate::process::output::shown;

/// The longest line that is an answer.
const LONGEST: usize = 4096;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Ok,
    /// It was not done, and why.
    Error(String),
    /// It is no answer.
    Garbled(String),
}

/// Reads one line as an answer. Whatever is shown of it is harmless to a terminal.
pub(super) fn parse(line: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\r', '\n']);
    match text.split_once(' ') {
        _ if text == "ok" => Answer::Ok,
        _ if text == "error" => Answer::Error("no text".to_owned()),
        Some(("error", why)) => Answer::Error(shown(why.trim())),
        _ => Answer::Garbled(shown(&text.chars().take(120).collect::<String>())),
    }
}

/// A stream, line by line. A read that is given up loses nothing.
#[derive(Debug)]
pub(super) struct Lines<S> {
    stream: S,
    pending: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Lines<S> {
    pub(super) const fn of(stream: S) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// The next line without its end; none at the end of the stream. A line that is too long counts as ended where it
    /// becomes so.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if poll_fn(|context| self.fill(context)).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A line, or the beginning of one, that was written without having been asked for.
    ///
    /// # Errors
    /// When the stream has ended.
    pub(super) fn unasked(&mut self) -> io::Result<Option<String>> {
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(read) = self.fill(&mut context) {
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return Err(error),
                Ok(_) if self.pending.len() > LONGEST => break,
                Ok(_) => {}
            }
        }
        let line = String::from_utf8_lossy(&self.pending).lines().next().map(|line| shown(line.trim_end()));
        Ok(line.filter(|_| !self.pending.is_empty()))
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.pending.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(self.pending.len(), |end| end + 1);
        if end.is_none() && length < LONGEST {
            return None;
        }
        let mut line: Vec<u8> = self.pending.drain(..length.min(LONGEST)).collect();
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Some(line)
    }

    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [0; LONGEST];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => {
                let filled = buffer.filled();
                self.pending.extend_from_slice(filled);
                Poll::Ready(read.map(|()| filled.len()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_ok_and_error_are_answers() {
        assert_eq!(parse(b"ok"), Answer::Ok);
        assert_eq!(parse(b"ok\r"), Answer::Ok);
        assert_eq!(parse(b"error disk is full"), Answer::Error("disk is full".into()));
        for other in [&b"OK"[..], b"", b"okay", b"ok then", b"errors", b"\x1b[2J"] {
            assert!(matches!(parse(other), Answer::Garbled(_)), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut_where_it_becomes_too_long() {
        let flood = vec![b'x'; 3 * LONGEST];
        let mut lines = Lines::of(&flood[..]);
        assert_eq!(lines.next().await.unwrap().unwrap().len(), LONGEST);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic_or_passes_a_control_character_on(line in prop::collection::vec(any::<u8>(), 0..200)) {
            match parse(&line) {
                Answer::Ok => {}
                Answer::Error(text) | Answer::Garbled(text) => prop_assert!(!text.chars().any(char::is_control)),
            }
        }
    }
}
