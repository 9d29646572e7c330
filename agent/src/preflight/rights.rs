//! May this process do what a session needs? It speaks for itself: `check` for the shell it was called from, a dry-run and
//! a session for the service, with its user, its capabilities and its domain.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;
use quiesced_freezer::rights;

/// `CAP_IPC_LOCK` (capabilities(7)): memory may be locked without a limit.
const IPC_LOCK: u32 = 14;

/// The guardian locks all of itself: its program, its stacks, and what it allocates. It maps some 20 MiB.
const GUARDIAN: u64 = 64 * 1024 * 1024;

pub(super) fn look(runtime_dir: &Path) -> Vec<Finding> {
    freeze(runtime_dir).into_iter().chain(lock()).collect()
}

fn freeze(runtime_dir: &Path) -> Option<Finding> {
    let existing = runtime_dir.ancestors().find(|path| path.exists())?;
    // What cannot be opened is told where the journal is looked for.
    let errno = rights::refusal(existing).ok().flatten()?;
    let problem = Problem::new(format!("this process may not freeze filesystems: {errno}"));
    let hint = "run it as root, and give the service CAP_SYS_ADMIN; if it has that, look for denials in \
                `journalctl -t audit` (SELinux, AppArmor)";
    Some(Finding::error(problem.with_hint(Some(hint))))
}

fn lock() -> Option<Finding> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    if effective_capabilities(&status)? & (1 << IPC_LOCK) != 0 {
        return None;
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    let message = || {
        format!("the guardian may lock only {} KiB of memory, and needs {}", limit / 1024, GUARDIAN / 1024)
    };
    let hint = "give the service CAP_IPC_LOCK, or `LimitMEMLOCK=infinity` with `systemctl edit quiesced`";
    (limit < GUARDIAN).then(|| Finding::error(Problem::new(message()).with_hint(Some(hint))))
}

/// `CapEff` of `/proc/PID/status` (proc_pid_status(5)).
fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_line_that_has_the_effective_ones() {
        let status =
            "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000004000\nCapBnd:\t000001ffffffffff\n";
        assert_eq!(effective_capabilities(status), Some(1 << IPC_LOCK));
        assert_eq!(effective_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn root_on_a_host_lacks_nothing() {
        if nix::unistd::geteuid().is_root() {
            assert_eq!(look(Path::new("/dev/shm/quiesced")), []);
        }
    }
}
