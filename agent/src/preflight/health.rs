//! Errors that a filesystem has already met.

use std::fs;
use std::path::Path;

use quiesced_core::finding::Finding;
use quiesced_core::plan::{Plan, PlannedFilesystem};
use quiesced_core::problem::Problem;
use quiesced_core::superblock::Superblock;

pub(super) fn look(plan: &Plan, root: &Path) -> Vec<Finding> {
    let errors = |planned: &PlannedFilesystem| met_errors(&planned.mount_point, planned.superblock, root);
    plan.filesystems.iter().filter_map(errors).collect()
}

/// ext4 counts its errors, also those before the mount (Documentation/ABI/testing/sysfs-fs-ext4).
fn met_errors(mount_point: &Path, superblock: Superblock, root: &Path) -> Option<Finding> {
    let link = fs::read_link(root.join("sys/dev/block").join(superblock.to_string())).ok()?;
    let counter = root.join("sys/fs/ext4").join(link.file_name()?).join("errors_count");
    let count: u64 = fs::read_to_string(counter).ok()?.trim().parse().ok()?;
    let point = mount_point.display();
    let message = format!("{point} has met {count} error(s): what a snapshot keeps of it may be damaged");
    let hint = format!("look at `dmesg`, unmount it, and run `e2fsck -f` on the device of {point}");
    (count > 0).then(|| Finding::warning(Problem::new(message).with_hint(Some(hint))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_that_has_met_errors_is_named() {
        let root = tempfile::tempdir().unwrap();
        let block = root.path().join("sys/dev/block");
        let ext4 = root.path().join("sys/fs/ext4/nvme1n1");
        fs::create_dir_all(&block).unwrap();
        fs::create_dir_all(&ext4).unwrap();
        std::os::unix::fs::symlink("../../devices/pci/nvme1/nvme1n1", block.join("259:1")).unwrap();
        let errors = || met_errors(Path::new("/data"), Superblock { major: 259, minor: 1 }, root.path());
        fs::write(ext4.join("errors_count"), "0\n").unwrap();
        assert_eq!(errors(), None);
        fs::write(ext4.join("errors_count"), "3\n").unwrap();
        let found = errors().unwrap();
        assert!(found.problem.message.starts_with("/data has met 3 error(s)"), "{found:?}");
    }
}
