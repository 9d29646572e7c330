//! Whatever becomes of a test, nothing stays frozen, mounted or attached.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use quiesced_bed::claim::state;
use quiesced_bed::volumes::{Place, freeze, sweep};
use quiesced_bed::writers::dirty;
use quiesced_bed::{Bed, Fs, MIB, VolumeSpec, frozen, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Tells the copy of this test program that it is the one to be killed.
const DOOMED: &str = "QUIESCED_BED_DOOMED";

fn left_of(directory: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let name = directory.to_str().unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(name)).map(str::to_owned));
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        left.extend(file.contains(name).then_some(file));
    }
    if directory.exists() {
        left.push(name.to_owned());
    }
    left
}

#[test]
fn dropping_a_bed_removes_everything_of_it_frozen_or_not() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let directory = bed.directory().to_path_buf();
    let volume = bed.volume("data", Fs::Xfs, 320 * MIB).unwrap();
    let inner = VolumeSpec::new("inner", Fs::Ext4, 64 * MIB)
        .place(Place::Inside(volume.mount_point.clone()))
        .mounted_at(volume.mount_point.join("inner"));
    let inner = bed.make(&inner).unwrap();
    bed.restore(&bed.snapshot_volume(&volume).unwrap()).unwrap();
    freeze(&inner.mount_point).unwrap();
    freeze(&volume.mount_point).unwrap();
    assert!(frozen(&volume.mount_point).unwrap());
    drop(bed);
    assert_eq!(left_of(&directory), Vec::<String>::new());
}

#[test]
fn a_filesystem_that_was_unmounted_while_it_was_frozen_is_swept_too() {
    if !require_root("a loop volume") {
        return;
    }
    for fs in [Fs::Ext4, Fs::Xfs] {
        let bed = Bed::new().unwrap();
        let directory = bed.directory().to_path_buf();
        let volume = bed.volume("data", fs, 320 * MIB).unwrap();
        freeze(&volume.mount_point).unwrap();
        bed.unmount(&volume.mount_point).unwrap();
        drop(bed);
        assert_eq!(left_of(&directory), Vec::<String>::new(), "{fs:?}");
    }
}

#[test]
fn a_freeze_that_is_stuck_behind_another_one_is_swept_too() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    bed.failsafe(Duration::from_secs(30)).unwrap();
    let directory = bed.directory().to_path_buf();
    let outer = bed.host_volume("outer", Fs::Ext4, 256 * MIB).unwrap();
    let spec = VolumeSpec::new("inner", Fs::Ext4, 128 * MIB).place(Place::Inside(outer.mount_point.clone()));
    let inner = bed.make(&spec).unwrap();
    dirty(&inner.mount_point.join("file"), 20 * MIB).unwrap();
    freeze(&outer.mount_point).unwrap();
    let mut stuck = Command::new("fsfreeze").arg("--freeze").arg(&inner.mount_point).spawn().unwrap();
    let pid = i32::try_from(stuck.id()).unwrap();
    wait_until("the freeze to be stuck", LIMIT, || state(pid) == Some('D')).unwrap();
    stuck.kill().unwrap();
    drop(bed);
    assert_eq!(left_of(&directory), Vec::<String>::new());
    stuck.wait().unwrap();
}

/// Not a test by itself: what [`a_killed_test_is_swept_by_the_next_one`] kills.
#[test]
fn doomed() {
    if std::env::var_os(DOOMED).is_none() {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.volume("data", Fs::Ext4, 64 * MIB).unwrap();
    freeze(&volume.mount_point).unwrap();
    println!("\nbed={}", bed.directory().display());
    std::thread::sleep(LIMIT);
}

#[test]
fn a_killed_test_is_swept_by_the_next_one() {
    if !require_root("a loop volume") {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sweeping::doomed", "--nocapture"])
        .env(DOOMED, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let bed = lines.find_map(|line| line.strip_prefix("bed=").map(PathBuf::from)).unwrap();
    let frozen_and_attached = left_of(&bed);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(frozen_and_attached.len() >= 3, "the killed process had nothing to sweep");
    drop(Bed::new().unwrap());
    assert_eq!(left_of(&bed), Vec::<String>::new());
}

#[test]
fn the_failsafe_thaws_without_the_test() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let [data, other] = ["data with a space", "other"].map(|name| {
        let volume = bed.host_volume(name, Fs::Ext4, 64 * MIB).unwrap();
        freeze(&volume.mount_point).unwrap();
        volume
    });
    assert!(frozen(&data.mount_point).unwrap() && frozen(&other.mount_point).unwrap());
    bed.failsafe(Duration::from_millis(100)).unwrap();
    for volume in [&data, &other] {
        wait_until("the failsafe thaw", LIMIT, || !frozen(&volume.mount_point).unwrap()).unwrap();
    }
}

#[test]
fn a_bed_whose_processes_still_run_is_swept_with_them() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let mut user = Command::new("sleep").arg("600").current_dir(&volume.mount_point).spawn().unwrap();
    let process = quiesced_bed::claim::Process::of(i32::try_from(user.id()).unwrap()).unwrap();
    bed.claim().note_process(process).unwrap();
    let directory = bed.directory().to_path_buf();
    drop(bed);
    assert_eq!(left_of(&directory), Vec::<String>::new());
    assert!(!user.wait().unwrap().success());
}

#[test]
fn what_cannot_be_unmounted_is_said_and_its_files_are_kept() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let mut user = Command::new("sleep").arg("600").current_dir(&volume.mount_point).spawn().unwrap();
    let error = sweep(bed.directory()).unwrap_err();
    assert!(error.to_string().contains("is attached"), "{error}");
    assert!(volume.image.exists());
    user.kill().unwrap();
    user.wait().unwrap();
    let directory = bed.directory().to_path_buf();
    drop(bed);
    assert_eq!(left_of(&directory), Vec::<String>::new());
}
