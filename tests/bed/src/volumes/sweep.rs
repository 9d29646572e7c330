//! Removes a bed, frozen or not, its own or that of a killed process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use super::lock::Lock;
use super::{BedError, kernel};
use crate::claim;

/// Where all beds lie.
pub const BEDS: &str = "/var/tmp/quiesced-bed";
/// Where the directories of all agents under test lie: on a tmpfs, as the agent demands it.
pub const AGENTS: &str = "/dev/shm/quiesced-bed";

/// A device that was used a moment ago is busy for a moment more.
const ROUNDS: u32 = 150;
const PAUSE: Duration = Duration::from_millis(20);
/// How many rounds pass before everything is thawed once more.
const THAW_EVERY: u32 = 25;
/// What is still attached in this round is not just busy: something hidden may hold it. After a thaw of what is seen.
const HIDDEN: u32 = 2 * THAW_EVERY;

/// Removes what killed processes left. Waits for its turn, as a bed does, so nobody may call it who has one.
///
/// # Errors
/// When something of a bed cannot be removed.
pub fn sweep_leftovers() -> Result<(), BedError> {
    let _lock = Lock::take(Path::new(BEDS))?;
    abandoned()
}

/// Agents go first, so that nobody freezes any more, then the beds. The caller holds the lock: otherwise a loop device
/// that one sweeper detached could be somebody else's when the other comes to it.
pub(super) fn abandoned() -> Result<(), BedError> {
    for claim in claim::abandoned(Path::new(AGENTS)) {
        claim::kill_noted(&claim);
        fs::remove_dir_all(&claim).map_err(|source| BedError::file(&claim, source))?;
    }
    for bed in claim::abandoned(Path::new(BEDS)) {
        sweep(&bed)?;
    }
    Ok(())
}

/// Kills what was noted, thaws, unmounts and detaches everything below `bed`, then deletes it. Every step is tried,
/// whatever became of the others.
///
/// # Errors
/// When something is left.
pub fn sweep(bed: &Path) -> Result<(), BedError> {
    let read = |source| BedError::file(bed, source);
    claim::kill_noted(bed);
    thaw_all(&kernel::mounts_below(bed).map_err(read)?);
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        left = release_once(bed).map_err(read)?;
        if left.is_empty() {
            break;
        }
        // A freeze that was stuck may complete at any time. Unmounted while frozen, it would be out of reach.
        if round % THAW_EVERY == THAW_EVERY - 1 {
            thaw_all(&kernel::mounts_below(bed).map_err(read)?);
        }
        if round == HIDDEN {
            thaw_hidden(bed).map_err(read)?;
        }
        std::thread::sleep(PAUSE);
    }
    // Deleting files through a mount that is still there would destroy somebody's data.
    if left.is_empty() {
        return fs::remove_dir_all(bed).map_err(read);
    }
    Err(BedError::Left { bed: bed.to_path_buf(), left })
}

/// Thaws in the order of mounting, so that what carries another filesystem goes first; each in a process of its own,
/// because a thaw writes and so can hang. Twice: a freeze that was stuck completes after the first round.
fn thaw_all(mounts: &[PathBuf]) {
    for _ in 0..2 {
        let mut thaws: Vec<_> = mounts.iter().filter_map(|mount| start_thaw(mount)).collect();
        for _ in 0..100 {
            thaws.retain_mut(|thaw| matches!(thaw.try_wait(), Ok(None)));
            if thaws.is_empty() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// A filesystem that was unmounted while it was frozen lives on behind its device, because a freeze holds a reference
/// to it (fs/super.c, `freeze_super`), and no path leads there. Mounted again it is the same superblock, so it can be
/// thawed. A later round unmounts it. What cannot be mounted is not hidden, and is reported when it stays.
fn thaw_hidden(bed: &Path) -> std::io::Result<()> {
    let mut found = Vec::new();
    for device in kernel::loops_below(bed)? {
        let mount_point = bed.join("hidden").join(device.file_name().unwrap_or_default());
        if kernel::mount(&device, &mount_point, &[]).is_ok() {
            found.push(mount_point);
        }
    }
    thaw_all(&found);
    Ok(())
}

/// A filesystem that is not frozen answers EINVAL: that is no failure here, so nothing is said.
fn start_thaw(mount: &Path) -> Option<std::process::Child> {
    let mut command = Command::new("fsfreeze");
    command.arg("--unfreeze").arg(mount).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

/// One try at every mount, the deepest first, and every device. Gives back what is still there. What carries
/// another goes away only in a later round. Never lazily: what is detached from the tree while it is in use is lost to
/// every later sweep, and so are the devices whose files lie on it.
fn release_once(bed: &Path) -> std::io::Result<Vec<String>> {
    let mut left = Vec::new();
    for mount in kernel::mounts_below(bed)?.iter().rev() {
        if let Err(errno) = umount2(mount, MntFlags::UMOUNT_NOFOLLOW) {
            left.push(format!("{}: {errno}", mount.display()));
        }
    }
    for device in kernel::loops_below(bed)? {
        if let Err(error) = kernel::detach(&device) {
            left.push(error.to_string());
        }
    }
    left.extend(kernel::loops_below(bed)?.iter().map(|device| format!("{} is attached", device.display())));
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::super::{Bed, Fs, MIB};
    use super::*;

    #[test]
    fn the_bed_of_a_running_test_is_not_swept() {
        if !crate::require_root("a loop volume") {
            return;
        }
        let bed = Bed::new().unwrap();
        let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
        abandoned().unwrap();
        fs::write(volume.mount_point.join("file"), "still there").unwrap();
    }
}
