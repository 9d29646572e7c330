//! The guardian's event loop over filesystems that are not there.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use quiesced_core::time::BootTime;

use super::*;
use crate::clock;
use crate::simulated::{Fault, Simulated};

/// Long enough for anything that is going to happen.
const PATIENCE: Duration = Duration::from_secs(10);

struct Bench {
    guardian: Guardian,
    filesystems: Vec<Arc<Simulated>>,
}

impl Bench {
    fn new(targets: &[(u16, Option<Fault>)], lease: Duration) -> Self {
        let filesystems: Vec<_> = targets.iter().map(|(_, fault)| Arc::new(Simulated::new(*fault))).collect();
        let ranked: Vec<_> = targets
            .iter()
            .zip(&filesystems)
            .map(|((rank, _), filesystem)| Target { filesystem: Arc::clone(filesystem), rank: *rank })
            .collect();
        let guardian = Guardian::simulate(&ranked, clock::now() + lease).unwrap();
        Self { guardian, filesystems }
    }

    fn next(&self) -> Report {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(report) = self.guardian.try_recv().unwrap() {
                return report;
            }
            assert!(Instant::now() < end, "the guardian says nothing");
            let mut fds = [PollFd::new(self.guardian.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100u16)).unwrap();
        }
    }

    /// All reports until every target is done with.
    fn until_thawed(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        let mut left = self.filesystems.len();
        while left > 0 {
            let report = self.next();
            left -= usize::from(matches!(report, Report::Thawed(..)));
            reports.push(report);
        }
        reports
    }

    fn freeze(&self) -> Vec<Report> {
        self.guardian.freeze().unwrap();
        let mut reports = Vec::new();
        while reports.iter().filter(|report| matches!(report, Report::Frozen(..))).count()
            < self.filesystems.len()
        {
            reports.push(self.next());
        }
        reports
    }

    fn frozen(&self) -> Vec<bool> {
        self.filesystems.iter().map(|filesystem| filesystem.is_frozen()).collect()
    }
}

fn ends(reports: &[Report]) -> Vec<(u16, ThawEnd)> {
    let ends = reports.iter().filter_map(|report| match report {
        Report::Thawed(took, end) => Some((took.target, *end)),
        _ => None,
    });
    ends.collect()
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn ranks_are_frozen_in_order_and_thawed_in_reverse() {
    let bench = Bench::new(&[(2, None), (0, None), (1, None)], MINUTE);
    let frozen = bench.freeze();
    let order: Vec<u16> = frozen
        .iter()
        .filter_map(|report| match report {
            Report::Frozen(took, Ok(())) => Some(took.target),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 2, 0]);
    assert_eq!(bench.frozen(), [true; 3]);
    bench.guardian.thaw().unwrap();
    let order: Vec<u16> = ends(&bench.until_thawed()).iter().map(|(target, _)| *target).collect();
    assert_eq!(order, [0, 2, 1]);
    assert_eq!(bench.frozen(), [false; 3]);
}

#[test]
fn everything_is_synced_before_the_first_is_frozen() {
    let bench = Bench::new(&[(0, None), (1, None)], MINUTE);
    let reports = bench.freeze();
    assert!(matches!(reports[..2], [Report::Synced(_, Ok(())), Report::Synced(_, Ok(()))]), "{reports:?}");
}

#[test]
fn data_that_cannot_be_written_out_keeps_everything_from_being_frozen() {
    let bench = Bench::new(&[(0, None), (0, Some(Fault::SyncFails))], MINUTE);
    bench.guardian.freeze().unwrap();
    let reports = [bench.next(), bench.next()];
    assert!(reports.iter().any(|report| matches!(report, Report::Synced(_, Err(Errno::EIO)))));
    bench.guardian.thaw().unwrap();
    let all = bench.until_thawed();
    assert!(ends(&all).iter().all(|(_, end)| *end == ThawEnd::NeverFrozen), "{all:?}");
}

#[test]
fn after_a_failure_no_further_rank_is_begun_and_only_what_was_frozen_is_thawed() {
    let faults = [
        (Fault::FrozenByOther, FreezeFailure::HeldByOther),
        (Fault::Changed, FreezeFailure::Changed),
        (Fault::FreezeFails, FreezeFailure::Refused(Errno::EOPNOTSUPP)),
    ];
    for (fault, failure) in faults {
        let bench = Bench::new(&[(0, None), (1, Some(fault)), (2, None)], MINUTE);
        bench.guardian.freeze().unwrap();
        let failed = loop {
            if let Report::Frozen(took, Err(failed)) = bench.next() {
                assert_eq!(took.target, 1);
                break failed;
            }
        };
        assert_eq!(failed, failure);
        bench.guardian.thaw().unwrap();
        let mut ends = ends(&bench.until_thawed());
        ends.sort_by_key(|(target, _)| *target);
        assert_eq!(ends, [(0, ThawEnd::Thawed), (1, ThawEnd::NeverFrozen), (2, ThawEnd::NeverFrozen)]);
    }
}

#[test]
fn a_freeze_that_somebody_else_undid_is_told_apart() {
    let bench = Bench::new(&[(0, Some(Fault::ThawedByOther))], MINUTE);
    bench.freeze();
    bench.guardian.thaw().unwrap();
    assert_eq!(ends(&bench.until_thawed()), [(0, ThawEnd::ThawedByOther)]);
}

#[test]
fn thaw_goes_on_after_one_filesystem_fails() {
    let bench = Bench::new(&[(0, None), (1, Some(Fault::ThawFails)), (2, None)], MINUTE);
    bench.freeze();
    bench.guardian.thaw().unwrap();
    let ends = ends(&bench.until_thawed());
    assert_eq!(ends, [(2, ThawEnd::Thawed), (1, ThawEnd::Failed(Errno::EIO)), (0, ThawEnd::Thawed)]);
}

#[test]
fn the_end_of_the_lease_thaws_everything_and_is_told() {
    let bench = Bench::new(&[(0, None), (0, None)], Duration::from_millis(300));
    bench.freeze();
    let reports = bench.until_thawed();
    assert_eq!(reports[0], Report::LeaseEnded);
    assert_eq!(bench.frozen(), [false; 2]);
    assert!(bench.guardian.try_recv().is_ok(), "it stays until the agent has let go");
}

#[test]
fn a_lease_that_has_ended_already_lets_nothing_be_frozen() {
    let filesystem = Arc::new(Simulated::default());
    let target = Target { filesystem: Arc::clone(&filesystem), rank: 0 };
    let guardian = Guardian::simulate(&[target], BootTime::from_nanos(1)).unwrap();
    let bench = Bench { guardian, filesystems: vec![filesystem] };
    let reports = bench.until_thawed();
    bench.guardian.freeze().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(reports[0], Report::LeaseEnded);
    assert_eq!(bench.frozen(), [false]);
}

#[test]
fn the_end_of_file_thaws_everything() {
    let bench = Bench::new(&[(0, None), (1, None)], MINUTE);
    bench.freeze();
    let filesystems = bench.filesystems.clone();
    drop(bench.guardian);
    wait_until("thawed", || filesystems.iter().all(|filesystem| !filesystem.is_frozen()));
}

#[test]
fn a_stuck_freeze_does_not_keep_the_others_frozen_and_is_thawed_when_it_returns() {
    let bench = Bench::new(&[(0, None), (1, Some(Fault::FreezeTakes(3_000))), (0, None)], MINUTE);
    bench.guardian.freeze().unwrap();
    wait_until("the others are frozen", || bench.frozen() == [true, false, true]);
    std::thread::sleep(Duration::from_millis(50));
    bench.guardian.thaw().unwrap();
    let reports = bench.until_thawed();
    let stuck_returned = reports.iter().find_map(|report| match report {
        Report::Frozen(Took { target: 1, ended, .. }, Ok(())) => Some(*ended),
        _ => None,
    });
    let stuck_returned = stuck_returned.expect("the stuck freeze returned");
    for report in &reports {
        if let Report::Thawed(took, end) = report {
            assert_eq!(*end, ThawEnd::Thawed);
            assert_eq!(took.ended > stuck_returned, took.target == 1, "{reports:?}");
        }
    }
    assert_eq!(bench.frozen(), [false; 3]);
}

#[test]
fn a_freeze_that_is_ordered_after_a_thaw_is_no_order() {
    for _ in 0..300 {
        let bench = Bench::new(&[(0, None), (1, None)], MINUTE);
        bench.guardian.thaw().unwrap();
        bench.guardian.freeze().unwrap();
        let mut ends = ends(&bench.until_thawed());
        ends.sort_by_key(|(target, _)| *target);
        assert_eq!(ends, [(0, ThawEnd::NeverFrozen), (1, ThawEnd::NeverFrozen)]);
    }
}

#[test]
fn a_guardian_without_targets_is_armed_and_keeps_the_lease() {
    let bench = Bench::new(&[], Duration::from_millis(50));
    assert_eq!(bench.next(), Report::LeaseEnded);
}
