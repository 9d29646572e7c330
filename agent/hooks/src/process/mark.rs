//! The mark that a command leaves in memory, so that it can be ended after the agent's death.
//!
//! A command that the agent started goes on when the agent dies. It must not quiesce the application after `recover`
//! has resumed it, so `recover` has to find it: its process is written to a file on tmpfs before its program begins.
//! Written by the agent after the start it would be missing if the agent died in between, so the child itself writes
//! it, between fork(2) and execve(2).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::uio::pwrite;
use nix::unistd::{getpid, getppid, read};
use tokio::process::Command;

use super::group::Leader;
use crate::error::CommandError;

/// A line of `/proc/PID/stat` is shorter: a name of 64 bytes at most and 51 numbers (proc_pid_stat(5)).
const LONGEST: usize = 2048;

/// Where the commands of one hook leave their mark.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    file: Arc<File>,
}

impl Mark {
    /// Where the mark of a hook's commands lies.
    pub(crate) fn path(runtime_dir: &Path, hook: &str) -> PathBuf {
        runtime_dir.join("commands").join(hook)
    }

    /// Makes the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self, CommandError> {
        let failed = |source| CommandError::Mark { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file: Arc::new(file) })
    }

    /// Lets a command write its mark before its program begins.
    #[allow(unsafe_code, reason = "there is no safe way to act between fork and exec")]
    pub(crate) fn on(&self, command: &mut Command) {
        let (file, agent) = (Arc::clone(&self.file), getpid());
        // SAFETY: after fork(2) in a process with threads only async-signal-safe calls are allowed (signal-safety(7)).
        // These are open, read, pwrite, close and getppid, on a buffer on the stack; nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                let mut line = [0; LONGEST];
                let own = open(c"/proc/self/stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
                let length = read(&own, &mut line)?;
                pwrite(&*file, &line[..length], 0)?;
                // Whoever has looked for the mark before it was there has done so after the agent's death.
                if getppid() == agent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            });
        }
    }

    /// Removes what the last command wrote: it has ended, or may go on by itself.
    pub(crate) fn clear(&self) -> Result<(), CommandError> {
        self.file.set_len(0).map_err(|source| CommandError::Mark { path: self.path.clone(), source })
    }
}

/// Ends the command whose mark lies there, with its whole group.
pub(crate) async fn end_marked(path: &Path) -> Result<(), CommandError> {
    let line = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        line => line.map_err(|source| CommandError::Mark { path: path.to_owned(), source })?,
    };
    match Leader::parse(&line) {
        Some(leader) => leader.end().await,
        // Nothing, or the beginning of a line: then its program has not begun, and never will.
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{process_exists, until};

    fn marked(path: &Path, script: &str) -> (Mark, tokio::process::Child) {
        let mark = Mark::create(path).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).process_group(0);
        mark.on(&mut command);
        let child = command.spawn().unwrap();
        (mark, child)
    }

    #[tokio::test]
    async fn a_command_is_ended_by_its_mark_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = Mark::path(directory.path(), "queue");
        let (_mark, mut child) = marked(&path, "sleep 60");
        end_marked(&path).await.unwrap();
        assert!(!child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn what_a_command_started_is_ended_although_the_command_itself_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = Mark::path(directory.path(), "queue");
        let (pid_file, script) = (directory.path().join("pid"), "sleep 60 & echo $! > $0");
        let (_mark, mut child) = marked(&path, &script.replace("$0", &pid_file.display().to_string()));
        child.wait().await.unwrap();
        let pid = fs::read_to_string(&pid_file).unwrap();
        assert!(process_exists(&pid));
        end_marked(&path).await.unwrap();
        until("its child ends", || !process_exists(&pid)).await;
    }

    #[tokio::test]
    async fn a_mark_that_was_cleared_ends_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = Mark::path(directory.path(), "queue");
        let (mark, mut child) = marked(&path, "exec sleep 60");
        mark.clear().unwrap();
        end_marked(&path).await.unwrap();
        let still_runs = tokio::time::timeout(Duration::from_millis(100), child.wait()).await.is_err();
        assert!(still_runs);
        child.kill().await.unwrap();
        end_marked(&directory.path().join("none")).await.unwrap();
    }
}
