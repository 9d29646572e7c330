//! The locks that the kernel knows of, from `/proc/self/fdinfo` (proc_pid_fdinfo(5)).
//!
//! Not from `/proc/locks`: it names a file by a device number, which on btrfs is not that of stat(2), and an inode number,
//! which two new filesystems have in common.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::registry::FileId;
use crate::error::SqliteError;

/// SQLite's RESERVED byte on the database, which a writer locks in rollback mode (os.h: `PENDING_BYTE + 1`).
const RESERVED_BYTE: u64 = 0x4000_0001;
/// SQLite's write lock on the `-shm` file, which a writer takes in WAL mode (<https://www.sqlite.org/walformat.html>
/// section 2.3.1: the lock bytes begin at 120).
const WAL_WRITE_BYTE: u64 = 120;

/// Whether the kernel lists a writer's lock of this process on a database. `path` is without symbolic links.
///
/// SQLite shares its locks among the connections of a process and keeps its own account of them, so it cannot be asked.
pub(super) fn is_listed(path: &Path, database: FileId) -> Result<bool, SqliteError> {
    let shared_memory = FileId::of(&with_suffix(path, "-shm")).ok();
    let directory = PathBuf::from("/proc/self/fd");
    let read = |path: &Path, source| SqliteError::ReadLocks { path: path.to_owned(), source };
    for entry in fs::read_dir(&directory).map_err(|source| read(&directory, source))? {
        let entry = entry.map_err(|source| read(&directory, source))?;
        // Others are no regular files, or were closed by another thread meanwhile.
        let Ok(file) = FileId::of(&entry.path()) else { continue };
        let byte = match file {
            file if file == database => RESERVED_BYTE,
            file if Some(file) == shared_memory => WAL_WRITE_BYTE,
            _ => continue,
        };
        let info = Path::new("/proc/self/fdinfo").join(entry.file_name());
        match fs::read_to_string(&info) {
            Ok(text) if text.lines().any(|line| locks_for_writing(line, byte)) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(read(&info, source)),
        }
    }
    Ok(false)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a line is that of a write lock on `byte`: `lock:\t1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 120 120`.
fn locks_for_writing(line: &str, byte: u64) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let ["lock:", _, "POSIX", _, "WRITE", _, _, first, last] = fields[..] else { return false };
    let last = if last == "EOF" { Ok(u64::MAX) } else { last.parse() };
    matches!((first.parse(), last), (Ok(first), Ok(last)) if (first..=last).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_lock_that_covers_the_byte_counts() {
        for granted in ["120 120", "100 EOF", "0 127"] {
            let line = format!("lock:\t1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 {granted}");
            assert!(locks_for_writing(&line, WAL_WRITE_BYTE), "{line}");
        }
        for other in [
            "lock:\t1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 121 127",
            "lock:\t1: POSIX  ADVISORY  READ 3568 fd:00:2531452 120 120",
            "lock:\t1: FLOCK  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF",
            "lock:\t1: POSIX",
            "pos:\t120",
            "",
        ] {
            assert!(!locks_for_writing(other, WAL_WRITE_BYTE), "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".*") {
            let _found = locks_for_writing(&line, WAL_WRITE_BYTE);
        }
    }
}
