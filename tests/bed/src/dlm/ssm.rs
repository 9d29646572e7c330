//! The SSM agent on the host: runs a Command document as the genuine one was observed to (3.3 line).
//!
//! The script is a file `_script.sh` in a fresh directory, run as `sh -c FILE` in a process group of its own, with
//! standard input closed and two pipes for its output. The command ends when *both pipes are closed*, which a
//! background child may put off. At the document's timeout, or on cancel, the whole group is killed at once with
//! SIGKILL, and the pipes are closed: what lives on outside the group dies of SIGPIPE when it writes to them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::claim;

use super::document::{Document, DocumentError};
use super::output::{STDERR_LIMIT, STDOUT_LIMIT, combined, cut};

/// Why a document could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SsmError {
    /// The document does not fit.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The script could not be put in place or started.
    #[error("cannot run the script in {}: {source}", directory.display())]
    Start {
        /// Its directory.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The status of a command invocation, as `GetCommandInvocation` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// `Success`.
    Success,
    /// `Failed`.
    Failed,
    /// `TimedOut`.
    TimedOut,
    /// `Cancelled`.
    Cancelled,
}

/// The result of a command.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Its status.
    pub status: Status,
    /// The response code.
    pub code: i32,
    /// `StandardOutputContent`, cut.
    pub stdout: String,
    /// `StandardErrorContent`, cut.
    pub stderr: String,
    /// What most readers see: both, cut much shorter.
    pub output: String,
    /// From start to reply.
    pub took: Duration,
    /// Why the code must never be returned, when the SSM agent gives it a meaning of its own.
    pub violation: Option<&'static str>,
}

impl Invocation {
    /// Whether the command succeeded.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Success
    }
}

/// A simulated SSM agent.
#[derive(Debug)]
pub struct Ssm {
    work: PathBuf,
    environment: Vec<(OsString, OsString)>,
    timeout: Option<Duration>,
    commands: AtomicU32,
}

impl Ssm {
    /// One that keeps its scripts in `work`.
    pub fn new(work: &Path) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            work: work.to_path_buf(),
            environment: vec![("PATH".into(), path.into()), ("LANG".into(), "C.UTF-8".into())],
            timeout: None,
            commands: AtomicU32::new(0),
        }
    }

    /// Adds a variable to the environment of the agent itself, which scripts inherit.
    #[must_use]
    pub fn variable(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Puts a directory in front of `PATH`, for a `quiesced` of one's own.
    #[must_use]
    pub fn first_in_path(self, directory: &Path) -> Self {
        let known = self.environment.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
        let mut path = directory.as_os_str().to_owned();
        path.push(":");
        path.push(known.unwrap_or_default());
        self.variable("PATH", path)
    }

    /// Uses another timeout than the document's, which is never under five seconds.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs a document to its end.
    ///
    /// # Errors
    /// When the script cannot be started.
    pub fn run(&self, document: &Document, parameters: &[(&str, &str)]) -> Result<Invocation, SsmError> {
        Ok(self.start(document, parameters)?.wait())
    }

    /// Starts a document. Several may run together, as the genuine agent runs five at a time in no order.
    ///
    /// # Errors
    /// When the script cannot be started.
    pub fn start(&self, document: &Document, parameters: &[(&str, &str)]) -> Result<Running, SsmError> {
        let script = document.script(parameters)?;
        let number = self.commands.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:08x}-0000-4000-9000-{number:012x}", std::process::id());
        let directory = self.work.join(&id);
        let start = || {
            let file = write_script(&directory, &script)?;
            self.command(&file, &directory, &id).spawn()
        };
        let begun = Instant::now();
        let child = start().map_err(|source| SsmError::Start { directory: directory.clone(), source })?;
        let deadline = begun + self.timeout.unwrap_or_else(|| document.timeout());
        let group = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let cancel = Arc::new(AtomicBool::new(false));
        let (reply, result) = mpsc::channel();
        let watch = Watch { child, group, deadline, cancel: Arc::clone(&cancel), begun };
        // Nobody may be waiting any more: a lifecycle manager that walked away takes no reply.
        std::thread::spawn(move || reply.send(watch.until_end()));
        Ok(Running { group, cancel, result, taken: None })
    }

    fn command(&self, file: &Path, directory: &Path, id: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(file).current_dir(directory).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .env("AWS_SSM_INSTANCE_ID", "i-0123456789abcdef0")
            .env("AWS_SSM_REGION_NAME", "eu-central-1")
            .env("AWS_SSM_PLATFORM_NAME", "Amazon Linux")
            .env("AWS_SSM_PLATFORM_VERSION", "2023")
            .env("SSM_COMMAND_ID", id);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }
}

fn write_script(directory: &Path, script: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let file = directory.join("_script.sh");
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700))?;
    Ok(file)
}

/// A command that is under way. Dropping it leaves the script running.
#[derive(Debug)]
pub struct Running {
    group: i32,
    cancel: Arc<AtomicBool>,
    result: Receiver<Invocation>,
    taken: Option<Invocation>,
}

impl Running {
    /// The process group of the script.
    pub fn group(&self) -> i32 {
        self.group
    }

    /// CancelCommand: kills the group at once.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::SeqCst);
    }

    /// Waits at most `limit` for the result.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Invocation> {
        if self.taken.is_none() {
            self.taken = self.result.recv_timeout(limit).ok();
        }
        self.taken.clone()
    }

    /// Waits for the result. The timeout of the document bounds this.
    pub fn wait(mut self) -> Invocation {
        self.wait_for(Duration::from_secs(200_000)).unwrap_or_else(|| Invocation {
            status: Status::Failed,
            code: 1,
            stdout: String::new(),
            stderr: "the simulator's own thread ended".to_owned(),
            output: String::new(),
            took: Duration::ZERO,
            violation: None,
        })
    }
}

/// The thread that follows one script.
struct Watch {
    child: Child,
    group: i32,
    deadline: Instant,
    cancel: Arc<AtomicBool>,
    begun: Instant,
}

/// Why following ended.
enum End {
    PipesClosed(ExitStatus),
    TimedOut { script_ended: bool },
    Cancelled,
}

impl Watch {
    fn until_end(mut self) -> Invocation {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let end = self.follow(&mut stdout, &mut stderr);
        if !matches!(end, End::PipesClosed(_)) {
            self.abandon();
        }
        let (status, code) = match end {
            End::PipesClosed(status) => judged(status),
            // Observed: a script that exited 0, but left a pipe open past the timeout, counts as failed.
            End::TimedOut { script_ended: true } => (Status::Failed, 1),
            End::TimedOut { script_ended: false } => (Status::TimedOut, 137),
            End::Cancelled => (Status::Cancelled, 137),
        };
        self.invocation(status, code, &stdout, &stderr)
    }

    /// Kills the group and closes the pipes. The script may sleep on a frozen filesystem, immune to the signal: so it
    /// is reaped by a thread of its own.
    fn abandon(&mut self) {
        drop((self.child.stdout.take(), self.child.stderr.take()));
        // Reaping comes after the signal, so the number of the group cannot belong to somebody else yet.
        let _ = killpg(Pid::from_raw(self.group), Signal::SIGKILL);
        let pid = Pid::from_raw(self.group);
        std::thread::spawn(move || waitpid(pid, None));
    }

    fn invocation(&self, status: Status, code: i32, stdout: &[u8], stderr: &[u8]) -> Invocation {
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        Invocation {
            status,
            code,
            output: combined(&stdout, &stderr),
            stdout: cut(&stdout, STDOUT_LIMIT),
            stderr: cut(&stderr, STDERR_LIMIT),
            took: self.begun.elapsed(),
            violation: violation(code, status),
        }
    }

    /// Reads both pipes until they are closed and the script has ended.
    fn follow(&mut self, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> End {
        loop {
            drain(&mut self.child.stdout, stdout);
            drain(&mut self.child.stderr, stderr);
            // Not reaped before the pipes are closed: its pid must stay taken as long as its group may be killed.
            let closed = self.child.stdout.is_none() && self.child.stderr.is_none();
            if closed && let Ok(Some(status)) = self.child.try_wait() {
                return End::PipesClosed(status);
            }
            if self.cancel.load(Ordering::SeqCst) {
                return End::Cancelled;
            }
            if Instant::now() >= self.deadline {
                return End::TimedOut { script_ended: claim::state(self.group) == Some('Z') };
            }
        }
    }
}

/// Takes what a pipe has to give within a few milliseconds; forgets the pipe at its end.
fn drain<R: Read + AsFd>(pipe: &mut Option<R>, into: &mut Vec<u8>) {
    let pause = Duration::from_millis(5);
    let Some(open) = pipe else { return std::thread::sleep(pause) };
    let timeout = PollTimeout::from(5_u8);
    let mut wanted = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    if !matches!(poll(&mut wanted, timeout), Ok(1..)) {
        return;
    }
    let mut buffer = [0; 65_536];
    match open.read(&mut buffer) {
        Ok(0) | Err(_) => *pipe = None,
        // More than is ever shown need not be kept.
        Ok(count) if into.len() < 1_000_000 => into.extend_from_slice(&buffer[..count]),
        Ok(_) => {}
    }
}

fn judged(status: ExitStatus) -> (Status, i32) {
    match status.code().or_else(|| status.signal().map(|signal| 128 + signal)) {
        Some(0) => (Status::Success, 0),
        // The agent takes these for itself, whatever the script meant.
        Some(168) => (Status::Success, 168),
        Some(137) => (Status::TimedOut, 137),
        Some(code) => (Status::Failed, code),
        None => (Status::Failed, 1),
    }
}

fn violation(code: i32, status: Status) -> Option<&'static str> {
    match (code, status) {
        (137, Status::TimedOut) => Some("137 reads as timed out"),
        (168, _) => Some("168 forces Success"),
        (169, _) => Some("169 skips the rest of the document"),
        (194, _) => Some("194 reboots the host and runs the script again"),
        _ => None,
    }
}
