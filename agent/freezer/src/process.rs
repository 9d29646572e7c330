//! Processes, told apart even after their numbers are used again.

use std::fs;
use std::path::PathBuf;

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
        let start_time = stat(&proc_file(pid, "stat"))?.start_time;
        Some(Self { pid, start_time })
    }

    /// Whether any thread of it may still be at work.
    ///
    /// A process that was killed inside FIFREEZE has a leader that is a zombie and a thread that sleeps on until the
    /// ioctl returns: it is at work, and will leave a frozen filesystem behind.
    pub fn is_at_work(self) -> bool {
        if Self::of(self.pid) != Some(self) {
            return false;
        }
        let Ok(tasks) = fs::read_dir(proc_file(self.pid, "task")) else { return false };
        let mut states = tasks.filter_map(|task| stat(&task.ok()?.path().join("stat")));
        states.any(|stat| !matches!(stat.state, 'Z' | 'X'))
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

fn stat(path: &std::path::Path) -> Option<Stat> {
    parse(&fs::read_to_string(path).ok()?)
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
        assert!(own.is_at_work());
        assert!(
            !ProcessId { start_time: own.start_time + 1, ..own }.is_at_work(),
            "another one of that number"
        );
    }

    #[test]
    fn a_zombie_is_not_at_work() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        while stat(&proc_file(id.pid, "stat")).unwrap().state != 'Z' {
            std::thread::yield_now();
        }
        assert!(!id.is_at_work());
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
