//! Has anything changed since the files were read? Asked by people who have edited one and wonder why nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the directories held when the files in them were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    /// The directories that were looked through.
    pub directories: Vec<PathBuf>,
    /// By path, in a form that JSON can hold.
    files: BTreeMap<String, FileStamp>,
}

/// A file is taken for unchanged when none of these differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds of the last change of the contents (stat(2)).
    modified: (i64, i64),
}

impl Stamp {
    /// What the directories hold now. What cannot be read is not there.
    pub fn of(directories: &[PathBuf]) -> Self {
        let entries =
            directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
        let named = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "toml"));
        let files = named
            .filter_map(|path| Some((path.to_string_lossy().into_owned(), FileStamp::of(&path)?)))
            .collect();
        Self { directories: directories.to_vec(), files }
    }

    /// The files that have come, gone or changed since.
    pub fn changed(&self) -> Vec<String> {
        let now = Self::of(&self.directories);
        let differs = |path: &&String| self.files.get(*path) != now.files.get(*path);
        let mut changed: Vec<String> =
            self.files.keys().chain(now.files.keys()).filter(differs).cloned().collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

impl FileStamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).or_else(|_| fs::symlink_metadata(path)).ok()?;
        let (inode, bytes) = (metadata.ino(), metadata.size());
        Some(Self { inode, bytes, modified: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_came_changed_or_went_is_named_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["kept.toml", "changed.toml", "gone.toml", "other.txt"] {
            fs::write(path(name), "a").unwrap();
        }
        let stamp = Stamp::of(&[directory.path().to_owned(), path("no-such-directory")]);
        assert_eq!(stamp.changed(), Vec::<String>::new());
        fs::write(path("changed.toml"), "ab").unwrap();
        fs::write(path("come.toml"), "a").unwrap();
        fs::write(path("other.txt"), "ab").unwrap();
        fs::remove_file(path("gone.toml")).unwrap();
        assert_eq!(
            stamp.changed(),
            ["changed.toml", "come.toml", "gone.toml"].map(|name| path(name).display().to_string())
        );
    }
}
