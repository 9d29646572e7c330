//! Looks at filesystems from outside, without a word from the agent.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::claim::state;

/// Why it could not be said whether a filesystem is frozen.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The probe could not be started.
    #[error("cannot start the probe of {path}: {source}")]
    Start {
        /// The mount.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The probe could not write, for another reason than a freeze.
    #[error("the probe could not write to {path}: {stderr}")]
    Write {
        /// The mount.
        path: String,
        /// What it printed.
        stderr: String,
    },
}

/// How long a probe may take before its state is looked at.
const PROBE: Duration = Duration::from_millis(300);

/// Whether the filesystem mounted at `mount` is frozen: a child process tries to write to it.
///
/// A write to a frozen filesystem sleeps in state D until the thaw, whatever is sent to the process. So the child is
/// left to itself then, and reaped when it ends. A slow disk is not taken for a freeze: the child counts as blocked
/// only while the kernel says that it sleeps where writers wait for a thaw.
///
/// # Errors
/// When the probe cannot be started, or may not write.
pub fn frozen(mount: &Path) -> Result<bool, ObserveError> {
    let path = mount.display().to_string();
    let mut probe =
        start_probe(mount).map_err(|source| ObserveError::Start { path: path.clone(), source })?;
    let begun = Instant::now();
    loop {
        if let Ok(Some(status)) = probe.try_wait() {
            return if status.success() { Ok(false) } else { Err(refused(path, probe)) };
        }
        if begun.elapsed() > PROBE && waits_for_thaw(&probe) {
            std::thread::spawn(move || probe.wait());
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn start_probe(mount: &Path) -> std::io::Result<Child> {
    Command::new("sh")
        .args(["-c", r#"f="$0/.probe.$$" && : > "$f" && rm -f "$f""#])
        .arg(mount)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn refused(path: String, probe: Child) -> ObserveError {
    let stderr = probe.wait_with_output().map(|output| output.stderr).unwrap_or_default();
    ObserveError::Write { path, stderr: String::from_utf8_lossy(&stderr).trim().to_owned() }
}

/// `sb_start_write` sleeps in the percpu rwsem of the superblock (fs/super.c, `struct sb_writers`). Where the kernel
/// shows no stack, an uninterruptible sleep has to do.
fn waits_for_thaw(probe: &Child) -> bool {
    let Ok(pid) = i32::try_from(probe.id()) else { return false };
    match std::fs::read_to_string(format!("/proc/{pid}/stack")) {
        Ok(stack) if !stack.is_empty() => stack.contains("percpu_rwsem_wait"),
        _ => state(pid) == Some('D'),
    }
}

/// Something that was waited for did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[error("waited {limit:?} in vain for this: {what}")]
pub struct NeverHappened {
    what: String,
    limit: Duration,
}

impl NeverHappened {
    pub(crate) fn new(what: &str, limit: Duration) -> Self {
        Self { what: what.to_owned(), limit }
    }
}

/// Waits until `condition` holds, and gives back how long that took.
///
/// # Errors
/// When it does not hold within `limit`.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<Duration, NeverHappened> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > limit {
            return Err(NeverHappened::new(what, limit));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_in_vain_says_for_what() {
        let error = wait_until("the moon to fall", Duration::from_millis(10), || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 10ms in vain for this: the moon to fall");
    }

    #[test]
    fn a_directory_that_can_be_written_is_not_frozen() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!frozen(directory.path()).unwrap());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_does_not_exist_is_an_error() {
        let error = frozen(Path::new("/no/such/directory")).unwrap_err();
        assert!(matches!(error, ObserveError::Write { .. }), "{error}");
    }
}
