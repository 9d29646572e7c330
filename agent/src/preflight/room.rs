//! Is there room for what a session writes: its report, and what hooks keep for a restore?

use std::path::Path;

use nix::sys::statvfs::statvfs;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

/// A report has some ten kilobytes for each hook and filesystem, and 288 of them are kept.
const NEEDED: u64 = 16 * 1024 * 1024;

/// Looks at the filesystem of the state directory, which is the agent's own and no target.
pub(super) fn look(state_dir: &Path) -> Option<Finding> {
    let existing = state_dir.ancestors().find(|path| path.exists())?;
    let free = statvfs(existing).ok().map(|room| room.blocks_available() * room.fragment_size())?;
    let message = || {
        let (place, free, needed) = (existing.display(), free / 1024, NEEDED / 1024);
        format!("{place} has {free} KiB left for reports and what a restore needs; {needed} KiB are enough")
    };
    let hint = format!("df -h {}", existing.display());
    (free < NEEDED).then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_with_room_is_not_told_though_its_directory_is_yet_to_be_made() {
        assert_eq!(look(&std::env::temp_dir().join("quiesced/no/such")), None);
        assert!(look(Path::new("/proc/quiesced")).is_some(), "/proc has no room at all");
    }
}
