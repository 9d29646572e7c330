//! The agent under test: the real binary, with directories of its own, watched from outside.

mod cli;
mod notify;
mod options;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

pub use cli::{CliOutput, RunningCli};
pub use nix::sys::signal::Signal;
pub use options::AgentOptions;

use crate::claim::{Claim, Process, children};
use crate::observe::wait_until;
use crate::volumes::AGENTS;
use notify::Listener;

/// Where the SSM document looks for the agent before it looks in `PATH`, and where a plain `PATH` leads.
const INSTALLED: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin"];

/// Why an agent could not be started or used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A file or directory of it could not be made.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the agent ended with {status} before it was ready; its log:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it logged.
        log: String,
    },
    /// It did not become ready.
    #[error("the agent was not ready after {limit:?}; its log:\n{log}")]
    NotReady {
        /// How long was waited.
        limit: Duration,
        /// What it logged.
        log: String,
    },
    /// The host has one of its own.
    #[error("{} is installed, and the document would hold this host; run this on another one", path.display())]
    Installed {
        /// Its binary.
        path: PathBuf,
    },
}

impl AgentError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_path_buf(), source }
    }
}

/// The SSM document would call the host's own agent, which would hold the host's own applications.
///
/// # Errors
/// When the host has one.
pub fn refuse_installed() -> Result<(), AgentError> {
    let installed = INSTALLED.map(|folder| Path::new(folder).join("quiesced"));
    installed
        .into_iter()
        .find(|path| path.exists())
        .map_or(Ok(()), |path| Err(AgentError::Installed { path }))
}

/// A running agent. Dropping it kills its processes and removes its directories.
#[derive(Debug)]
pub struct Agent {
    binary: PathBuf,
    options: AgentOptions,
    listener: Listener,
    child: Child,
    claim: Claim,
}

impl Agent {
    /// Starts `binary daemon` and waits until it says `READY=1`.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(binary: &Path, options: AgentOptions) -> Result<Self, AgentError> {
        let root = &root();
        let claim = Claim::new(root).map_err(|source| AgentError::file(root, source))?;
        prepare(claim.directory(), binary, &options)?;
        let socket = claim.directory().join("notify.sock");
        let listener = Listener::bind(&socket).map_err(|source| AgentError::file(&socket, source))?;
        let child = spawn(claim.directory(), binary, &options)?;
        let mut agent = Self { binary: binary.to_path_buf(), options, listener, child, claim };
        agent.note()?;
        agent.until_ready()?;
        Ok(agent)
    }

    /// Starts it again, in the same directories, after it has ended.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<(), AgentError> {
        self.listener.forget();
        self.child = spawn(self.claim.directory(), &self.binary, &self.options)?;
        self.note()?;
        self.until_ready()
    }

    fn note(&self) -> Result<(), AgentError> {
        let noted =
            Process::of(self.started_pid()).map_or(Ok(()), |process| self.claim.note_process(process));
        noted.map_err(|source| AgentError::file(self.claim.directory(), source))
    }

    fn until_ready(&mut self) -> Result<(), AgentError> {
        let limit = self.options.ready_within;
        let mut ended = None;
        let (child, listener) = (&mut self.child, &self.listener);
        let waited = wait_until("READY=1", limit, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || listener.lines().iter().any(|line| line == "READY=1")
        });
        match (ended, waited) {
            (Some(status), _) => Err(AgentError::Ended { status, log: self.log() }),
            (None, Err(_)) => Err(AgentError::NotReady { limit, log: self.log() }),
            (None, Ok(_)) => Ok(()),
        }
    }

    /// The directory that the others lie in.
    pub fn directory(&self) -> &Path {
        self.claim.directory()
    }

    /// Its runtime directory, on a tmpfs.
    pub fn runtime_dir(&self) -> PathBuf {
        self.directory().join("run")
    }

    /// Its state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.options.state_dir.clone().unwrap_or_else(|| self.directory().join("state"))
    }

    /// Its configuration directory, which holds `conf.d`.
    pub fn config_dir(&self) -> PathBuf {
        self.directory().join("config")
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir().join("control.sock")
    }

    /// A directory with a `quiesced` that talks to this agent, to be put first in `PATH`.
    pub fn bin_dir(&self) -> PathBuf {
        self.directory().join("bin")
    }

    /// What leads a command to this agent.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        environment(self.directory(), &self.options)
    }

    /// Writes a drop-in.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_fragment(&self, name: &str, text: &str) -> Result<(), AgentError> {
        write_fragment(self.directory(), name, text)
    }

    /// Everything it told systemd since its start, one assignment after another: `READY=1`, `STATUS=…`, `WATCHDOG=1`.
    pub fn notifications(&self) -> Vec<String> {
        self.listener.lines()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory().join("daemon.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The pid of the daemon, also under a wrapper.
    pub fn pid(&self) -> i32 {
        let started = self.started_pid();
        if self.options.wrapper.is_empty() {
            return started;
        }
        children(started).first().copied().unwrap_or(started)
    }

    /// The pid of its guardian, while there is one.
    pub fn guardian(&self) -> Option<i32> {
        children(self.pid()).into_iter().find(|&pid| is_guardian(pid))
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = Process::of(self.pid()) {
            process.signal(signal);
        }
    }

    /// Kills the daemon with SIGKILL, and only it, and waits for its end.
    pub fn kill(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.wait_exit(Duration::from_secs(10))
    }

    /// Waits at most `limit` for its end.
    pub fn wait_exit(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        let child = &mut self.child;
        // A daemon that has not ended is the answer here, not an error.
        let _ = wait_until("the end of the agent", limit, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }

    fn started_pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let guardian = self.guardian().and_then(Process::of);
        self.signal(Signal::SIGKILL);
        // A wrapper ends with what it wraps. One that sleeps on a frozen filesystem ends with the thaw.
        if self.wait_exit(Duration::from_secs(5)).is_none() {
            let _ = self.child.kill();
        }
        // The guardian thaws what is frozen when its agent is gone, then ends.
        if let Some(guardian) = guardian {
            let _ = wait_until("the end of the guardian", Duration::from_secs(5), || !guardian.is_alive());
            guardian.signal(Signal::SIGKILL);
        }
        if let Err(error) = fs::remove_dir_all(self.claim.directory()) {
            eprintln!("error: cannot remove {}: {error}", self.claim.directory().display());
        }
    }
}

/// Where agents have their directories: each user has a place of their own, for agents on made-up hosts need no root.
fn root() -> PathBuf {
    let user = nix::unistd::geteuid();
    if user.is_root() { PathBuf::from(AGENTS) } else { PathBuf::from(format!("{AGENTS}-{user}")) }
}

fn is_guardian(pid: i32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|&byte| byte == 0).any(|word| word.windows(8).any(|part| part == b"guardian"))
}

/// Makes the directories, the drop-ins and the `quiesced` for `PATH`.
fn prepare(directory: &Path, binary: &Path, options: &AgentOptions) -> Result<(), AgentError> {
    let state = options.state_dir.clone().unwrap_or_else(|| directory.join("state"));
    let folders = [directory.join("config/conf.d"), directory.join("run"), directory.join("bin"), state];
    for folder in folders {
        fs::create_dir_all(&folder).map_err(|source| AgentError::file(&folder, source))?;
    }
    for (name, text) in &options.fragments {
        write_fragment(directory, name, text)?;
    }
    let shim = directory.join("bin/quiesced");
    let variables: Vec<String> = environment(directory, options)
        .iter()
        .map(|(name, value)| format!("{}={}", name.display(), quoted(&value.to_string_lossy())))
        .collect();
    let text =
        format!("#!/bin/sh\nexec env {} {} \"$@\"\n", variables.join(" "), quoted(&binary.to_string_lossy()));
    fs::write(&shim, text)
        .and_then(|()| fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)))
        .map_err(|source| AgentError::file(&shim, source))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn write_fragment(directory: &Path, name: &str, text: &str) -> Result<(), AgentError> {
    let file = directory.join("config/conf.d").join(name);
    // The agent refuses what others can write, and the test's umask is not known.
    fs::write(&file, text)
        .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o644)))
        .map_err(|source| AgentError::file(&file, source))
}

fn environment(directory: &Path, options: &AgentOptions) -> Vec<(OsString, OsString)> {
    let state = options.state_dir.clone().unwrap_or_else(|| directory.join("state"));
    let mut variables = vec![
        ("QUIESCED_CONFIG_DIR".into(), directory.join("config").into_os_string()),
        ("QUIESCED_RUNTIME_DIR".into(), directory.join("run").into_os_string()),
        ("QUIESCED_STATE_DIR".into(), state.into_os_string()),
    ];
    variables.extend(options.environment.iter().cloned());
    variables
}

fn spawn(directory: &Path, binary: &Path, options: &AgentOptions) -> Result<Child, AgentError> {
    let path = directory.join("daemon.log");
    let log = File::options().create(true).append(true).open(&path);
    let log = log.and_then(|log| Ok((log.try_clone()?, log)));
    let (stdout, stderr) = log.map_err(|source| AgentError::file(&path, source))?;
    let mut words = options.wrapper.iter().cloned();
    let program = words.next().map_or_else(|| binary.to_path_buf(), PathBuf::from);
    let mut command = Command::new(&program);
    command.args(words);
    if !options.wrapper.is_empty() {
        command.arg(binary);
    }
    command
        .arg("daemon")
        .args(&options.arguments)
        .envs(environment(directory, options))
        .env("NOTIFY_SOCKET", directory.join("notify.sock"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    command.spawn().map_err(|source| AgentError::Start { program, source })
}
