//! The system calls that stand behind a freeze.
#![allow(unsafe_code, reason = "the two ioctls have no safe wrapper anywhere")]

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

mod ioctl {
    // linux/fs.h: FIFREEZE is _IOWR('X', 119, int), FITHAW is _IOWR('X', 120, int). The kernel ignores the argument.
    nix::ioctl_readwrite!(fifreeze, b'X', 119, i32);
    nix::ioctl_readwrite!(fithaw, b'X', 120, i32);
}

/// Freezes the filesystem that `fd` lies on: dirty data is written out, and every writer sleeps until a thaw.
///
/// May sleep uninterruptibly for as long as the device takes; SIGKILL does not end it.
///
/// # Errors
/// `EBUSY` when it is frozen already, `EOPNOTSUPP` when its type cannot be frozen, `EPERM` without `CAP_SYS_ADMIN`.
pub fn freeze(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut ignored = 0;
    // SAFETY: the descriptor is open for the whole call, and the argument points to an int that outlives it.
    unsafe { ioctl::fifreeze(fd.as_raw_fd(), &raw mut ignored) }.map(drop)
}

/// Thaws the filesystem that `fd` lies on.
///
/// # Errors
/// `EINVAL` when it is not frozen, or when a freeze of it is still under way. While a FIFREEZE of it sleeps with the
/// superblock locked (`super_lock` in fs/super.c), this call sleeps too, uninterruptibly.
pub fn thaw(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut ignored = 0;
    // SAFETY: the descriptor is open for the whole call, and the argument points to an int that outlives it.
    unsafe { ioctl::fithaw(fd.as_raw_fd(), &raw mut ignored) }.map(drop)
}

/// Writes out everything that is dirty on the filesystem that `fd` lies on, and waits for it.
///
/// # Errors
/// `EIO`, `ENOSPC` or `EDQUOT` when data could not be written, since Linux 5.8 also for what failed before
/// (syncfs(2)).
pub fn sync_filesystem(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::syncfs(fd)
}
