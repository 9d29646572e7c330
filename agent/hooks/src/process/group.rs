//! Process groups: to end a child together with everything it started.

use std::time::Duration;
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
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

/// Ends the group of a process that began at `start_time`; does nothing when that process is gone.
pub(crate) async fn end_if_same(pid: i32, start_time: u64) -> Result<(), CommandError> {
    match self::start_time(pid) {
        Ok(begun) if begun == start_time => end(Pid::from_raw(pid)).await,
        Ok(_another) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CommandError::Examine { path: stat_path(pid).into(), source }),
    }
}

/// When a process began, in clock ticks since boot: field 22 of `/proc/PID/stat`, see `proc_pid_stat(5)`.
pub(crate) fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(stat_path(pid))?;
    parse_start_time(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "field 22 is missing"))
}

fn stat_path(pid: i32) -> String {
    format!("/proc/{pid}/stat")
}

/// The name in field 2 may hold anything, parentheses and spaces too, so fields are counted from its last bracket.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_a_misleading_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 10";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time("7 (a) S 1"), None);
    }

    #[tokio::test]
    async fn a_process_that_only_has_the_same_number_is_left_alone() {
        let own = i32::try_from(std::process::id()).unwrap();
        end_if_same(own, start_time(own).unwrap() + 1).await.unwrap();
    }
}
