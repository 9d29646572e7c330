//! The last resort: a process in a session of its own that thaws a bed, whatever has become of the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::BedError;
use crate::claim::Process;

/// Mount points come from the kernel when the time is up, so later ones are thawed too. Each thaw has a process of its
/// own: one that hangs keeps no other back. It is done twice, because a freeze that was stuck behind another
/// filesystem completes when that one is thawed.
const SCRIPT: &str = r#"
sleep "$1"
for round in 1 2; do
    while read -r _ _ _ _ mount_point _; do
        mount_point=$(printf '%b' "$(printf '%s' "$mount_point" | sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')")
        case $mount_point in
        "$0"/*) fsfreeze --unfreeze "$mount_point" & ;;
        esac
    done < /proc/self/mountinfo
    sleep 2
done
"#;

/// An armed thaw; disarmed on drop.
#[derive(Debug)]
pub struct Failsafe {
    child: Child,
    process: Process,
}

impl Failsafe {
    /// Thaws every filesystem mounted below `bed` after `limit`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn arm(bed: &Path, limit: Duration) -> Result<Self, BedError> {
        let failed = |source| BedError::Failsafe { bed: PathBuf::from(bed), source };
        // setsid(1) replaces itself by the shell, because a fresh child leads no group: the pid stays the same.
        let child = Command::new("setsid")
            .args(["sh", "-c", SCRIPT])
            .arg(bed)
            .arg(limit.as_secs_f64().to_string())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let process = i32::try_from(child.id()).ok().and_then(Process::of);
        let missing = || failed(std::io::Error::from(std::io::ErrorKind::NotFound));
        Ok(Self { child, process: process.ok_or_else(missing)? })
    }

    pub(super) fn process(&self) -> Process {
        self.process
    }
}

impl Drop for Failsafe {
    fn drop(&mut self) {
        // Its whole group, for the sleep(1) that it waits for. All fail only when it has ended by itself.
        let _ = killpg(Pid::from_raw(self.process.pid()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
