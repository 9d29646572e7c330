//! The texts of all files as one, so that a span says which file it lies in as well as where.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::errors::Finding;

/// The files that were read. Positions run on from one file to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    files: Vec<Text>,
}

#[derive(Clone, Debug)]
struct Text {
    path: PathBuf,
    content: String,
    start: usize,
}

/// Where a span lies, for people and for the renderer.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) content: &'a str,
    /// The span, counted from the start of this file.
    pub(super) range: Range<usize>,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Texts {
    /// Adds a file and returns its number.
    pub(super) fn add(&mut self, path: PathBuf, content: String) -> usize {
        // One position between files, so that the end of one is not the start of the next.
        let start = self.files.last().map_or(0, |last| last.start + last.content.len() + 1);
        self.files.push(Text { path, content, start });
        self.files.len() - 1
    }

    /// Hides what somebody may have written as a password, in place: a line that is shown must not tell it. Lengths stay,
    /// so that spans do.
    pub(super) fn mask_secrets(&mut self) {
        for text in &mut self.files {
            text.content = text.content.split_inclusive('\n').map(masked).collect();
        }
    }

    pub(super) fn content(&self, number: usize) -> &str {
        &self.files[number].content
    }

    /// The position at which a file starts.
    pub(super) fn start(&self, number: usize) -> usize {
        self.files[number].start
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|text| text.path.clone()).collect()
    }

    /// `None` when there is no file at all.
    pub(super) fn place(&self, span: &Range<usize>) -> Option<Place<'_>> {
        let at = self.files.partition_point(|text| text.start <= span.start).checked_sub(1)?;
        let text = &self.files[at];
        let start = floor(&text.content, span.start - text.start);
        let end = floor(&text.content, span.end.saturating_sub(text.start)).max(start);
        let before = &text.content[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Place {
            path: &text.path,
            content: &text.content,
            range: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }

    /// A finding about what stands at `span`.
    pub(super) fn finding(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        let place = self.place(&span);
        Finding {
            file: place.as_ref().map(|place| place.path.to_owned()).unwrap_or_default(),
            line: place.as_ref().map(|place| place.line),
            column: place.as_ref().map(|place| place.column),
            message: message.into(),
            hint: None,
            span: Some(span),
            also: Vec::new(),
        }
    }
}

/// The keys whose values may be secret, or hold one: a connection string may have a password in it.
const SECRET: [&str; 5] = ["password", "secret", "token", "passwd", "connection"];

/// A line without the strings of a secret key. A table names a file and stays as it is.
fn masked(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    let is_secret = SECRET.iter().any(|word| key.to_lowercase().contains(word));
    if !is_secret || value.trim_start().starts_with('{') {
        return line.to_owned();
    }
    let hide = |character: char| match character {
        '"' | '\'' | ' ' | '\r' | '\n' => character.to_string(),
        other => "*".repeat(other.len_utf8()),
    };
    format!("{key}={}", value.chars().map(hide).collect::<String>())
}

/// The last character boundary that is not after `at`.
fn floor(content: &str, at: usize) -> usize {
    content.floor_char_boundary(at)
}

/// The known name that `given` was probably meant to be.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}
