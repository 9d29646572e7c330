//! Listeners that the kernel asks before a file is opened: fapolicyd, antivirus. When the listener itself waits for a
//! frozen filesystem, everybody waits for it, also whoever would thaw.

use std::fs;
use std::path::{Path, PathBuf};

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

/// `FAN_OPEN_PERM | FAN_ACCESS_PERM | FAN_OPEN_EXEC_PERM | FAN_PRE_ACCESS` (include/uapi/linux/fanotify.h): the events
/// that wait for an answer.
const ASKS: u64 = 0x0001_0000 | 0x0002_0000 | 0x0004_0000 | 0x0010_0000;

/// Every process that is asked for permission to use files.
pub(super) fn look(root: &Path) -> Vec<Finding> {
    let mut processes: Vec<PathBuf> = super::holders(root, "anon_inode:[fanotify]")
        .filter(|(process, descriptor)| {
            fs::read_to_string(process.join("fdinfo").join(descriptor)).is_ok_and(|text| asks(&text))
        })
        .map(|(process, _)| process)
        .collect();
    processes.dedup();
    processes.iter().map(|process| finding(process)).collect()
}

/// Whether a mark of `/proc/PID/fdinfo/FD` asks for permission (proc_pid_fdinfo(5)):
/// `fanotify mnt_id:12 mflags:0 mask:10000 ignored_mask:0`.
pub fn asks(fdinfo: &str) -> bool {
    let marks = fdinfo.lines().filter(|line| line.starts_with("fanotify "));
    marks.flat_map(str::split_whitespace).any(|word| {
        let mask = word.strip_prefix("mask:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_some_and(|mask| mask & ASKS != 0)
    })
}

fn finding(process: &Path) -> Finding {
    let pid = process.file_name().unwrap_or_default().to_string_lossy();
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let message = format!(
        "process {pid} ({}) must allow every file that is opened (fanotify): while it waits for a frozen filesystem, \
         so does everybody else",
        name.trim_end()
    );
    let hint = "keep its files off the targets, and tell it to pass the targets over";
    Finding::warning(Problem::new(message).with_hint(Some(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(root: &Path, pid: &str, mask: &str) {
        let process = root.join("proc").join(pid);
        fs::create_dir_all(process.join("fd")).unwrap();
        fs::create_dir_all(process.join("fdinfo")).unwrap();
        fs::write(process.join("comm"), "fapolicyd\n").unwrap();
        std::os::unix::fs::symlink("anon_inode:[fanotify]", process.join("fd/4")).unwrap();
        let text = format!(
            "pos:\t0\nflags:\t02\nmnt_id:\t15\nfanotify flags:8 event-flags:0\n\
             fanotify sdev:800001 mflags:0 mask:{mask} ignored_mask:0\n"
        );
        fs::write(process.join("fdinfo/4"), text).unwrap();
    }

    #[test]
    fn who_is_asked_for_permission_is_named_and_who_only_watches_is_not() {
        let root = tempfile::tempdir().unwrap();
        listener(root.path(), "812", "50000");
        listener(root.path(), "813", "3b");
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let found = look(root.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].problem.message.starts_with("process 812 (fapolicyd) "), "{found:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(fanotify |mask:|[0-9a-fx: \n])*") {
            let _asks = asks(&text);
        }
    }
}
