//! Directories that say whose they are, so that what a killed process left behind can be found and removed.
//!
//! A claim is `<root>/<pid>-<number>` with a file `owner` in it. A process is named by its pid and its start time
//! (`/proc/PID/stat`, field 22, proc_pid_stat(5)), because pids are used again. Processes that must not outlive
//! the owner are listed in the file `processes` of the claim.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A process that is not confused with a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: i32,
    started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        start_time(pid).map(|started| Self { pid, started })
    }

    /// The calling process.
    ///
    /// # Errors
    /// When `/proc` is not mounted.
    pub fn own() -> io::Result<Self> {
        Self::of(nix::unistd::getpid().as_raw())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "/proc/self/stat cannot be read"))
    }

    /// Its pid.
    pub fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.started) && state(self.pid) != Some('Z')
    }

    fn is_there(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends it `signal`, if it is still there.
    pub fn signal(self, signal: Signal) {
        if self.is_there() {
            // It may end between the two calls: then there is nothing to signal.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Kills it, and with it the group that it leads.
    fn kill(self) {
        let pid = Pid::from_raw(self.pid);
        if self.is_there() && getpgid(Some(pid)) == Ok(pid) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        self.signal(Signal::SIGKILL);
    }

    fn parse(line: &str) -> Option<Self> {
        let (pid, started) = line.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    fn line(self) -> String {
        format!("{} {}\n", self.pid, self.started)
    }
}

/// What stands after the command name in `/proc/PID/stat`: the state, the parent, and so on.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn start_time(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// The state letter of a process: `R`, `S`, `D`, `T`, `Z` …
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

/// The children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let parent = pid.to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&other| stat(other).is_some_and(|fields| fields.get(1) == Some(&parent)))
        .collect()
}

/// A directory that belongs to this process.
#[derive(Debug)]
pub struct Claim {
    directory: PathBuf,
}

impl Claim {
    /// A fresh directory below `root`, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        let owner = Process::own()?;
        fs::create_dir_all(root)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = root.join(format!("{}-{number}", owner.pid));
        fs::DirBuilder::new().mode(0o755).create(&directory)?;
        fs::write(directory.join("owner"), owner.line())?;
        Ok(Self { directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Notes a process that must not outlive the owner.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_process(&self, process: Process) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.directory.join("processes"))?;
        file.write_all(process.line().as_bytes())
    }
}

/// The claims below `root` whose owner no longer runs.
pub fn abandoned(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else { return Vec::new() };
    let claims = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    claims.filter(|path| is_abandoned(path)).collect()
}

fn is_abandoned(directory: &Path) -> bool {
    match fs::read_to_string(directory.join("owner")).ok().as_deref().and_then(Process::parse) {
        Some(owner) => !owner.is_alive(),
        // Killed between making the directory and writing the file: the name still tells the pid.
        None => pid_of_name(directory).is_some_and(|pid| start_time(pid).is_none()),
    }
}

fn pid_of_name(directory: &Path) -> Option<i32> {
    directory.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// Kills the processes that were noted in a claim. Only for a claim that is ours or abandoned.
pub fn kill_noted(directory: &Path) {
    let noted = fs::read_to_string(directory.join("processes")).unwrap_or_default();
    for process in noted.lines().filter_map(Process::parse) {
        process.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_of_a_running_process_is_not_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let claim = Claim::new(root.path()).unwrap();
        assert!(claim.directory().join("owner").exists());
        assert!(abandoned(root.path()).is_empty());
    }

    #[test]
    fn a_claim_is_abandoned_when_its_pid_belongs_to_a_younger_process() {
        let root = tempfile::tempdir().unwrap();
        let claim = Claim::new(root.path()).unwrap();
        let own = Process::own().unwrap();
        let older = Process { started: own.started - 1, ..own };
        fs::write(claim.directory().join("owner"), older.line()).unwrap();
        assert_eq!(abandoned(root.path()), [claim.directory()]);
    }

    #[test]
    fn a_noted_process_is_killed_and_a_younger_one_of_its_pid_is_not() {
        let root = tempfile::tempdir().unwrap();
        let claim = Claim::new(root.path()).unwrap();
        let mut doomed = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut spared = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let younger = Process::of(pid(&spared)).unwrap();
        claim.note_process(Process::of(pid(&doomed)).unwrap()).unwrap();
        claim.note_process(Process { started: younger.started + 1, ..younger }).unwrap();
        kill_noted(claim.directory());
        assert!(!doomed.wait().unwrap().success());
        assert!(younger.is_alive());
        spared.kill().unwrap();
        spared.wait().unwrap();
    }
}
