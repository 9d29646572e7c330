//! The locks that the kernel knows of, from `/proc/locks` (proc_locks(5)).

use std::fs;
use std::path::{Path, PathBuf};

use super::registry::FileId;
use crate::error::SqliteError;

/// Where the kernel lists all file locks.
const LOCKS: &str = "/proc/locks";

/// Whether the kernel lists a write lock of this process on a database: on the file itself, where a rollback journal
/// is used, or on its `-shm` file, where a WAL is.
///
/// SQLite shares its locks among the connections of a process and keeps its own account of them, so it cannot be asked.
pub(super) fn is_listed(path: &Path, database: FileId) -> Result<bool, SqliteError> {
    let read = |source| SqliteError::ReadLocks { path: LOCKS.into(), source };
    let table = fs::read_to_string(LOCKS).map_err(read)?;
    let shared_memory = FileId::of(&with_suffix(path, "-shm")).ok();
    let inodes = [Some(database), shared_memory].map(|file| file.map(|file| file.ino));
    let own = std::process::id();
    Ok(table.lines().filter_map(parse).any(|lock| lock.pid == own && inodes.contains(&Some(lock.ino))))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[derive(Debug, PartialEq, Eq)]
struct WriteLock {
    pid: u32,
    ino: u64,
}

/// One line: `1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF`. Lines of blocked requests have `->` after the number.
/// Device numbers are passed over: on btrfs they are not those of stat(2).
fn parse(line: &str) -> Option<WriteLock> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let is_write =
        fields.next() == Some("POSIX") && fields.next().is_some() && fields.next() == Some("WRITE");
    let pid = fields.next()?.parse().ok()?;
    let ino = fields.next()?.rsplit(':').next()?.parse().ok()?;
    is_write.then_some(WriteLock { pid, ino })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_posix_write_locks_count() {
        let granted = "7: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 1073741825 1073741825";
        assert_eq!(parse(granted), Some(WriteLock { pid: 3568, ino: 2_531_452 }));
        for other in [
            "7: -> POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF",
            "7: POSIX  ADVISORY  READ 3568 fd:00:2531452 0 EOF",
            "7: FLOCK  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF",
            "7: POSIX",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".*") {
            let _lock = parse(&line);
        }
    }
}
