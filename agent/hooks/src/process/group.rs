//! Process groups: to end a child together with everything it started.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Child;

use crate::error::CommandError;

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(200);

/// The group that a child leads. It is killed when this is dropped, unless it was let go.
#[derive(Debug)]
pub(crate) struct Group {
    leader: Pid,
    owned: bool,
}

impl Group {
    /// The group of a child that was started with `process_group(0)` and has not been waited for.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let leader = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)?;
        Some(Self { leader, owned: true })
    }

    /// The process id of its leader.
    pub(crate) const fn leader(&self) -> i32 {
        self.leader.as_raw()
    }

    /// Leaves the group alone from now on.
    pub(crate) fn let_go(mut self) {
        self.owned = false;
    }

    /// Asks everybody in the group to end, waits a little, then kills who is left.
    ///
    /// The leader should not have been waited for. Where it has, the group's number is still taken as long as anybody
    /// is in it; and to meet a stranger the kernel would have to come round to the same number within the grace.
    pub(crate) async fn end(mut self) -> Result<(), CommandError> {
        let ended = end(self.leader).await;
        self.owned = ended.is_err();
        ended
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.owned {
            // Nobody is left to tell; the kernel knows no group that we started and may not kill.
            let _ = killpg(self.leader, Signal::SIGKILL);
        }
    }
}

async fn end(leader: Pid) -> Result<(), CommandError> {
    signal(leader, Signal::SIGTERM)?;
    tokio::time::sleep(GRACE).await;
    signal(leader, Signal::SIGKILL)
}

fn signal(leader: Pid, signal: Signal) -> Result<(), CommandError> {
    match killpg(leader, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(source) => Err(CommandError::EndGroup { pid: leader.as_raw(), source }),
    }
}

/// The leader of a group, told apart from whoever has its number later. It stands in the journal as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its process number, which is also that of its group.
    pub pid: i32,
    /// When it began: field 22 of `/proc/PID/stat`, in clock ticks since boot (proc_pid_stat(5)).
    pub start_time: u64,
    /// Its session.
    pub session: i32,
}

impl Leader {
    /// The process that has this number now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = read(Path::new(&stat_path(pid)))?;
        Self::parse(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "field 22 is missing"))
    }

    /// Reads a line of `/proc/PID/stat`. The name in field 2 may hold anything, parentheses and spaces too, so fields
    /// are counted from its last bracket.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(' ')?;
        let fields: Vec<&str> = rest.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let (session, start_time) = (fields.get(6 - 3)?.parse().ok()?, fields.get(22 - 3)?.parse().ok()?);
        Some(Self { pid: pid.parse().ok()?, start_time, session })
    }

    /// Ends its group. Nothing is done when its number belongs to another process by now.
    pub(crate) async fn end(self) -> Result<(), CommandError> {
        match Self::of(self.pid) {
            Ok(now) if now.start_time == self.start_time => end(Pid::from_raw(self.pid)).await,
            Ok(_another) => Ok(()),
            Err(error) if is_gone(&error) => self.end_orphans().await,
            Err(source) => Err(CommandError::Examine { path: stat_path(self.pid).into(), source }),
        }
    }

    /// Ends who is left of its group after it has gone. While anybody is, the kernel gives its number to nobody else;
    /// its session must be the same, in case the group came to its end and the number was used for another one.
    async fn end_orphans(self) -> Result<(), CommandError> {
        let path = Path::new("/proc");
        let examine = |source| CommandError::Examine { path: path.to_owned(), source };
        for entry in fs::read_dir(path).map_err(examine)? {
            let entry = entry.map_err(examine)?;
            // Others are no processes, or have ended meanwhile.
            let Ok(stat) = read(&entry.path().join("stat")) else { continue };
            let is_orphan = Self::parse(&stat).is_some_and(|process| process.session == self.session)
                && group(&stat) == Some(self.pid);
            if is_orphan {
                return end(Pid::from_raw(self.pid)).await;
            }
        }
        Ok(())
    }
}

/// The kernel cuts a program's name after 15 bytes, which may be in the middle of a letter.
fn read(stat: &Path) -> io::Result<String> {
    fs::read(stat).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The directory of a process goes when it is waited for: ENOENT, or ESRCH for a file that is open already.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

fn stat_path(pid: i32) -> String {
    format!("/proc/{pid}/stat")
}

/// Field 5 of a line of `/proc/PID/stat`.
fn group(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(5 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_a_misleading_name() {
        let stat = "7 (a) b (c) S 1 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(Leader::parse(stat), Some(Leader { pid: 7, start_time: 4711, session: 9 }));
        assert_eq!(group(stat), Some(8));
        assert_eq!(Leader::parse("7 (a) S 1"), None);
    }

    #[tokio::test]
    async fn a_process_that_only_has_the_same_number_is_left_alone() {
        let own = Leader::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        Leader { start_time: own.start_time + 1, ..own }.end().await.unwrap();
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line in ".*") {
            let _parsed = (Leader::parse(&line), group(&line));
        }
    }
}
