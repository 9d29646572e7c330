//! Which database files this process has open.
//!
//! To close a descriptor of such a file outside SQLite would drop SQLite's locks on it, so it must not be opened.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::SqliteError;

/// How every SQLite database begins (<https://www.sqlite.org/fileformat2.html> section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

static OPEN: Mutex<BTreeMap<FileId, usize>> = Mutex::new(BTreeMap::new());

/// A file, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    dev: u64,
    pub(super) ino: u64,
}

/// One connection's entry; it is removed when this is dropped, which must be after the connection is closed.
#[derive(Debug)]
pub(super) struct Entry(FileId);

impl FileId {
    /// The file that a path leads to.
    pub(super) fn of(path: &Path) -> Result<Self, SqliteError> {
        let examine = |source| SqliteError::Examine { path: path.to_owned(), source };
        let metadata = fs::metadata(path).map_err(examine)?;
        if !metadata.is_file() {
            return Err(SqliteError::NotAFile { path: path.to_owned() });
        }
        Ok(Self { dev: metadata.dev(), ino: metadata.ino() })
    }
}

impl Entry {
    /// Enters a file that is about to be opened.
    pub(super) fn new(file: FileId) -> Self {
        *open().entry(file).or_default() += 1;
        Self(file)
    }

    pub(super) const fn file(&self) -> FileId {
        self.0
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = open();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

/// Looks whether a path leads to a database, and returns the path without symbolic links. A database that is open here
/// has shown that already, and is not opened again.
pub(super) fn inspect(path: &Path) -> Result<PathBuf, SqliteError> {
    if !path.is_absolute() {
        return Err(SqliteError::NotAbsolute { path: path.to_owned() });
    }
    let examine = |source| SqliteError::Examine { path: path.to_owned(), source };
    let file = FileId::of(path)?;
    // Held while the file is open here, so that no connection to it can be opened meanwhile.
    let open = open();
    if !open.contains_key(&file) {
        let mut begin = Vec::new();
        File::open(path).and_then(|file| file.take(16).read_to_end(&mut begin)).map_err(examine)?;
        // A database without a table has not been written yet.
        if !begin.is_empty() && begin != MAGIC {
            return Err(SqliteError::NotADatabase { path: path.to_owned() });
        }
    }
    drop(open);
    fs::canonicalize(path).map_err(examine)
}

fn open() -> MutexGuard<'static, BTreeMap<FileId, usize>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
