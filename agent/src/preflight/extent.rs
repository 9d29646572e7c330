//! Is what will be held what somebody wanted to hold?

use std::path::{Path, PathBuf};

use quiesced_core::finding::Finding;
use quiesced_core::plan::{Outside, Plan, PlannedHook};
use quiesced_core::problem::Problem;
use quiesced_topology::{Mounts, boot_mounts};

pub(super) fn look(plan: &Plan, root: &Path) -> Vec<Finding> {
    let mut findings = not_mounted(plan, &missing(root));
    findings.extend(plan.outside.iter().map(not_frozen));
    findings.extend(plan.hooks.iter().filter_map(without_data));
    if plan.filesystems.is_empty() {
        let problem = Problem::new("no filesystem will be frozen, so a snapshot is crash-consistent at best");
        let hint = "see why with `quiesced plan`, or name mount points in `filesystems` of the group";
        findings.push(Finding::warning(problem.with_hint(Some(hint))));
    }
    findings
}

/// The mount points of fstab where nothing is mounted now.
fn missing(root: &Path) -> Vec<PathBuf> {
    // The survey has read the same table a moment ago.
    let Ok(mounts) = Mounts::read(root) else { return Vec::new() };
    let is_missing = |point: &PathBuf| mounts.of(point).is_none_or(|mount| mount.mount_point != *point);
    boot_mounts(root).into_iter().filter(is_missing).collect()
}

/// What lies in the directory below a mount that has failed is not the data that was meant.
fn not_mounted(plan: &Plan, missing: &[PathBuf]) -> Vec<Finding> {
    let data = plan.hooks.iter().flat_map(|hook| hook.data.iter().map(move |data| (hook, &data.path)));
    let warn = |(hook, path): (&PlannedHook, &PathBuf)| {
        let point = missing.iter().find(|point| path.starts_with(point))?.display();
        let (path, name) = (path.display(), &hook.name);
        let message = format!(
            "{path} of hook {name} lies below {point}, where nothing is mounted, though /etc/fstab says so"
        );
        Some(Finding::warning(Problem::new(message).with_hint(Some(format!("mount {point}")))))
    };
    data.filter_map(warn).collect()
}

fn not_frozen(outside: &Outside) -> Finding {
    let (path, hook, reason) = (outside.path.display(), &outside.hook, &outside.reason);
    let message = format!("{path} of hook {hook} is quiesced but not frozen: {reason}");
    let hint = "a snapshot is then crash-consistent at best, though the exit codes are 0; is something not mounted? `quiesced plan`";
    Finding::warning(Problem::new(message).with_hint(Some(hint)))
}

fn without_data(hook: &PlannedHook) -> Option<Finding> {
    let message =
        || format!("hook {} names no data, so a snapshot is filesystem-consistent at best", hook.name);
    let hint = "name the files or directories that it stores in `data`";
    hook.data.is_empty().then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

#[cfg(test)]
mod tests {
    use quiesced_core::plan::DataPath;

    use super::*;

    fn plan(data: &[&str]) -> Plan {
        let data = data.iter().map(|path| DataPath { path: path.into(), what: "data".into() }).collect();
        Plan { hooks: vec![PlannedHook { name: "ledger".into(), after: vec![], data }], ..Plan::default() }
    }

    #[test]
    fn data_below_a_mount_point_where_nothing_is_mounted_is_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("etc/fstab", "/dev/b /srv/ledger ext4 rw\n/dev/c /srv/queue ext4 rw\n");
        let mounts = "21 1 8:1 / / rw - ext4 /dev/a rw\n30 21 8:3 / /srv/queue rw - ext4 /dev/c rw\n";
        write("proc/self/mountinfo", mounts);
        let found =
            not_mounted(&plan(&["/srv/ledger/l.db", "/srv/queue/q", "/srv/other"]), &missing(root.path()));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].problem.message.starts_with("/srv/ledger/l.db of hook ledger lies below /srv/ledger,")
        );
    }

    #[test]
    fn a_hook_without_data_is_told() {
        assert!(without_data(&plan(&[]).hooks[0]).is_some());
        assert!(without_data(&plan(&["/srv"]).hooks[0]).is_none());
    }
}
