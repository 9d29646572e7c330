//! The swap files of this host, after `/proc/swaps` (`proc_swaps(5)`).

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{BadLine, LineProblem, TopologyError};
use crate::escape::unescape;
use crate::procfs;

/// Reads `<root>/proc/swaps` and returns the files among them; a partition is no filesystem's.
///
/// # Errors
/// When the table cannot be read, does not settle, or has a line that cannot be understood. A kernel without swap has
/// no such table, and no swap file.
pub fn swap_files(root: &Path) -> Result<Vec<PathBuf>, TopologyError> {
    match procfs::read(root, "swaps") {
        Ok(table) => parse(&table.text).map_err(|bad| TopologyError::Malformed { path: table.path, bad }),
        Err(TopologyError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads the text of the table: a heading, then a line for each swap area.
fn parse(text: &[u8]) -> Result<Vec<PathBuf>, BadLine> {
    let lines = (1..).zip(text.split(|&byte| byte == b'\n'));
    let areas = lines.skip(1).filter(|(_, line)| !line.is_empty());
    areas
        .filter_map(|(number, line)| area(line).map_err(|problem| BadLine { number, problem }).transpose())
        .collect()
}

/// The file of one swap area, if it is one.
fn area(line: &[u8]) -> Result<Option<PathBuf>, LineProblem> {
    let mut fields = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
    let name = fields.next().ok_or(LineProblem::Missing { field: "name of the swap area" })?;
    let kind = fields.next().ok_or(LineProblem::Missing { field: "type of the swap area" })?;
    match kind {
        b"partition" => Ok(None),
        b"file" if name.first() == Some(&b'/') => Ok(Some(file_name(name))),
        b"file" => Err(LineProblem::field("name of the swap file", name, "an absolute path")),
        _ => Err(LineProblem::field("type of the swap area", kind, "file or partition")),
    }
}

/// Without the mark of a file that was unlinked while it was in use. A file that really has such a name lies in the
/// same directory, hence on the same filesystem, as the one without it.
fn file_name(name: &[u8]) -> PathBuf {
    let name = unescape(name);
    let bytes = name.as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    #[test]
    fn files_are_found_among_partitions() {
        let table = format!(
            "{HEADING}/dev/zram0                              partition\t1024\t\t0\t\t100\n\
             /data/swap\\040file                      file\t\t2097148\t\t0\t\t-2\n\
             /data/gone\\040(deleted)                 file\t\t2097148\t\t0\t\t-3\n"
        );
        assert_eq!(parse(table.as_bytes()).unwrap(), [Path::new("/data/swap file"), Path::new("/data/gone")]);
    }

    #[test]
    fn a_host_without_swap_has_only_the_heading() {
        assert_eq!(parse(HEADING.as_bytes()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_unknown_type_of_swap_is_an_error_with_its_line() {
        let bad = parse(format!("{HEADING}/a file 1 0 -2\n/b tape 1 0 -2\n").as_bytes()).unwrap_err();
        assert_eq!(bad.number, 3);
        assert_eq!(bad.to_string(), "the type of the swap area is \"tape\", not file or partition");
    }

    #[test]
    fn a_kernel_without_swap_has_no_swap_files() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(swap_files(root.path()).unwrap(), Vec::<PathBuf>::new());
    }
}
