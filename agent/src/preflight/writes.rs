//! Does a filesystem take writes? One that somebody else has frozen, or whose device does not answer, does not.
//!
//! The kernel shows nowhere whether a filesystem is frozen, so it is asked for a write that changes nothing: to remove a
//! directory that does not exist. rmdir(2) takes write access to the filesystem before it looks for the name
//! (fs/namei.c, `do_rmdir`), and so it sleeps there until the thaw. It sleeps in state D, where no signal reaches it:
//! a process of its own makes the call, and is left to itself when it does not come back.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use quiesced_core::problem::Problem;

/// The first argument of the process that makes the call.
pub const ARGUMENT: &str = "try-write";

/// Nobody has a directory of this name.
const NO_SUCH: &str = ".quiesced-no-such-directory";

/// A write that has not come back by then is not waited for any more. A volume under load may well take a while.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked at what a write waits for.
const PAUSE: Duration = Duration::from_millis(100);

/// What a filesystem made of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It takes them.
    Taken,
    /// They wait for a thaw.
    Frozen,
    /// They wait for something else: its device does not answer.
    Late,
    /// They fail: read-only, shut down, or broken.
    Refused(i32),
}

/// The whole life of the process that makes the call: its exit code is the error number, or 0.
pub fn main(mount_point: &Path) -> ExitCode {
    let number = std::fs::remove_dir(mount_point.join(NO_SUCH)).map_or_else(|error| number(&error), |()| 0);
    ExitCode::from(u8::try_from(number).unwrap_or(u8::MAX))
}

fn number(error: &io::Error) -> i32 {
    if error.kind() == io::ErrorKind::NotFound { 0 } else { error.raw_os_error().unwrap_or(-1) }
}

/// Asks a filesystem.
///
/// # Errors
/// When the process cannot be started.
pub async fn ask(program: &Path, mount_point: &Path) -> io::Result<Writes> {
    let mut child = start(program, mount_point)?;
    let end = Instant::now() + PATIENCE;
    let waits = loop {
        if let Ok(status) = tokio::time::timeout(PAUSE, child.wait()).await {
            return Ok(match status?.code() {
                Some(0) => Writes::Taken,
                code => Writes::Refused(code.unwrap_or(-1)),
            });
        }
        if waits_for_thaw(&child) {
            break Writes::Frozen;
        }
        if Instant::now() >= end {
            break Writes::Late;
        }
    };
    // It dies when it is woken; tokio takes care of what is left of it.
    child.start_kill()?;
    Ok(waits)
}

/// A writer waits for a thaw in the percpu rwsem of the superblock (fs/super.c, `struct sb_writers`), on its way to write
/// access of the mount. The inner function has another name before Linux 5.7 (kernel/locking/percpu-rwsem.c), and
/// processes that begin or end wait in such a semaphore too, that of their cgroup.
fn waits_for_thaw(child: &Child) -> bool {
    let Some(pid) = child.id() else { return false };
    let stack = std::fs::read_to_string(format!("/proc/{pid}/stack"));
    let waits = ["percpu_rwsem_wait", "__percpu_down_read"];
    stack.is_ok_and(|stack| {
        stack.contains("mnt_want_write") && waits.iter().any(|function| stack.contains(function))
    })
}

fn start(program: &Path, mount_point: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg(ARGUMENT).arg(mount_point).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// What stands in the way of freezing these filesystems, because they take no writes: those that somebody has frozen, and
/// the others.
pub async fn obstacles(program: &Path, mount_points: Vec<PathBuf>) -> (Vec<Problem>, Vec<Problem>) {
    let mut asks = tokio::task::JoinSet::new();
    for mount_point in mount_points {
        let program = program.to_owned();
        asks.spawn(async move {
            let writes = ask(&program, &mount_point).await;
            (mount_point, writes)
        });
    }
    let (mut frozen, mut others) = (Vec::new(), Vec::new());
    let mut answers = asks.join_all().await;
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (mount_point, writes) in answers {
        let point = mount_point.display();
        match writes {
            Ok(Writes::Taken) => {}
            Ok(Writes::Frozen) => {
                let problem = Problem::new(format!("{point} takes no writes: somebody has frozen it"));
                let hint = format!("if its owner is gone: fsfreeze --unfreeze {point}");
                frozen.push(problem.with_hint(Some(hint)));
            }
            Ok(Writes::Late) => {
                let problem = Problem::new(format!("{point} takes no writes: its device does not answer"));
                others.push(
                    problem.with_hint(Some("look at `dmesg`, and at the volume's state and burst balance")),
                );
            }
            Ok(Writes::Refused(number)) => {
                let why = io::Error::from_raw_os_error(number);
                let problem = Problem::new(format!("{point} refuses writes: {why}"));
                others.push(problem.with_hint(Some("look at `dmesg`, then unmount it and check it")));
            }
            Err(error) => {
                let within = format!("nobody could be sent to write to {point}");
                others.push(Problem::from_error(&error).within(within));
            }
        }
    }
    (frozen, others)
}
