//! One agent for each runtime directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held by the agent that uses a runtime directory, until it ends in whatever way.
#[derive(Debug)]
pub struct RuntimeLock {
    _file: Flock<File>,
}

impl RuntimeLock {
    /// Takes the lock, or returns none when another process has it.
    ///
    /// # Errors
    /// When the lock file cannot be opened or locked.
    pub fn try_take(runtime_dir: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        let file =
            options.create(true).truncate(false).write(true).mode(0o600).open(runtime_dir.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
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
}
