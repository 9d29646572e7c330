//! A snapshot is what the volumes were in one moment, and only then.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quiesced_bed::volumes::{Place, freeze, thaw};
use quiesced_bed::writers::{Pair, PairReport, Work, Writer, check_pair};
use quiesced_bed::{Bed, Fs, MIB, Volume, VolumeSpec, frozen, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn written(writer: &mut Writer, more: u64) {
    let goal = writer.progress().unwrap().written + more;
    wait_until("more writes", LIMIT, || writer.progress().unwrap().written >= goal).unwrap();
}

/// What the pair on two restored volumes is worth.
fn checked(ledger: &Volume, records: &Volume) -> PairReport {
    check_pair(&Pair::on(&ledger.mount_point, &records.mount_point)).unwrap()
}

#[test]
fn volumes_and_their_pool_are_written_past_the_page_cache() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) else { continue };
        if Path::new(file.trim_end()).starts_with(bed.directory()) {
            assert_eq!(fs::read_to_string(entry.path().join("loop/dio")).unwrap().trim(), "1", "{file}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "{volume:?} and its pool");
}

#[test]
fn a_clone_restores_the_moment_in_which_it_was_made() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    for fs in [Fs::Ext4, Fs::Xfs] {
        let volume = bed.volume(&format!("data {}", fs.name()), fs, 320 * MIB).unwrap();
        let file = volume.mount_point.join("file");
        fs::write(&file, "before").unwrap();
        freeze(&volume.mount_point).unwrap();
        let image = bed.snapshot_volume(&volume).unwrap();
        thaw(&volume.mount_point).unwrap();
        fs::write(&file, "after").unwrap();
        bed.fsck(&image).unwrap();
        let restored = bed.restore(&image).unwrap();
        assert_eq!(fs::read_to_string(restored.mount_point.join("file")).unwrap(), "before", "{fs:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "after", "{fs:?}");
        bed.remove(&restored).unwrap();
        assert!(!restored.mount_point.join("file").exists() && !restored.image.exists());
    }
}

#[test]
fn a_set_is_one_moment_of_two_volumes_and_clones_with_a_gap_are_not() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let ledger = bed.volume("ledger", Fs::Xfs, 512 * MIB).unwrap();
    let records = bed.volume("records", Fs::Ext4, 512 * MIB).unwrap();
    let mut writer = Writer::thread(Work::Pair(Pair::on(&ledger.mount_point, &records.mount_point)));
    written(&mut writer, 200);

    let set = bed.snapshot_set().unwrap();
    let first = bed.snapshot_volume(&ledger).unwrap();
    written(&mut writer, 50);
    let second = bed.snapshot_volume(&records).unwrap();
    writer.stop().unwrap();

    let restored = [set.image(&ledger), set.image(&records)].map(|image| bed.restore(&image).unwrap());
    let report = checked(&restored[0], &restored[1]);
    // A record is on disk before its row is committed: at most one is ahead in a single moment.
    assert!(report.is_sound() && report.rows >= 200, "{report:?}");
    assert!(report.records - report.rows <= 1, "{report:?}");

    let staggered = checked(&bed.restore(&first).unwrap(), &bed.restore(&second).unwrap());
    assert!(staggered.is_sound() && staggered.records > staggered.rows + 40, "{staggered:?}");
}

#[test]
fn clones_with_a_gap_agree_while_the_write_lock_of_the_ledger_is_held() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let ledger = bed.volume("ledger", Fs::Ext4, 256 * MIB).unwrap();
    let records = bed.volume("records", Fs::Xfs, 320 * MIB).unwrap();
    let pair = Pair::on(&ledger.mount_point, &records.mount_point);
    let mut writer = Writer::thread(Work::Pair(pair.clone()));
    written(&mut writer, 50);

    let lock = rusqlite::Connection::open(&pair.ledger).unwrap();
    lock.busy_timeout(LIMIT).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let held = [&ledger, &records].map(|volume| {
        freeze(&volume.mount_point).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        bed.snapshot_volume(volume).unwrap()
    });
    for volume in [&ledger, &records] {
        thaw(&volume.mount_point).unwrap();
    }
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    written(&mut writer, 5);
    let progress = writer.stop().unwrap();

    let restored = held.map(|image| bed.restore(&image).unwrap());
    let report = checked(&restored[0], &restored[1]);
    assert!(report.agrees() && report.rows >= 50, "{report:?}");
    assert!(progress.longest_stall() >= Duration::from_millis(400), "{progress:?}");
}

#[test]
fn a_frozen_filesystem_is_seen_as_frozen_through_every_mount_of_it() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let bind = bed.bind(&volume.mount_point, "second mount").unwrap();
    let other = bed.host_volume("other", Fs::Ext4, 64 * MIB).unwrap();
    for mount in [&volume.mount_point, &bind, &other.mount_point] {
        assert!(!frozen(mount).unwrap());
    }
    freeze(&volume.mount_point).unwrap();
    assert!(frozen(&volume.mount_point).unwrap() && frozen(&bind).unwrap());
    assert!(!frozen(&other.mount_point).unwrap());
    thaw(&bind).unwrap();
    assert!(!frozen(&volume.mount_point).unwrap());
}

#[test]
fn the_odd_mounts_are_what_they_say() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let outer = bed.host_volume("outer volume", Fs::Ext4, 128 * MIB).unwrap();
    let nested = VolumeSpec::new("nested", Fs::Ext4, 32 * MIB)
        .place(Place::Host)
        .mounted_at(outer.mount_point.join("nested"));
    bed.make(&nested).unwrap();
    let carried =
        VolumeSpec::new("carried", Fs::Ext4, 32 * MIB).place(Place::Inside(outer.mount_point.clone()));
    let carried = bed.make(&carried).unwrap();
    let overlay = bed.overlay(&outer.mount_point, "overlay").unwrap();
    let tmpfs = bed.tmpfs("tmpfs").unwrap();
    let kinds = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let kind = |mount: &Path, kind: &str| {
        let field = mount.to_string_lossy().replace(' ', "\\040");
        kinds
            .lines()
            .any(|line| line.contains(&format!(" {field} ")) && line.contains(&format!(" - {kind} ")))
    };
    assert!(kind(&outer.mount_point.join("nested"), "ext4") && kind(&carried.mount_point, "ext4"));
    assert!(kind(&overlay, "overlay") && kind(&tmpfs, "tmpfs"));
    freeze(&overlay).unwrap_err();
    freeze(&tmpfs).unwrap_err();
    bed.remount_read_only(&carried.mount_point).unwrap();
    fs::write(carried.mount_point.join("file"), "x").unwrap_err();
}

#[test]
fn nothing_is_mounted_where_the_sweeper_would_not_find_it() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    for outside in ["/mnt/elsewhere", &format!("{}/../elsewhere", bed.directory().display())] {
        let spec = VolumeSpec::new("data", Fs::Ext4, 32 * MIB).place(Place::Host).mounted_at(outside);
        let error = bed.make(&spec).unwrap_err();
        assert!(error.to_string().contains("outside the bed"), "{error}");
        assert!(!Path::new(outside).exists());
    }
}
