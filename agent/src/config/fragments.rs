//! Stage one: *fragments*, the files that are in force, each parsed into a tree with spans.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Sources;
use super::errors::Finding;
use super::texts::Texts;
use super::trust::{Directory, Opened, Refusal};

/// A file that is no TOML at all would have an error at every word.
const SYNTAX_ERRORS: usize = 20;

/// The files that are in force.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    pub(super) texts: Texts,
    /// The files whose bytes are text, by their number in `texts`.
    sound: Vec<usize>,
    /// Why some files are missing.
    pub(super) findings: Vec<Finding>,
}

/// Finds and reads the files that are in force, in the order in which they are merged.
pub(super) fn find(sources: &Sources) -> Fragments {
    let mut fragments = Fragments::default();
    if let Some(named) = sources.must_exist.as_ref().filter(|named| !named.is_dir()) {
        let message = format!("there is no directory {}", named.display());
        fragments.findings.push(Finding::of_file(named.clone(), message, None));
        return fragments;
    }
    let mut in_force: BTreeMap<OsString, &Directory> = BTreeMap::new();
    let directories = fragments.directories(&sources.directories);
    for directory in &directories {
        match directory.names() {
            Ok(names) => in_force.extend(names.into_iter().map(|name| (name, directory))),
            Err(refusal) => fragments.refuse(&refusal),
        }
    }
    for (name, directory) in in_force {
        match directory.read(&name) {
            Ok(Opened::Bytes(bytes)) => fragments.add(directory.join(&name), &bytes),
            Ok(Opened::Masked) => {}
            Err(refusal) => fragments.refuse(&refusal),
        }
    }
    fragments
}

impl Fragments {
    fn directories(&mut self, paths: &[PathBuf]) -> Vec<Directory> {
        let mut directories = Vec::new();
        for path in paths {
            match Directory::open(path) {
                Ok(directory) => directories.extend(directory),
                Err(refusal) => self.refuse(&refusal),
            }
        }
        directories
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.findings.push(Finding::of_file(refusal.path().to_owned(), refusal.to_string(), refusal.hint()));
    }

    pub(super) fn add(&mut self, path: PathBuf, bytes: &[u8]) {
        let number = self.texts.add(path, String::from_utf8_lossy(bytes).into_owned());
        match std::str::from_utf8(bytes) {
            Ok(_) => self.sound.push(number),
            Err(error) => {
                // Up to the first invalid byte both texts are the same, so the position holds in the one that is shown.
                let at = self.texts.start(number) + error.valid_up_to();
                let message = "this is not UTF-8, which TOML is written in";
                self.findings
                    .push(self.texts.finding(at..at + char::REPLACEMENT_CHARACTER.len_utf8(), message));
            }
        }
    }

    /// Parses each file. What a broken file seems to say is not used.
    pub(super) fn parse(&self, findings: &mut Vec<Finding>) -> Vec<DeTable<'_>> {
        let mut trees = Vec::new();
        for &number in &self.sound {
            let start = self.texts.start(number);
            let (tree, errors) = DeTable::parse_recoverable(self.texts.content(number));
            let mut mistakes: Vec<Finding> = Vec::new();
            for error in errors.iter().take(SYNTAX_ERRORS) {
                let span = moved_span(&error.span().unwrap_or_default(), start);
                mistakes.push(self.texts.finding(span, error.message()));
            }
            // What follows on the same line is the parser finding its way back.
            mistakes.dedup_by_key(|mistake| mistake.line);
            findings.append(&mut mistakes);
            if errors.is_empty() {
                trees.push(moved_table(tree.into_inner(), start));
            }
        }
        trees
    }
}

/// The same tree, its spans counted from the start of all texts.
fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| (Spanned::new(moved_span(&key.span(), by), key.into_inner()), moved(value, by)))
        .collect()
}

fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved_span(&value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|value| moved(value, by)).collect()),
        scalar => scalar,
    };
    Spanned::new(span, value)
}

fn moved_span(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}
