//! Which file said what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use toml::de::{DeTable, DeValue};

use super::merged::Merged;
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
    keys: BTreeMap<Vec<String>, Origin>,
}

impl Origins {
    pub(super) fn of(merged: &Merged<'_>, texts: &Texts) -> Self {
        let mut origins = Self::default();
        origins.add(&merged.root, &mut Vec::new(), texts);
        origins
    }

    fn add(&mut self, table: &DeTable<'_>, path: &mut Vec<String>, texts: &Texts) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            if let DeValue::Table(table) = value.get_ref() {
                self.add(table, path, texts);
            } else if let Some(place) = texts.place(&key.span()) {
                self.keys.insert(path.clone(), Origin { file: place.path.to_owned(), line: place.line });
            }
            path.pop();
        }
    }

    /// Where the key at this path was written; `None` for a default.
    pub fn get<S: AsRef<str>>(&self, path: &[S]) -> Option<&Origin> {
        let path: Vec<String> = path.iter().map(|step| step.as_ref().to_owned()).collect();
        self.keys.get(&path)
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.keys.iter().map(|(path, origin)| (dotted(path), origin)))
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
