//! Timelines of sessions that were never held.

use quiesced_core::problem::Problem;
use quiesced_core::proof::FrozenSpan;
use quiesced_core::report::{Ending, PhaseSpan, StepReport};
use serde_json::json;

use super::*;

/// A moment, in milliseconds.
fn at(millis: u64) -> BootTime {
    BootTime::from_nanos(1_000_000_000 + millis * 1_000_000)
}

fn step(step: Step, subject: &str, began: u64, ended: u64) -> StepReport {
    let (began, ended) = (at(began), at(ended));
    StepReport { step, subject: subject.to_owned(), began, ended, note: None, failure: None }
}

/// Prepared for 1 s, held for 2 s.
fn report() -> SessionReport {
    let plan = json!({"hooks": [], "filesystems": [], "outside": []});
    let mut report: SessionReport = serde_json::from_value(json!({
        "version": 1, "execution_id": "None", "group": "default", "verdict": null, "reasons": [], "ending": null,
        "code": null, "plan": plan, "phases": [], "steps": [], "residue": [], "problems": [],
    }))
    .unwrap();
    let spans = [
        (Phase::Preparing, 0, 1000),
        (Phase::Quiescing, 1000, 1010),
        (Phase::Freezing, 1010, 1020),
        (Phase::Held, 1020, 3020),
        (Phase::Thawing, 3020, 3021),
        (Phase::Resuming, 3021, 3030),
    ];
    let span = |(phase, began, ended): (Phase, u64, u64)| PhaseSpan {
        phase,
        began: at(began),
        ended: Some(at(ended)),
    };
    report.phases = spans.map(span).to_vec();
    report.steps = vec![
        step(Step::Prepare, "orders", 0, 900),
        step(Step::Sync, "/data", 900, 1000),
        step(Step::Quiesce, "orders", 1000, 1010),
        step(Step::Freeze, "/data", 1010, 1020),
        step(Step::Thaw, "/data", 3020, 3021),
        step(Step::Verify, "orders", 3021, 3025),
        step(Step::Resume, "orders", 3025, 3030),
    ];
    let (mount_point, until) = ("/data".into(), Some(at(3020)));
    report.frozen = vec![FrozenSpan { mount_point, from: at(1020), until, sectors_written: Some(0) }];
    report.lease_ends = Some(at(31_000));
    report.ending = Some(Ending::Post);
    report
}

#[test]
fn what_was_held_is_drawn_from_the_end_of_one_step_to_the_beginning_of_the_other() {
    let timeline = Timeline::of(&report());
    let hold = |row: usize| (timeline.rows[row].label.as_str(), timeline.rows[row].bars[0].clone());
    let bar = |kind, from, until| Bar { kind, from: at(from), until: at(until), failed: false };
    assert_eq!(hold(1), ("orders", bar(Kind::Quiesced, 1010, 3021)));
    assert_eq!(hold(2), ("/data", bar(Kind::Frozen, 1020, 3020)));
}

#[test]
fn a_session_that_is_still_open_is_drawn_as_far_as_it_has_come() {
    let mut report = report();
    report.phases.truncate(4);
    report.phases[3].ended = None;
    report.steps.truncate(4);
    report.frozen[0].until = None;
    report.ending = None;
    let timeline = Timeline::of(&report);
    assert_eq!(timeline.until, at(1020));
    assert!(!timeline.rows[2].bars[0].failed);
}

#[test]
fn a_freeze_whose_end_nobody_saw_is_drawn_as_a_failure() {
    let mut report = report();
    report.frozen[0].until = None;
    assert!(Timeline::of(&report).rows[2].bars[0].failed);
}

#[test]
fn the_longest_stall_is_that_of_an_application_or_of_a_filesystem() {
    let mut report = report();
    assert_eq!(longest_stall(&report), Some(Duration::from_millis(2030)));
    report.steps.retain(|step| step.subject == "/data");
    assert_eq!(longest_stall(&report), Some(Duration::from_millis(2011)));
    report.steps.clear();
    assert_eq!(longest_stall(&report), None);
}

#[test]
fn in_a_terminal_what_is_short_is_drawn_over_what_is_long() {
    let mut report = report();
    report.steps[3].failure = Some(Problem::new("it failed"));
    insta::assert_snapshot!(text(&Timeline::of(&report)), @r"
     session  pppppppppppppppppppqf━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━t
      orders  pppppppppppppppppp·qq━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━v  quiesced 2.01 s
       /data  ·················sss!━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━t  frozen 2.00 s
    3.03 s in all; p prepare, q quiesce, f freeze, ━ held, s sync, t thaw, v verify, r resume, ! failed
    ");
}

#[test]
fn a_report_without_phases_has_a_timeline_of_no_length() {
    let mut report = report();
    report.phases.clear();
    report.steps.clear();
    let timeline = Timeline::of(&report);
    assert_eq!((timeline.length(), timeline.rows.len()), (Duration::ZERO, 1));
    assert!(page(&report).contains("</html>"));
}
