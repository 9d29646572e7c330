//! Reading a table of the kernel's so that it is of one moment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::TopologyError;

/// How often a table is read before it counts as unsettled.
const READS: usize = 10;

/// A table's path and its text.
pub(crate) struct Table {
    /// Where it was read.
    pub(crate) path: PathBuf,
    /// What stood there.
    pub(crate) text: Vec<u8>,
}

/// Reads `<root>/proc/<name>`.
pub(crate) fn read(root: &Path, name: &str) -> Result<Table, TopologyError> {
    let path = root.join("proc").join(name);
    match settled(|| fs::read(&path)) {
        Ok(Some(text)) => Ok(Table { path, text }),
        Ok(None) => Err(TopologyError::Unsettled { path, reads: READS }),
        Err(source) => Err(TopologyError::Read { path, source }),
    }
}

/// Reads until two readings in a row agree.
///
/// The kernel hands these tables out about a page at a time and lets go of its lock in between (`seq_read_iter` in
/// fs/seq_file.c), so that one reading may be of two moments: a mount may be missing, or the id of one that is gone
/// may show up again with another.
fn settled(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    let mut last = read()?;
    for _ in 1..READS {
        let next = read()?;
        if next == last {
            return Ok(Some(next));
        }
        last = next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_changes_once_is_read_again() {
        let mut readings = [b"a".to_vec(), b"b".to_vec(), b"b".to_vec()].into_iter();
        let text = settled(|| Ok(readings.next().expect("three readings are enough"))).unwrap();
        assert_eq!(text, Some(b"b".to_vec()));
    }

    #[test]
    fn a_table_that_never_settles_is_given_up() {
        let mut reads = 0;
        let text = settled(|| {
            reads += 1;
            Ok(reads.to_string().into_bytes())
        });
        assert_eq!(text.unwrap(), None);
        assert_eq!(reads, READS);
    }

    #[test]
    fn a_table_that_is_not_there_is_named() {
        let error = read(Path::new("/nonexistent"), "self/mountinfo").err().unwrap();
        assert_eq!(error.to_string(), "cannot read /nonexistent/proc/self/mountinfo");
    }
}
