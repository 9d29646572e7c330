//! A booted Debian in a container: a real systemd, a real dpkg, and volumes of the host's bed bound into it.
//!
//! The container shares the kernel, so what is frozen inside is frozen, and seen from outside. Its root directory is
//! made by `scripts/install-boot-root`; what is written goes to a memory filesystem above it and is gone with the
//! container.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::agent::{AgentError, CliOutput, RunningCli};
use crate::claim::{Process, children};
use crate::observe::{NeverHappened, wait_until};
use crate::root::require_root;
use crate::volumes::Bed;

/// It takes three seconds on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// systemd ends what runs in the container; what sleeps on a frozen filesystem is what it waits for.
const HALT_LIMIT: Duration = Duration::from_secs(15);

/// Why a machine is not there.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The container could not be started.
    #[error("cannot start systemd-nspawn: {0}")]
    Start(io::Error),
    /// Its process could not be noted for the sweeper.
    #[error("cannot note the container's process: {0}")]
    Claim(io::Error),
    /// It did not boot.
    #[error("{waited}; the console:\n{console}")]
    Boot {
        /// What was waited for.
        waited: NeverHappened,
        /// What the system printed.
        console: String,
    },
}

/// The directory with the root that is booted.
fn boot_root() -> PathBuf {
    let directory = std::env::var_os("QUIESCED_BOOT_ROOT").map(PathBuf::from);
    directory.unwrap_or_else(|| PathBuf::from("/var/cache/quiesced-boot")).join("root")
}

/// Whether a system can be booted here. A test that needs it returns at once when this is false; the reason is printed.
#[must_use]
pub fn require_boot_root(what: &str) -> bool {
    if !require_root(what) {
        return false;
    }
    let is_there = boot_root().join("usr/lib/systemd/systemd").exists();
    if !is_there {
        eprintln!("could not run: {what} needs a system to boot, which scripts/install-boot-root makes");
    }
    is_there
}

/// A booted system. Halted on drop.
#[derive(Debug)]
pub struct Machine {
    nspawn: Child,
    init: Process,
}

impl Machine {
    /// Boots a system in which each first path of `binds` can be used at the second. One that does not come up on a busy
    /// machine is tried once more: whether systemd boots is not what is tested.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn boot(bed: &Bed, binds: &[(&Path, &str)]) -> Result<Self, MachineError> {
        Self::try_boot(bed, binds).or_else(|error| {
            eprintln!("warning: {error}; it is tried once more");
            Self::try_boot(bed, binds)
        })
    }

    fn try_boot(bed: &Bed, binds: &[(&Path, &str)]) -> Result<Self, MachineError> {
        let console = bed.directory().join("console");
        let mut nspawn = nspawn(&console, binds).map_err(MachineError::Start)?;
        let pid = i32::try_from(nspawn.id()).unwrap_or_default();
        let init = || children(pid).first().and_then(|&pid| Process::of(pid));
        let booted = wait_until("the system has a first process", BOOT_LIMIT, || init().is_some());
        let Some(init) = init() else {
            // Dropping the child would leave it running.
            let _ = nspawn.kill();
            let waited = booted.err().unwrap_or_else(|| NeverHappened::new("a first process", BOOT_LIMIT));
            return Err(MachineError::Boot { waited, console: read(&console) });
        };
        let machine = Self { nspawn, init };
        for process in [Process::of(pid), Some(init)].into_iter().flatten() {
            bed.claim().note_process(process).map_err(MachineError::Claim)?;
        }
        wait_until("systemd has booted", BOOT_LIMIT, || machine.is_running())
            .map_err(|waited| MachineError::Boot { waited, console: read(&console) + &machine.troubles() })?;
        Ok(machine)
    }

    fn is_running(&self) -> bool {
        self.run(["systemctl", "is-system-running"]).is_ok_and(|output| output.stdout.trim() == "running")
    }

    /// What systemd still does, and what has failed.
    fn troubles(&self) -> String {
        let command = "systemctl is-system-running; systemctl list-jobs; systemctl --failed --plain";
        match self.run(["sh", "-c", command]) {
            Ok(output) => format!("{}{}", output.stdout, output.stderr),
            Err(error) => error.to_string(),
        }
    }

    /// Runs a command in the system, as root, to its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, line: impl IntoIterator<Item = S>) -> Result<CliOutput, AgentError> {
        self.start(line)?.wait()
    }

    /// Starts a command in the system, as root.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        &self,
        line: impl IntoIterator<Item = S>,
    ) -> Result<RunningCli, AgentError> {
        // Its own environment: the host's PATH is not the system's.
        let mut command = Command::new("nsenter");
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C").arg("--target").arg(self.init.pid().to_string()).args(["--all", "--"]);
        command.args(line);
        RunningCli::start(command)
    }

    /// A path of the system, as the host reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init.pid())).join(path.trim_start_matches('/'))
    }

    /// The main process of a unit, as the system numbers it; none when the unit is not active.
    pub fn main_pid(&self, unit: &str) -> Option<i32> {
        let output = self.run(["systemctl", "show", "--property=MainPID", "--value", unit]).ok()?;
        output.stdout.trim().parse().ok().filter(|&pid| pid != 0)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(nspawn) = i32::try_from(self.nspawn.id()).ok().and_then(Process::of) {
            nspawn.signal(Signal::SIGTERM);
        }
        let halted = wait_until("the system halts", HALT_LIMIT, || {
            matches!(self.nspawn.try_wait(), Ok(Some(_)) | Err(_))
        });
        if let Err(error) = halted {
            eprintln!("warning: {error}; it is killed");
            // The end of its first process is the end of the whole system (pid_namespaces(7)).
            self.init.signal(Signal::SIGKILL);
            let _ = self.nspawn.kill();
            let _ = self.nspawn.wait();
        }
    }
}

fn nspawn(console: &Path, binds: &[(&Path, &str)]) -> io::Result<Child> {
    let console = fs::File::create(console)?;
    let bind = |(from, to): &(&Path, &str)| {
        let mut option = OsString::from("--bind=");
        option.push(from);
        option.push(format!(":{to}"));
        option
    };
    Command::new("systemd-nspawn")
        // Without it, the system looks for the first form of control groups, and hangs where there is none.
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .arg("--quiet")
        .arg(format!("--directory={}", boot_root().display()))
        // No machined and no scope: the host of a test may have no systemd of its own.
        .args(["--volatile=overlay", "--register=no", "--keep-unit", "--private-network", "--capability=all"])
        .args(["--console=read-only", "--boot"])
        .args(binds.iter().map(bind))
        // Timers that have never run start at once, and the system counts as booted only after what they do.
        .args(["systemd.log_target=console", "systemd.mask=timers.target"])
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
}

fn read(console: &Path) -> String {
    String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned()
}
