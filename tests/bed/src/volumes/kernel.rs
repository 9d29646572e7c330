//! The steps a bed is made of: loop devices, filesystems, mounts, freezes; and the kernel's own list of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use super::{BedError, Fs};
use crate::tool::{Tool, ToolError};

/// Direct I/O is what makes a snapshot of several images one moment in time: without it the pool's page cache holds
/// what the volume believes to be on disk.
pub(super) fn attach(image: &Path) -> Result<PathBuf, ToolError> {
    let device = Tool::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(image).run()?;
    Ok(PathBuf::from(device))
}

pub(super) fn detach(device: &Path) -> Result<(), ToolError> {
    Tool::new("losetup").arg("--detach").arg(device).run().map(drop)
}

pub(super) fn make_filesystem(device: &Path, fs: Fs) -> Result<(), ToolError> {
    let tool = match fs {
        // Without lazy initialisation no kernel thread goes on writing after mkfs.
        Fs::Ext4 => Tool::new("mkfs.ext4").args([
            "-q",
            "-F",
            "-E",
            "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
        ]),
        Fs::Xfs => Tool::new("mkfs.xfs").args(["-q", "-f", "-K"]),
        Fs::Btrfs => Tool::new("mkfs.btrfs").args(["-q", "-f", "--nodiscard"]),
    };
    tool.arg(device).run().map(drop)
}

pub(super) fn mount(device: &Path, mount_point: &Path, options: &[&str]) -> Result<(), BedError> {
    fs::create_dir_all(mount_point).map_err(|source| BedError::file(mount_point, source))?;
    let tool = Tool::new("mount").args(options).arg(device).arg(mount_point);
    Ok(tool.run().map(drop)?)
}

/// Unmounts, with patience: a process that has just ended may hold the mount for a moment more.
pub(super) fn unmount(mount_point: &Path) -> Result<(), BedError> {
    let mut result = Ok(());
    for _ in 0..100 {
        result = umount2(mount_point, MntFlags::UMOUNT_NOFOLLOW);
        if result != Err(Errno::EBUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    result.map_err(|errno| BedError::Unmount {
        path: mount_point.to_path_buf(),
        source: io::Error::from(errno),
    })
}

/// Freezes a filesystem, as another tool than the agent would.
///
/// # Errors
/// When fsfreeze(8) fails, for example because it is frozen already.
pub fn freeze(mount_point: &Path) -> Result<(), ToolError> {
    Tool::new("fsfreeze").arg("--freeze").arg(mount_point).run().map(drop)
}

/// Thaws a filesystem.
///
/// # Errors
/// When fsfreeze(8) fails, for example because it is not frozen.
pub fn thaw(mount_point: &Path) -> Result<(), ToolError> {
    Tool::new("fsfreeze").arg("--unfreeze").arg(mount_point).run().map(drop)
}

/// The mount points below `directory`, in the order in which they were mounted.
pub(super) fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let mount_points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    Ok(mount_points.map(PathBuf::from).filter(|path| path.starts_with(directory)).collect())
}

/// The loop devices whose file lies below `directory`.
pub(super) fn loops_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/block")?.flatten() {
        let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        if Path::new(file.trim_end()).starts_with(directory) {
            devices.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    Ok(devices)
}

/// Mount points are written with `\040` for a space, `\011` tab, `\012` newline, `\134` backslash
/// (proc_pid_mountinfo(5)).
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_back() {
        assert_eq!(unescape(r"/mnt/two\040words"), "/mnt/two words");
    }

    #[test]
    fn an_escaped_backslash_before_digits_stays_a_backslash() {
        assert_eq!(unescape(r"/mnt/a\134040"), r"/mnt/a\040");
    }
}
