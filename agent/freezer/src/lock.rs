//! One agent for each runtime directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::process::ProcessId;

/// Held by the agent that uses a runtime directory, until it ends in whatever way.
///
/// The kernel takes a lock from a process that was killed only when the last of its threads has gone, and a thread that
/// sleeps in the kernel, on a disk that does not answer, may stay for as long as it likes. Such a process will release
/// nothing any more. So the lock file says whose it is, and that of a dead one is replaced.
#[derive(Debug)]
pub struct RuntimeLock {
    _file: Flock<File>,
}

impl RuntimeLock {
    /// Takes the lock, or returns none when another living process has it.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn try_take(runtime_dir: &Path) -> io::Result<Option<Self>> {
        let path = runtime_dir.join("lock");
        if let Some(lock) = take(&path)? {
            return Ok(Some(lock));
        }
        // One at a time replaces the file of a dead holder; who comes second finds the first alive.
        let directory = File::open(runtime_dir)?;
        let _turn = match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(turn) => turn,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(errno.into()),
        };
        if !holder(&path)?.is_some_and(ProcessId::is_dead) {
            return Ok(None);
        }
        std::fs::remove_file(&path)?;
        take(&path)
    }
}

fn take(path: &Path) -> io::Result<Option<RuntimeLock>> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // It may have been replaced since it was opened.
        Ok(file) if file.metadata()?.ino() != std::fs::metadata(path)?.ino() => Ok(None),
        Ok(mut file) => {
            let own = i32::try_from(std::process::id()).ok().and_then(ProcessId::of);
            file.set_len(0)?;
            file.write_all(&serde_json::to_vec(&own)?)?;
            Ok(Some(RuntimeLock { _file: file }))
        }
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Who has written into a lock file; none that is known when it is just being written.
fn holder(path: &Path) -> io::Result<Option<ProcessId>> {
    Ok(serde_json::from_slice(&std::fs::read(path)?).ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_gets_nothing_until_the_first_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let first = RuntimeLock::try_take(directory.path()).unwrap();
        assert!(first.is_some());
        assert!(RuntimeLock::try_take(directory.path()).unwrap().is_none());
        drop(first);
        assert!(RuntimeLock::try_take(directory.path()).unwrap().is_some());
    }

    #[test]
    fn a_lock_whose_holder_is_dead_is_replaced_and_that_of_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let lasting = RuntimeLock::try_take(directory.path()).unwrap();
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let claim = |holder: ProcessId| {
            std::fs::write(directory.path().join("lock"), serde_json::to_vec(&holder).unwrap()).unwrap();
        };
        claim(own);
        assert!(RuntimeLock::try_take(directory.path()).unwrap().is_none());
        claim(ProcessId { start_time: own.start_time + 1, ..own });
        let replaced = RuntimeLock::try_take(directory.path()).unwrap();
        assert!(replaced.is_some());
        assert!(
            RuntimeLock::try_take(directory.path()).unwrap().is_none(),
            "the second finds the first alive"
        );
        drop((lasting, replaced));
    }
}
