//! Writers tell what they felt, also while they are blocked.

use std::path::Path;
use std::time::Duration;

use quiesced_bed::volumes::{freeze, thaw};
use quiesced_bed::writers::{Pair, Work, Writer, bed_binary, check_pair};
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// One kind of writer, or the other.
fn writer(in_process: bool, work: &Work) -> Writer {
    if in_process {
        return Writer::thread(work.clone());
    }
    Writer::process(Path::new(env!("CARGO_BIN_EXE_quiesced-bed")), work).unwrap()
}

#[test]
fn a_pair_that_was_stopped_agrees_and_is_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let pair = Pair::on(directory.path(), directory.path());
    let mut total = 0;
    for in_process in [true, false] {
        let mut writer = writer(in_process, &Work::Pair(pair.clone()));
        wait_until("ten writes", LIMIT, || writer.progress().unwrap().written >= 10).unwrap();
        total += writer.stop().unwrap().written;
    }
    let report = check_pair(&pair).unwrap();
    assert!(report.agrees() && report.rows == total, "{report:?}");
}

#[test]
fn a_writer_that_cannot_write_says_why() {
    let work = Work::Pair(Pair::on(Path::new("/no/such/directory"), Path::new("/no/such/directory")));
    for in_process in [true, false] {
        let mut writer = writer(in_process, &work);
        let mut said = None;
        wait_until("the writer to give up", LIMIT, || {
            said = writer.progress().err();
            said.is_some()
        })
        .unwrap();
        assert!(said.unwrap().to_string().contains("/no/such/directory"));
    }
}

#[test]
fn a_blocked_writer_reports_its_stall_before_the_thaw() {
    if !require_root("a loop volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 128 * MIB).unwrap();
    for in_process in [true, false] {
        let mut writer = writer(in_process, &Work::Stream(volume.mount_point.join("stream")));
        wait_until("a write", LIMIT, || writer.progress().unwrap().written > 0).unwrap();
        writer.mark().unwrap();
        freeze(&volume.mount_point).unwrap();
        let stall = Duration::from_millis(300);
        wait_until("the stall to be felt", LIMIT, || writer.progress().unwrap().longest_stall() >= stall)
            .unwrap();
        thaw(&volume.mount_point).unwrap();
        assert!(writer.stop().unwrap().longest_stall() >= stall, "in process: {in_process}");
    }
}

#[test]
fn the_program_is_found_beside_the_test() {
    assert_eq!(bed_binary().unwrap(), Path::new(env!("CARGO_BIN_EXE_quiesced-bed")));
}
