//! The request table of the design, row by row.

use super::*;
use crate::verdict::Verdict;

fn held() -> World {
    let mut world = World::new(OnConflict::Reject);
    let pre = world.pre(id(1));
    world.settle();
    assert_eq!(world.code(pre), Some(0));
    assert_eq!(world.phase(), Some(Phase::Held));
    world
}

fn last_report(world: &World) -> SessionReport {
    let closed = world.trace.iter().rev().find_map(|action| match action {
        Action::Close(report) => Some((**report).clone()),
        _ => None,
    });
    closed.unwrap()
}

#[test]
fn a_session_that_is_posted_in_time_is_application_consistent() {
    let mut world = held();
    let post = world.post(id(1));
    world.settle();
    assert_eq!(world.code(post), Some(0));
    let report = last_report(&world);
    assert_eq!(report.verdict, Some(Verdict::ApplicationConsistent));
    assert_eq!(report.phases.len(), 6);
    assert!(report.phases.iter().all(|span| span.ended.is_some()));
}

#[test]
fn hooks_come_before_filesystems_and_leave_after_them_in_reverse() {
    let mut world = held();
    world.post(id(1));
    world.settle();
    let order: Vec<String> = world
        .trace
        .iter()
        .filter_map(|action| match action {
            Action::Quiesce(hook) => Some(format!("+{hook}")),
            Action::Release { hook, .. } => Some(format!("-{hook}")),
            Action::Freeze => Some("freeze".into()),
            Action::Thaw => Some("thaw".into()),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["+0", "+2", "+1", "freeze", "thaw", "-1", "-2", "-0"]);
}

#[test]
fn pre_is_201_when_a_hook_fails_and_only_what_was_started_is_released() {
    let mut world = World::new(OnConflict::Reject);
    world.faults.quiesce = Some(0);
    let pre = world.pre(id(1));
    world.settle();
    assert_eq!(world.code(pre), Some(201));
    assert!(world.machine.is_idle());
    let released = |released| {
        world.trace.iter().any(|action| matches!(action, Action::Release { hook, .. } if *hook == released))
    };
    assert!(released(0), "what failed may have taken effect");
    assert!(!released(1), "it was never started");
    assert!(released(2));
    assert!(!world.trace.iter().any(|action| matches!(action, Action::Freeze | Action::Thaw)));
}

#[test]
fn pre_is_206_when_preflight_finds_something() {
    let mut world = World::new(OnConflict::Reject);
    world.faults.not_ready = true;
    let pre = world.pre(id(1));
    world.settle();
    assert_eq!(world.code(pre), Some(206));
    assert_eq!(last_report(&world).problems.len(), 1);
}

#[test]
fn pre_is_204_when_a_target_is_frozen_by_someone_else() {
    let mut world = World::new(OnConflict::Reject);
    world.faults.freeze = Some(1);
    world.faults.by_other = true;
    let pre = world.pre(id(1));
    world.settle();
    assert_eq!(world.code(pre), Some(204));
    assert!(world.machine.is_idle());
}

#[test]
fn pre_of_the_same_session_is_0_while_enough_of_the_lease_is_left_and_then_204() {
    let mut world = held();
    let lease_ends = world.machine.status().session.unwrap().lease_ends;
    let early = world.pre(id(1));
    assert_eq!(world.code(early), Some(0));
    assert_eq!(world.machine.status().session.unwrap().lease_ends, lease_ends, "no new lease");
    world.pass(LEASE / 2 + Duration::from_nanos(1));
    let late = world.pre(id(1));
    assert_eq!(world.code(late), Some(204));
    assert_eq!(world.phase(), Some(Phase::Held));
}

#[test]
fn pre_of_another_session_is_204_in_every_phase() {
    let phases =
        [Phase::Preparing, Phase::Quiescing, Phase::Freezing, Phase::Held, Phase::Thawing, Phase::Resuming];
    for phase in phases {
        for other in [id(2), ExecutionId::NONE] {
            let mut world = World::new(OnConflict::Reject);
            world.pre(id(1));
            if phase > Phase::Held {
                world.settle();
                world.post(id(1));
            }
            world.settle_until(Some(phase));
            assert_eq!(world.phase(), Some(phase));
            let second = world.pre(other);
            assert_eq!(world.code(second), Some(204), "{phase:?}");
            assert_eq!(world.phase(), Some(phase), "the running session is untouched");
        }
    }
}

#[test]
fn pre_without_an_id_never_joins_a_session_without_an_id() {
    let mut world = World::new(OnConflict::Reject);
    world.pre(ExecutionId::NONE);
    world.settle();
    let second = world.pre(ExecutionId::NONE);
    assert_eq!(world.code(second), Some(204));
    let post = world.post(ExecutionId::NONE);
    world.settle();
    assert_eq!(world.code(post), Some(0), "but post does");
}

#[test]
fn replace_releases_the_running_session_first_and_its_post_is_203() {
    let mut world = World::new(OnConflict::Replace);
    world.pre(id(1));
    world.settle();
    let second = world.pre(id(2));
    let third = world.pre(id(3));
    assert_eq!(world.code(second), None);
    assert_eq!(world.code(third), Some(204), "one successor is enough");
    world.settle();
    assert_eq!(world.code(second), Some(0));
    let first_post = world.post(id(1));
    assert_eq!(world.code(first_post), Some(203), "203 is decided before 205");
    let second_post = world.post(id(2));
    world.settle();
    assert_eq!(world.code(second_post), Some(0));
}

#[test]
fn a_successor_is_given_up_with_its_budget_or_its_client() {
    for gone in [true, false] {
        let mut world = World::new(OnConflict::Replace);
        world.pre(id(1));
        world.settle();
        let second = world.pre(id(2));
        if gone {
            world.send(Event::ClientGone { request: second });
        } else {
            world.pass(BUDGET);
        }
        world.settle();
        assert_eq!(world.code(second), (!gone).then_some(201));
        assert!(world.machine.is_idle());
    }
}

#[test]
fn post_is_answered_the_same_when_it_is_repeated() {
    let mut world = held();
    let first = world.post(id(1));
    let meanwhile = world.post(id(1));
    world.settle();
    let afterwards = world.post(id(1));
    assert_eq!([first, meanwhile, afterwards].map(|request| world.code(request)), [Some(0); 3]);
}

#[test]
fn post_is_202_with_residue_and_the_next_pre_is_206_until_it_is_cleared() {
    let mut world = held();
    world.faults.resume = true;
    let post = world.post(id(1));
    world.settle();
    assert_eq!(world.code(post), Some(202));
    assert_eq!(world.machine.status().residue.len(), 3);
    assert_eq!(last_report(&world).verdict, Some(Verdict::ApplicationConsistent), "it was held all along");
    let next = world.pre(id(2));
    assert_eq!(world.code(next), Some(206));
    for name in ["h0", "h1", "h2"] {
        world.send(Event::ResidueCleared { kind: crate::report::ThingKind::Hook, name: name.into() });
    }
    world.faults.resume = false;
    let next = world.pre(id(2));
    world.settle();
    assert_eq!(world.code(next), Some(0));
}

#[test]
fn what_is_released_late_but_before_the_end_of_its_session_is_no_residue() {
    let mut world = held();
    let post = world.post(id(1));
    let stuck =
        Progress::Settled { filesystem: 0, end: FreezeEnd::Residue, step: None, sectors_written: None };
    world.send(stuck.into());
    let name = "/data0".to_owned();
    world.send(Event::ResidueCleared { kind: crate::report::ThingKind::Filesystem, name });
    world.settle();
    assert_eq!(world.code(post), Some(0));
    assert!(world.machine.has_no_residue());
    assert_eq!(last_report(&world).problems.len(), 1, "it is told all the same");
    let next = world.pre(id(2));
    world.settle();
    assert_eq!(world.code(next), Some(0));
}

#[test]
fn a_hold_that_is_claimed_and_not_proved_lowers_the_verdict_but_not_the_code() {
    let mut world = held();
    world.faults.unproved = true;
    let post = world.post(id(1));
    world.settle();
    assert_eq!(world.code(post), Some(0));
    let report = last_report(&world);
    assert_eq!(report.verdict, Some(Verdict::FilesystemConsistent));
    assert_eq!(report.reasons.len(), 3);
}

#[test]
fn proof_is_asked_for_only_while_it_can_count_and_the_lease_runs() {
    let asked = |world: &World| -> Vec<Option<BootTime>> {
        let until = |action: &Action| match action {
            Action::Release { verify_until, .. } => Some(*verify_until),
            _ => None,
        };
        world.trace.iter().filter_map(until).collect()
    };
    let mut posted = held();
    let lease_ends = posted.machine.status().session.unwrap().lease_ends;
    posted.post(id(1));
    posted.settle();
    assert_eq!(asked(&posted), [lease_ends; 3]);
    let mut late = held();
    late.pass(LEASE);
    late.post(id(1));
    late.settle();
    assert_eq!(asked(&late), [None; 3]);
}

#[test]
fn a_success_is_never_repeated_to_a_post_without_an_id() {
    let mut world = World::new(OnConflict::Reject);
    world.pre(ExecutionId::NONE);
    world.settle();
    let first = world.post(ExecutionId::NONE);
    world.settle();
    let second = world.post(ExecutionId::NONE);
    assert_eq!([first, second].map(|request| world.code(request)), [Some(0), Some(205)]);
    world.pre(ExecutionId::NONE);
    world.settle();
    world.pass(LEASE);
    world.settle();
    let late = world.post(ExecutionId::NONE);
    assert_eq!(world.code(late), Some(203));
}

#[test]
fn post_is_203_when_the_hold_was_broken_unnoticed() {
    let faults = [
        Faults { thaw: Some(FreezeEnd::ThawedByOther), ..Faults::default() },
        Faults { thaw: Some(FreezeEnd::NeverFrozen), ..Faults::default() },
        Faults { verify: true, ..Faults::default() },
    ];
    for fault in faults {
        let mut world = held();
        world.faults = fault;
        let post = world.post(id(1));
        world.settle();
        assert_eq!(world.code(post), Some(203), "{fault:?}");
        assert_eq!(last_report(&world).verdict, Some(Verdict::CrashConsistent));
        let again = world.post(id(1));
        assert_eq!(world.code(again), Some(203));
    }
}

#[test]
fn data_outside_the_frozen_filesystems_lowers_the_verdict_but_not_the_code() {
    let mut world = World::new(OnConflict::Reject);
    world.faults.outside = true;
    world.pre(id(1));
    world.settle();
    let post = world.post(id(1));
    world.settle();
    assert_eq!(world.code(post), Some(0));
    assert_eq!(last_report(&world).verdict, Some(Verdict::CrashConsistent));
}

#[test]
fn every_early_end_of_a_hold_makes_post_203_for_good() {
    let ends: [fn(&mut World); 5] = [
        |world| world.pass(LEASE),
        |world| world.send(Progress::LeaseEnded.into()),
        |world| world.send(Progress::HoldLost(Problem::new("the guardian died")).into()),
        |world| world.send(Event::Stop),
        |world| {
            world.request(|request| Event::ReleaseAll { request });
        },
    ];
    for end in ends {
        let mut world = held();
        end(&mut world);
        assert_eq!(world.phase(), Some(Phase::Thawing));
        let during = world.post(id(1));
        world.settle();
        let after = world.post(id(1));
        assert_eq!([during, after].map(|request| world.code(request)), [Some(203); 2]);
        assert_eq!(last_report(&world).verdict, Some(Verdict::CrashConsistent));
    }
}

#[test]
fn post_out_of_turn_is_205_and_touches_nothing() {
    for phase in [Phase::Preparing, Phase::Quiescing, Phase::Freezing] {
        let mut world = World::new(OnConflict::Reject);
        world.pre(id(1));
        world.settle_until(Some(phase));
        let own = world.post(id(1));
        let other = world.post(id(2));
        assert_eq!([own, other].map(|request| world.code(request)), [Some(205); 2]);
        assert_eq!(world.phase(), Some(phase));
    }
    let mut world = held();
    let other = world.post(id(2));
    assert_eq!(world.code(other), Some(205));
    assert_eq!(world.phase(), Some(Phase::Held));
    let mut idle = World::new(OnConflict::Reject);
    let unknown = idle.post(id(1));
    assert_eq!(idle.code(unknown), Some(205));
}

#[test]
fn post_after_a_failed_pre_is_205() {
    let mut world = World::new(OnConflict::Reject);
    world.faults.quiesce = Some(1);
    world.pre(id(1));
    world.settle();
    let post = world.post(id(1));
    assert_eq!(world.code(post), Some(205));
}

#[test]
fn a_session_lost_before_the_agent_started_is_203() {
    let mut past = Past::default();
    past.remember(id(1), Outcome::AutoThawed);
    let mut world = World::new(OnConflict::Reject);
    world.machine = Machine::new(policy(OnConflict::Reject), past);
    let post = world.post(id(1));
    assert_eq!(world.code(post), Some(203));
}

#[test]
fn a_client_that_goes_away_unwinds_its_pre_script_in_every_phase() {
    for phase in [Phase::Preparing, Phase::Quiescing, Phase::Freezing] {
        let mut world = World::new(OnConflict::Reject);
        let pre = world.pre(id(1));
        world.settle_until(Some(phase));
        world.send(Event::ClientGone { request: pre });
        world.settle();
        assert!(world.machine.is_idle(), "{phase:?}");
        assert_eq!(world.code(pre), None, "nobody is there to be answered");
    }
}

#[test]
fn a_client_that_never_took_its_answer_ends_the_hold() {
    let mut world = held();
    world.send(Event::ClientGone { request: RequestId(77) });
    assert_eq!(world.phase(), Some(Phase::Held), "another client is another matter");
    world.send(Event::ClientGone { request: RequestId(1) });
    assert_eq!(world.phase(), Some(Phase::Thawing));
    world.settle();
    let post = world.post(id(1));
    assert_eq!(world.code(post), Some(203));
}

#[test]
fn the_budget_ends_a_pre_script_in_every_phase_and_not_a_held_session() {
    for phase in [Phase::Preparing, Phase::Quiescing, Phase::Freezing] {
        let mut world = World::new(OnConflict::Reject);
        let pre = world.pre(id(1));
        world.settle_until(Some(phase));
        assert_eq!(world.machine.deadline(), Some(BootTime::from_nanos(1_000_000_000) + BUDGET));
        world.pass(BUDGET);
        world.settle();
        assert_eq!(world.code(pre), Some(201), "{phase:?}");
        assert!(world.machine.is_idle());
    }
    let mut world = held();
    world.pass(BUDGET + Duration::from_secs(1));
    assert_eq!(world.phase(), Some(Phase::Held));
}

#[test]
fn stopping_refuses_new_sessions_and_exits_when_nothing_is_held() {
    let mut world = held();
    world.send(Event::Stop);
    let late = world.pre(id(2));
    assert_eq!(world.code(late), Some(206));
    assert!(!world.trace.iter().any(|action| matches!(action, Action::Exit)));
    world.settle();
    assert!(matches!(world.trace.last(), Some(Action::Exit)));
}

#[test]
fn release_all_is_0_when_everything_is_released_and_202_otherwise() {
    let mut idle = World::new(OnConflict::Reject);
    let request = idle.request(|request| Event::ReleaseAll { request });
    assert_eq!(idle.code(request), Some(0));
    for fails in [false, true] {
        let mut world = held();
        world.faults.resume = fails;
        let request = world.request(|request| Event::ReleaseAll { request });
        world.settle();
        assert_eq!(world.code(request), Some(if fails { 202 } else { 0 }));
    }
}

#[test]
fn a_filesystem_that_cannot_be_thawed_is_residue_and_the_rest_is_released() {
    let mut world = held();
    world.faults.thaw = Some(FreezeEnd::Residue);
    let post = world.post(id(1));
    world.settle();
    assert_eq!(world.code(post), Some(202));
    let report = last_report(&world);
    assert_eq!(report.residue.len(), 2);
    let releases = world.trace.iter().filter(|action| matches!(action, Action::Release { .. })).count();
    assert_eq!(releases, 3, "no failure stops the others");
}
