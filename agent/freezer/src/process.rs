//! Processes, told apart even after their numbers are used again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process: its number, and when it was started. A number alone may belong to somebody else by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process number.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)): clock ticks since boot.
    pub start_time: u64,
}

impl ProcessId {
    /// The process that has this number now, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let start_time = stat(&proc_file(pid, "stat")).ok()??.start_time;
        Some(Self { pid, start_time })
    }

    /// Whether any thread of it may still be at work.
    ///
    /// A process that was killed inside FIFREEZE has a leader that is a zombie and a thread that sleeps on until the
    /// ioctl returns: it is at work, and will leave a frozen filesystem behind. One that cannot be looked at counts as
    /// at work.
    pub fn is_at_work(self) -> bool {
        self.look().unwrap_or(true)
    }

    fn look(self) -> io::Result<bool> {
        let leader = stat(&proc_file(self.pid, "stat"))?;
        if leader.is_none_or(|stat| stat.start_time != self.start_time) {
            return Ok(false);
        }
        let tasks = match fs::read_dir(proc_file(self.pid, "task")) {
            Err(error) if is_gone(&error) => return Ok(false),
            tasks => tasks?,
        };
        for task in tasks {
            let state = stat(&task?.path().join("stat"))?.map(|stat| stat.state);
            if state.is_some_and(|state| !matches!(state, 'Z' | 'X')) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it was killed or has ended, even if a thread of it still sleeps in the kernel: it does nothing by its own
    /// will any more. One that cannot be looked at counts as alive.
    pub fn is_dead(self) -> bool {
        stat(&proc_file(self.pid, "stat")).is_ok_and(|leader| {
            leader.is_none_or(|stat| stat.start_time != self.start_time || matches!(stat.state, 'Z' | 'X'))
        })
    }

    /// Lets it go on if it was stopped: a guardian that goes on finds its socket closed, and thaws.
    pub fn wake(self) {
        if self.is_at_work() {
            // It may end between the two calls; then there is nothing to wake.
            let _gone = kill(Pid::from_raw(self.pid), Signal::SIGCONT);
        }
    }
}

fn proc_file(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

struct Stat {
    state: char,
    start_time: u64,
}

/// Reads a `stat` file; none when its process has gone.
fn stat(path: &Path) -> io::Result<Option<Stat>> {
    match fs::read_to_string(path) {
        Ok(line) => {
            let garbled = || io::Error::new(io::ErrorKind::InvalidData, "a field is missing");
            parse(&line).ok_or_else(garbled).map(Some)
        }
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The directory of a process goes when it is waited for: ENOENT, or ESRCH for a file that is open already.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// The name in the second field may hold anything, parentheses and spaces too: what follows begins after the last
/// parenthesis, with the third field.
fn parse(line: &str) -> Option<Stat> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_at_work() {
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_at_work() && !own.is_dead());
        assert!(
            !ProcessId { start_time: own.start_time + 1, ..own }.is_at_work(),
            "another one of that number"
        );
    }

    #[test]
    fn a_zombie_is_not_at_work() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        while stat(&proc_file(id.pid, "stat")).unwrap().unwrap().state != 'Z' {
            std::thread::yield_now();
        }
        assert!(!id.is_at_work() && id.is_dead());
        child.wait().unwrap();
        assert!(!id.is_at_work());
    }

    #[test]
    fn a_name_full_of_parentheses_is_skipped() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let line = format!("7 (a) b) (c) S {}", fields.join(" "));
        let stat = parse(&line).unwrap();
        assert_eq!((stat.state, stat.start_time), ('S', 22));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".*") {
            let _parsed = parse(&line);
        }
    }
}
