//! Does a filesystem take writes? One that somebody else has frozen, or whose device does not answer, does not.
//!
//! The kernel shows nowhere whether a filesystem is frozen, so it is asked for a write that changes nothing: to remove a
//! directory that does not exist. rmdir(2) takes write access to the filesystem before it looks for the name
//! (fs/namei.c, `do_rmdir`), and so it sleeps there until the thaw. It sleeps in state D, where no signal reaches it:
//! a process of its own makes the call, and is left to itself when it does not come back.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use quiesced_core::problem::Problem;

/// The first argument of the process that makes the call.
pub const ARGUMENT: &str = "try-write";

/// Nobody has a directory of this name.
const NO_SUCH: &str = ".quiesced-no-such-directory";

/// A write that has not come back by then is waiting for something. The slowest volume answers in a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a filesystem made of the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It takes them.
    Taken,
    /// They wait: it is frozen, or its device does not answer.
    Waiting,
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
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(status) => Ok(match status?.code() {
            Some(0) => Writes::Taken,
            code => Writes::Refused(code.unwrap_or(-1)),
        }),
        Err(_) => {
            // It dies when it is woken; tokio takes care of what is left of it.
            child.start_kill()?;
            Ok(Writes::Waiting)
        }
    }
}

fn start(program: &Path, mount_point: &Path) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.arg(ARGUMENT).arg(mount_point).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// What stands in the way of freezing these filesystems, because they take no writes: those that wait, and those that
/// refuse.
pub async fn obstacles(program: &Path, mount_points: Vec<PathBuf>) -> (Vec<Problem>, Vec<Problem>) {
    let mut asks = tokio::task::JoinSet::new();
    for mount_point in mount_points {
        let program = program.to_owned();
        asks.spawn(async move {
            let writes = ask(&program, &mount_point).await;
            (mount_point, writes)
        });
    }
    let (mut waiting, mut refused) = (Vec::new(), Vec::new());
    for (mount_point, writes) in asks.join_all().await {
        let point = mount_point.display();
        match writes {
            Ok(Writes::Taken) => {}
            Ok(Writes::Waiting) => waiting.push(frozen(&mount_point)),
            Ok(Writes::Refused(number)) => {
                let why = io::Error::from_raw_os_error(number);
                let problem = Problem::new(format!("{point} refuses writes: {why}"));
                refused.push(problem.with_hint(Some("look at `dmesg`, then unmount it and check it")));
            }
            Err(error) => {
                let within = format!("nobody could be sent to write to {point}");
                refused.push(Problem::from_error(&error).within(within));
            }
        }
    }
    (waiting, refused)
}

fn frozen(mount_point: &Path) -> Problem {
    let point = mount_point.display();
    Problem::new(format!("{point} takes no writes: somebody has frozen it, or its device does not answer"))
        .with_hint(Some(format!("if its owner is gone: fsfreeze --unfreeze {point}")))
}
