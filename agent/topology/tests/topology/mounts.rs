//! Which mount a path lies on, and by which one a filesystem is opened.

use std::fs;
use std::path::Path;

use crate::hosts::{host, on, superblock};
use quiesced_topology::{Mounts, TopologyError};

#[test]
fn a_path_lies_on_the_nearest_mount_whether_or_not_it_exists() {
    let mounts = host("al2023");
    for (path, mount_point) in [
        ("/", "/"),
        ("/data", "/data"),
        ("/data/pg/base/1", "/data"),
        ("/database", "/"),
        ("/var/lib/none/of/it", "/"),
        ("/run/user/1000/bus", "/run/user/1000"),
        ("/run/user/1001", "/run"),
    ] {
        assert_eq!(on(&mounts, path).mount_point, Path::new(mount_point), "{path}");
    }
}

#[test]
fn a_relative_path_lies_nowhere() {
    assert_eq!(host("al2023").of(Path::new("data")), None);
}

#[test]
fn names_with_spaces_tabs_and_backslashes_are_decoded() {
    let mounts = host("database");
    assert_eq!(on(&mounts, "/mnt/order archive\t\\old/2025").id, 44);
}

#[test]
fn a_mount_with_an_empty_source_is_read() {
    assert_eq!(on(&host("database"), "/mnt/scratch").source, "");
}

#[test]
fn what_was_mounted_over_is_hidden_with_all_below_it() {
    let mounts = host("overmounted");
    let visible = |id| mounts.is_visible(mounts.by_id(id).unwrap());

    assert_eq!(on(&mounts, "/data").id, 42);
    assert_eq!(on(&mounts, "/data/db/file").id, 42, "the mount with the longest prefix is out of reach");
    assert_eq!(on(&mounts, "/srv/pool/a").id, 44, "a later mount above covers an earlier one below");
    assert_eq!(
        [1, 25, 40, 41, 42, 43, 44, 45].map(visible),
        [false, true, false, false, true, false, true, true]
    );
}

#[test]
fn a_hidden_filesystem_has_no_representative_unless_it_is_mounted_elsewhere() {
    let mounts = host("overmounted");
    let of_id = |id| mounts.representative(mounts.by_id(id).unwrap().superblock).map(|mount| mount.id);
    assert_eq!(of_id(40), None);
    assert_eq!(of_id(43), Some(45));
}

#[test]
fn the_representative_is_whole_before_it_is_short() {
    let mounts = host("btrfs");
    let pool = mounts.representative(superblock(&mounts, "/srv/orders")).unwrap();
    assert_eq!(pool.mount_point, Path::new("/mnt/pool-with-a-long-name"));
    let system = mounts.representative(superblock(&mounts, "/home")).unwrap();
    assert_eq!(system.mount_point, Path::new("/"), "where no mount is whole, the shortest path counts");
}

#[test]
fn a_bind_mount_of_a_file_does_not_represent_its_filesystem() {
    let mounts = host("containers");
    let volumes = mounts.representative(superblock(&mounts, "/srv/pgdata")).unwrap();
    assert_eq!(volumes.mount_point, Path::new("/var/lib/docker"));
    assert_eq!(mounts.of_superblock(volumes.superblock).count(), 4);
}

#[test]
fn below_a_chroot_into_a_plain_directory_only_what_is_mounted_there_is_known() {
    let mounts = Mounts::parse(b"40 25 259:5 / /data rw - xfs /dev/nvme1n1 rw\n").unwrap();
    assert_eq!(on(&mounts, "/data/x").id, 40);
    assert_eq!(mounts.of(Path::new("/home")), None);
}

#[test]
fn an_empty_table_has_no_mounts() {
    assert_eq!(Mounts::parse(b"").unwrap().iter().count(), 0);
}

#[test]
fn a_line_that_cannot_be_understood_is_an_error_with_file_and_number() {
    let root = tempfile::tempdir().unwrap();
    let table = root.path().join("proc/self/mountinfo");
    fs::create_dir_all(table.parent().unwrap()).unwrap();
    fs::write(&table, "25 1 259:1 / / rw - ext4 /dev/a rw\n\n").unwrap();

    let error = Mounts::read(root.path()).unwrap_err();

    assert_eq!(error.to_string(), format!("cannot understand line 2 of {}", table.display()));
    assert_eq!(error.hint(), format!("show the line with `sed -n 2p {}`", table.display()));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "the mount id is \"\", not a number");
}

#[test]
fn two_mounts_with_one_id_are_an_error() {
    let line = "25 1 259:1 / / rw - ext4 /dev/a rw\n";
    let bad = Mounts::parse(line.repeat(2).as_bytes()).unwrap_err();
    assert_eq!(
        (bad.number, bad.to_string().as_str()),
        (2, "the mount id 25 stands on an earlier line already")
    );
}

#[test]
fn a_table_that_is_missing_is_an_error_that_names_it() {
    let error = Mounts::read(Path::new("/nonexistent")).unwrap_err();
    assert!(matches!(error, TopologyError::Read { .. }), "{error}");
}

#[test]
fn the_table_of_the_host_that_runs_this_is_understood() {
    let mounts = Mounts::read(Path::new("/")).unwrap();
    assert!(mounts.is_visible(on(&mounts, "/")));
    assert_eq!(on(&mounts, "/proc/self").fs_type, "proc");
}
