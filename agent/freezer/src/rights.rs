//! May this process freeze at all? Asked without a freeze.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};

use crate::sys;

/// Asks the kernel to thaw a tmpfs, which can be neither frozen nor, therefore, thawed: the kernel looks at the caller's
/// rights before it looks at that (`ioctl_fsthaw` in fs/ioctl.c), and so do seccomp and security modules. Of a filesystem
/// of another type nothing is asked: somebody might have frozen it.
///
/// Returns the refusal, if there is one.
///
/// # Errors
/// When the directory cannot be opened.
pub fn refusal(tmpfs: &Path) -> io::Result<Option<Errno>> {
    let directory = File::open(tmpfs)?;
    if fstatfs(&directory)?.filesystem_type() != TMPFS_MAGIC {
        return Ok(None);
    }
    Ok(match sys::thaw(directory.as_fd()) {
        Ok(()) | Err(Errno::EINVAL | Errno::EOPNOTSUPP) => None,
        Err(errno) => Some(errno),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_is_not_refused() {
        let refused = refusal(Path::new("/dev/shm")).unwrap();
        assert_eq!(refused.is_none(), nix::unistd::geteuid().is_root(), "{refused:?}");
    }
}
