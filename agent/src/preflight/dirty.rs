//! What has to be written before a freeze, and may take longer than pre-script has.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use quiesced_core::block::DeviceKind;
use quiesced_core::finding::Finding;
use quiesced_core::plan::{Plan, PlannedFilesystem};
use quiesced_core::problem::Problem;

/// What a gp3 volume writes in a second when nothing more was paid for: 125 MiB
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>).
const BASELINE: u64 = 125 * 1024 * 1024;

/// The fields that count what is dirty, and what is being written: for one disk in debugfs (`bdi_debug_stats_show` in
/// mm/backing-dev.c), and for all in `/proc/meminfo` (proc_meminfo(5)).
const OF_ONE: [&str; 2] = ["BdiReclaimable:", "BdiWriteback:"];
const OF_ALL: [&str; 2] = ["Dirty:", "Writeback:"];

/// Looks at each disk that targets lie on; where debugfs is not to be read, at all memory.
pub(super) fn look(plan: &Plan, budget: Duration, root: &Path) -> Vec<Finding> {
    let mut disks = BTreeMap::new();
    for planned in &plan.filesystems {
        for disk in disks_of(planned) {
            let stats = fs::read_to_string(root.join("sys/kernel/debug/bdi").join(&disk).join("stats"));
            let Ok(stats) = stats else { return of_all(budget, root).into_iter().collect() };
            disks
                .entry(disk)
                .or_insert_with(|| (planned.mount_point.display().to_string(), unwritten(&stats, OF_ONE)));
        }
    }
    disks
        .into_values()
        .filter_map(|(place, bytes)| too_dirty(&format!("of {place}"), bytes, budget))
        .collect()
}

/// The kernel counts for whole disks, by their number.
fn disks_of(planned: &PlannedFilesystem) -> Vec<String> {
    let whole = |device: &quiesced_core::block::BlockDevice| match device.kind {
        DeviceKind::Partition => {
            device.below.first().and_then(|name| planned.stack.device(name)).map(|disk| disk.number)
        }
        _ => Some(device.number),
    };
    planned.stack.topmost().filter_map(whole).map(|number| number.to_string()).collect()
}

fn of_all(budget: Duration, root: &Path) -> Option<Finding> {
    // A host without the file is made up; the kernel always has it.
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    too_dirty("of all filesystems together", unwritten(&meminfo, OF_ALL), budget)
}

fn too_dirty(whose: &str, bytes: u64, budget: Duration) -> Option<Finding> {
    let takes = Duration::from_secs(bytes / BASELINE);
    let message = || {
        format!(
            "{} MiB {whose} are in memory only: a gp3 volume at its baseline takes {} to write them, and pre-script is given \
             up after {}",
            bytes / (1024 * 1024),
            humantime::format_duration(takes),
            humantime::format_duration(budget)
        )
    };
    let hint = "let the kernel write earlier: `sysctl vm.dirty_background_bytes=67108864`";
    (takes > budget).then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

/// The sum of some fields, each in kB, in bytes.
fn unwritten(table: &str, fields: [&str; 2]) -> u64 {
    let kilobytes = |line: &str| -> Option<u64> {
        let value = fields.iter().find_map(|name| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse().ok()
    };
    table.lines().filter_map(kilobytes).fold(0, u64::saturating_add).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use quiesced_core::block::{BlockDevice, DeviceNumber, Stack};
    use quiesced_core::superblock::Superblock;

    use super::*;

    #[test]
    fn what_is_dirty_and_what_is_being_written_are_added() {
        let meminfo = "MemTotal: 1 kB\nDirty:   1000 kB\nWriteback:  24 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(unwritten(meminfo, OF_ALL), 1024 * 1024);
        let stats = "BdiWriteback:   24 kB\nBdiReclaimable:  1000 kB\nBdiDirtied:   7777 kB\n";
        assert_eq!(unwritten(stats, OF_ONE), 1024 * 1024);
    }

    #[test]
    fn only_what_a_baseline_volume_cannot_write_in_time_is_told() {
        let budget = Duration::from_secs(8);
        assert_eq!(too_dirty("of /data", 8 * BASELINE, budget), None);
        let found = too_dirty("of /data", 9 * BASELINE, budget).unwrap();
        assert!(found.problem.message.starts_with("1125 MiB of /data "), "{found:?}");
    }

    #[test]
    fn the_disk_of_a_target_counts_and_all_memory_only_where_that_is_not_to_be_read() {
        let device = |name: &str, minor, kind, below: &[&str]| BlockDevice {
            name: name.into(),
            number: DeviceNumber { major: 259, minor },
            kind,
            below: below.iter().map(ToString::to_string).collect(),
        };
        let devices = vec![
            device("nvme1n1p1", 5, DeviceKind::Partition, &["nvme1n1"]),
            device("nvme1n1", 4, DeviceKind::Disk, &[]),
        ];
        let planned = PlannedFilesystem {
            mount_point: "/data".into(),
            superblock: Superblock { major: 259, minor: 5 },
            fs_type: "xfs".into(),
            rank: 0,
            also_at: vec![],
            data: vec![],
            stack: Stack { devices, volumes: vec![] },
        };
        let plan = Plan { filesystems: vec![planned], ..Plan::default() };
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let told = || {
            let found = look(&plan, Duration::from_secs(8), root.path());
            found.into_iter().map(|finding| finding.problem.message).collect::<Vec<_>>()
        };
        write("proc/meminfo", "Dirty: 99999999 kB\n");
        assert!(told()[0].contains(" of all filesystems together "), "{:?}", told());
        write("sys/kernel/debug/bdi/259:4/stats", "BdiReclaimable: 1000 kB\n");
        assert_eq!(told(), [""; 0], "what is dirty elsewhere is not this session's to write");
        write("sys/kernel/debug/bdi/259:4/stats", "BdiReclaimable: 99999999 kB\n");
        assert!(told()[0].contains(" of /data "), "{:?}", told());
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "((Dirty:|Writeback:)? *[0-9]* *(kB)?\n)*") {
            let _bytes = unwritten(&text, OF_ALL);
        }
    }
}
