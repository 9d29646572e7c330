//! What is to be seen of a host: its processes, its sockets and the services that are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// Where systemd finds the units of packages and of the host (systemd.unit(5)).
const UNITS: [&str; 3] = ["usr/lib/systemd/system", "lib/systemd/system", "etc/systemd/system"];

/// What listens has this flag in `/proc/net/unix` (`__SO_ACCEPTCON`, include/uapi/linux/net.h).
const LISTENS: u32 = 1 << 16;

/// A host, as far as `init` looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The processes, by pid.
    pub processes: BTreeMap<u32, Process>,
    /// The paths of the unix sockets that somebody listens on.
    pub sockets: BTreeSet<PathBuf>,
    /// The names of the services that are installed, without `.service`.
    pub units: BTreeSet<String>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The name of its program.
    pub name: String,
    /// Its arguments, parted by spaces; some servers write there what they are doing.
    pub title: String,
    /// The files whose names end with `-wal` that it has open: write-ahead logs of SQLite, as a rule.
    pub wals: BTreeSet<PathBuf>,
}

impl Seen {
    /// Looks at the host whose `/` is at `root`. Processes are those of this host in any case.
    pub fn of(root: &Path) -> Self {
        let sockets = fs::read(root.join("proc/net/unix")).unwrap_or_default();
        Self { processes: processes(), sockets: listening(&sockets), units: units(root) }
    }
}

/// Without `/proc` there are none to be seen.
fn processes() -> BTreeMap<u32, Process> {
    let Ok(mut system) = System::new() else { return BTreeMap::new() };
    let kind = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let seen = |process: &sysinfo::Process| {
        let arguments: Vec<_> = process.cmd().iter().map(|argument| argument.to_string_lossy()).collect();
        let name = process.name().to_string_lossy().into_owned();
        Process { name, title: arguments.join(" "), wals: wals(process.pid().as_u32()) }
    };
    system.processes().values().map(|process| (process.pid().as_u32(), seen(process))).collect()
}

/// The links are read, and nothing is opened: what they lead to may hang.
fn wals(pid: u32) -> BTreeSet<PathBuf> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let targets = open.flatten().filter_map(|link| fs::read_link(link.path()).ok());
    targets.filter(|target| target.as_os_str().as_bytes().ends_with(b"-wal")).collect()
}

/// The paths in `/proc/net/unix` (proc_net_unix is described in proc_pid_net(5)) that somebody listens on.
fn listening(table: &[u8]) -> BTreeSet<PathBuf> {
    let path = |line: &[u8]| -> Option<PathBuf> {
        let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let flags = fields.nth(3)?;
        // Type, state and inode stand between. A path with a space in it is cut, and then matches no server's.
        let path = fields.nth(3)?;
        let flags = u32::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
        (flags & LISTENS != 0 && path.starts_with(b"/")).then(|| PathBuf::from(OsStr::from_bytes(path)))
    };
    table.split(|&byte| byte == b'\n').filter_map(path).collect()
}

fn units(root: &Path) -> BTreeSet<String> {
    let entries = UNITS.iter().filter_map(|folder| fs::read_dir(root.join(folder)).ok()).flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".service").map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_with_a_path_that_somebody_listens_on_are_seen() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21442 /run/mysqld/mysqld.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 21443 /run/client.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21444 @abstract\n\
            0000000000000000: 00000002 00000000 00010000 0001 01     7\n";
        assert_eq!(listening(table), BTreeSet::from(["/run/mysqld/mysqld.sock".into()]));
    }

    #[test]
    fn this_test_sees_itself() {
        let seen = processes();
        assert!(seen.contains_key(&std::process::id()));
    }

    proptest::proptest! {
        #[test]
        fn no_table_of_sockets_makes_the_parser_panic(table: Vec<u8>) {
            let _paths = listening(&table);
        }
    }
}
