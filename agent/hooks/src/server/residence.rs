//! Is the server that was asked the one whose data lies here? A path alone does not say: a server in a container, or on
//! another host, names paths of its own, and the host may have a directory of the same name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process that works in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resident {
    /// Its number, as it knows it itself: the innermost of its pid namespaces (`NSpid` in proc_pid_status(5)).
    pub(crate) pid: u32,
    /// Whether it has the same host name as the agent (uts_namespaces(7)).
    pub(crate) shares_name: bool,
}

/// Makes sure that one of the processes that work in a directory is the server. Redis and MariaDB work in their data
/// directory.
///
/// # Errors
/// When none is, or the directory cannot be examined.
pub(crate) async fn check(
    directory: PathBuf,
    is_server: impl Fn(Resident) -> bool + Send + 'static,
) -> Result<(), (PathBuf, io::Error)> {
    let path = directory.clone();
    let look = move || {
        let found = residents(&directory)?.into_iter().any(is_server);
        let nobody = || io::Error::new(io::ErrorKind::NotFound, "no such server works in it");
        if found { Ok(()) } else { Err(nobody()) }
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(|error| (path, error))
}

fn residents(directory: &Path) -> io::Result<Vec<Resident>> {
    let place = fs::metadata(directory)?;
    let own = fs::read_link("/proc/self/ns/uts")?;
    let resident = |process: &Path| -> Option<Resident> {
        let cwd = fs::metadata(process.join("cwd")).ok()?;
        if (cwd.dev(), cwd.ino()) != (place.dev(), place.ino()) {
            return None;
        }
        let shares_name = fs::read_link(process.join("ns/uts")).ok()? == own;
        Some(Resident { pid: innermost_pid(&fs::read(process.join("status")).ok()?)?, shares_name })
    };
    // What ends meanwhile, and what is no process, is passed over.
    let processes = fs::read_dir("/proc")?.flatten().map(|entry| entry.path());
    Ok(processes.filter_map(|process| resident(&process)).collect())
}

fn innermost_pid(status: &[u8]) -> Option<u32> {
    let status = String::from_utf8_lossy(status);
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_in_a_directory_is_found_there_and_nowhere_else() {
        let own = Resident { pid: std::process::id(), shares_name: true };
        assert!(residents(&std::env::current_dir().unwrap()).unwrap().contains(&own));
        assert_eq!(residents(tempfile::tempdir().unwrap().path()).unwrap(), []);
    }

    #[test]
    fn the_innermost_of_several_numbers_is_its_own() {
        assert_eq!(innermost_pid(b"Name:\tredis\nNSpid:\t4711\t1\nNSpgid:\t4711\t1\n"), Some(1));
        assert_eq!(innermost_pid(b"Name:\t\xff\nNSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost_pid(b"Name:\tredis\n"), None);
    }
}
