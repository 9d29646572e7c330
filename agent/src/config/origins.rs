//! Which file said what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use toml::de::{DeTable, DeValue};

use super::texts::Texts;

/// Where a key was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The origin of every key that was written. What is not here is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// By path, in the order in which the files are merged: the last one is in force.
    keys: BTreeMap<Vec<String>, Vec<Origin>>,
}

impl Origins {
    /// The origins of trees that are yet to be merged, in rising priority.
    pub(super) fn of(trees: &[DeTable<'_>], texts: &Texts) -> Self {
        let mut origins = Self::default();
        trees.iter().for_each(|tree| origins.add(tree, &mut Vec::new(), texts));
        origins
    }

    fn add(&mut self, table: &DeTable<'_>, path: &mut Vec<String>, texts: &Texts) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            if let DeValue::Table(table) = value.get_ref() {
                self.add(table, path, texts);
            } else if let Some(place) = texts.place(&key.span()) {
                let origin = Origin { file: place.path.to_owned(), line: place.line };
                self.keys.entry(path.clone()).or_default().push(origin);
            }
            path.pop();
        }
    }

    /// Where a table's first key was written.
    pub fn of_table<S: AsRef<str>>(&self, path: &[S]) -> Option<&Origin> {
        let within =
            |key: &[String]| key.iter().zip(path).filter(|(a, b)| *a == b.as_ref()).count() == path.len();
        let places = self.keys.iter().filter(|(key, _)| within(key)).filter_map(|(_, places)| places.last());
        places.min_by_key(|place| (&place.file, place.line))
    }

    /// Where the key at this path was written; `None` for a default.
    pub fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Origin> {
        self.all(path).last()
    }

    /// Where the key at this path was also written, to no effect: the file that would come next in force is the first.
    pub fn overridden<S: AsRef<str>>(&self, path: &[S]) -> impl Iterator<Item = &Origin> {
        self.all(path).iter().rev().skip(1)
    }

    fn all<S: AsRef<str>>(&self, path: &[S]) -> &[Origin] {
        let path: Vec<String> = path.iter().map(|step| step.as_ref().to_owned()).collect();
        self.keys.get(&path).map_or(&[], Vec::as_slice)
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let in_force = self.keys.iter().filter_map(|(path, origins)| Some((dotted(path), origins.last()?)));
        serializer.collect_map(in_force)
    }
}

/// A path of keys as TOML writes it.
pub(super) fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    path.iter().map(|name| key(name.as_ref())).collect::<Vec<_>>().join(".")
}

/// A key as TOML writes it: in quotes only when it needs them.
pub(super) fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        toml::Value::from(name).to_string()
    }
}

/// A path as text. serde refuses one that is not UTF-8, and whoever asks for JSON would learn nothing.
pub(super) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
