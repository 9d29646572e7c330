//! Attributes of block devices under `/sys`, which Documentation/filesystems/sysfs.rst and Documentation/ABI describe.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::TopologyError;

/// `/sys` below a root that tests can replace.
#[derive(Debug)]
pub(super) struct Sysfs(PathBuf);

impl Sysfs {
    pub(super) fn below(root: &Path) -> Self {
        Self(root.join("sys"))
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Whether there is anything to be read: a simulated host has no devices, and a container may have no `/sys`.
    pub(super) fn is_there(&self) -> bool {
        self.path("dev/block").exists()
    }

    /// The text of an attribute without its newline, if there is such an attribute.
    pub(super) fn attribute(&self, path: &str) -> Result<Option<Vec<u8>>, TopologyError> {
        let text = self.found(path, |path| fs::read(path))?;
        Ok(text.map(|mut text| {
            text.pop_if(|last| *last == b'\n');
            text
        }))
    }

    /// An attribute for people: padding and what is no text are of no use to them.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, TopologyError> {
        let text = self.attribute(path)?;
        let trim = |text: Vec<u8>| String::from_utf8_lossy(&text).trim_matches([' ', '\0']).to_owned();
        Ok(text.map(trim))
    }

    /// Where a symbolic link leads, if there is such a link.
    pub(super) fn link(&self, path: &str) -> Result<Option<PathBuf>, TopologyError> {
        self.found(path, |path| fs::read_link(path))
    }

    /// The names in a directory, in order; none if there is no such directory.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, TopologyError> {
        let names = self.found(path, |path| {
            fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        })?;
        let mut names: Vec<String> = names.unwrap_or_default();
        names.sort();
        Ok(names)
    }

    fn found<T>(
        &self,
        path: &str,
        read: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<Option<T>, TopologyError> {
        let path = self.path(path);
        match read(&path) {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(source) => Err(TopologyError::Read { path, source }),
        }
    }
}
