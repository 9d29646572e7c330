//! What the end-to-end tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary is a crate that uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quiesced_bed::agent::{Agent, AgentOptions, CliOutput};
use serde_json::Value;

/// The promise is two seconds; the rest is for a busy machine.
pub const SOON: Duration = Duration::from_secs(6);

/// The binary that is tested: that of this build, or the one that `QUIESCED_BINARY` names, such as a package's.
pub fn binary() -> &'static Path {
    static BINARY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BINARY.get_or_init(|| {
        let named = std::env::var_os("QUIESCED_BINARY").map(PathBuf::from);
        named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_quiesced")))
    })
}

pub fn start(options: AgentOptions) -> Agent {
    Agent::start(binary(), options).unwrap_or_else(|error| panic!("{error}"))
}

pub fn id(digit: u8) -> String {
    format!("00000000-0000-4000-8000-{digit:012}")
}

/// A session of the default group that holds these filesystems, and no hook.
pub fn freezing(mount_points: &[&Path]) -> String {
    let list: Vec<String> =
        mount_points.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
    format!("[group.default]\nfilesystems = [{}]\n", list.join(", "))
}

pub fn expect(code: i32, output: &CliOutput) {
    assert_eq!(output.code, Some(code), "stdout:\n{}\nstderr:\n{}", output.stdout, output.stderr);
}

/// What `status` knows.
pub fn status(agent: &Agent) -> Value {
    let output = agent.cli(["status", "--json"]).unwrap();
    expect(0, &output);
    serde_json::from_str(&output.stdout).unwrap()
}

/// The report of the session that ended last.
pub fn last(agent: &Agent) -> Value {
    status(agent)["last"].clone()
}

pub fn is_idle(agent: &Agent) -> bool {
    status(agent)["session"].is_null()
}

pub fn wait_until_idle(agent: &Agent) {
    quiesced_bed::wait_until("no session is open", SOON, || is_idle(agent)).unwrap();
}

pub fn frozen(mount_point: &Path) -> bool {
    quiesced_bed::frozen(mount_point).unwrap()
}

pub fn wait_until_thawed(mount_points: &[&Path]) {
    quiesced_bed::wait_until("everything is thawed", SOON, || !mount_points.iter().any(|path| frozen(path)))
        .unwrap();
}

/// Writes a script that hooks can run, and returns its path.
pub fn script(directory: &Path, name: &str, body: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// An exec hook that runs `quiesce` as a shell script; resuming counts in the file `resumed`.
pub struct ExecHook {
    directory: tempfile::TempDir,
}

impl ExecHook {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The configuration of a hook named `name`.
    pub fn table(&self, name: &str, quiesce: &str, more: &str) -> String {
        self.without_proof(name, quiesce, &format!("verify = [\"/bin/true\"]\n{more}"))
    }

    /// The configuration of a hook that cannot show that it held.
    pub fn without_proof(&self, name: &str, quiesce: &str, more: &str) -> String {
        let quiesce = script(self.directory(), &format!("{name}-quiesce"), quiesce);
        let resumed = self.directory().join("resumed");
        let resume = format!("echo {name} >> {}", resumed.display());
        let resume = script(self.directory(), &format!("{name}-resume"), &resume);
        format!("[hook.{name}.exec]\nquiesce = [{quiesce:?}]\nresume = [{resume:?}]\n{more}\n")
    }

    /// How often anything was resumed.
    pub fn resumed(&self) -> usize {
        std::fs::read_to_string(self.directory().join("resumed")).unwrap_or_default().lines().count()
    }
}

/// A client of a server's, which ends with the test.
pub struct Client(Child);

impl Client {
    /// Starts it; what it prints is nobody's.
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A made-up host: /data and /logs are ext4 and xfs filesystems of their own, and so is a folder that hooks can look at.
pub struct Simulated {
    directory: tempfile::TempDir,
}

impl Simulated {
    pub fn new(faults: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let proc = directory.path().join("proc/self");
        std::fs::create_dir_all(&proc).unwrap();
        let files = directory.path().canonicalize().unwrap().join("files");
        std::fs::create_dir(&files).unwrap();
        let mounts = format!(
            "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
             30 21 259:1 / /data rw,relatime - ext4 /dev/nvme1n1 rw\n\
             31 21 259:2 / /logs rw,relatime - xfs /dev/nvme2n1 rw\n\
             32 21 259:3 / {} rw,relatime - ext4 /dev/nvme3n1 rw\n",
            files.display()
        );
        std::fs::write(proc.join("mountinfo"), mounts).unwrap();
        std::fs::write(directory.path().join("proc/swaps"), "Filename\tType\tSize\tUsed\tPriority\n")
            .unwrap();
        std::fs::write(directory.path().join("faults.json"), faults.to_string()).unwrap();
        Self { directory }
    }

    /// The root of the made-up host.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What a hook's `data` can name, and where that is mounted.
    pub fn files(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("files")
    }

    /// The key of a hook whose data lies there.
    pub fn data(&self) -> String {
        format!("data = [{:?}]\n", self.files())
    }

    pub fn set_faults(&self, faults: &Value) {
        std::fs::write(self.directory.path().join("faults.json"), faults.to_string()).unwrap();
    }

    pub fn options(&self, more: &str) -> AgentOptions {
        let (files, more) = (self.files(), more.to_owned());
        let mounts = [Path::new("/data"), Path::new("/logs"), files.as_path()];
        let held = if more.contains(files.to_str().unwrap()) { &mounts[..] } else { &mounts[..2] };
        let config = format!("{more}\n{}", freezing(held));
        AgentOptions::configured(&config).variable("QUIESCED_SIMULATE", self.directory.path())
    }
}
