//! The lifecycle manager's decisions, as AWS documents them.

use std::collections::VecDeque;
use std::time::Duration;

use quiesced_bed::dlm::{
    Cycle, Deliver, Edge, Event, Invocation, Policy, RetryId, Stages, Status, Tag, run_cycle,
};

/// Answers with exit codes from a list; `None` is a script that is still running when its time is over.
struct Scripted {
    pre: VecDeque<Option<i32>>,
    post: VecDeque<Option<i32>>,
}

impl Deliver for Scripted {
    fn deliver(&mut self, edge: Edge, _: &str, _: Duration) -> Option<Invocation> {
        let answers = match edge {
            Edge::Pre => &mut self.pre,
            Edge::Post => &mut self.post,
        };
        let code = answers.pop_front().expect("nobody should run this script once more")?;
        Some(Invocation {
            status: if code == 0 { Status::Success } else { Status::Failed },
            code,
            stdout: String::new(),
            stderr: String::new(),
            output: String::new(),
            took: Duration::ZERO,
            violation: None,
        })
    }
}

fn cycle(policy: &Policy, pre: &[Option<i32>], post: &[Option<i32>]) -> Cycle<()> {
    let mut scripted = Scripted { pre: pre.iter().copied().collect(), post: post.iter().copied().collect() };
    let cycle = run_cycle(policy, &mut scripted, || Ok::<_, String>(()));
    assert!(scripted.pre.is_empty() && scripted.post.is_empty(), "a script was not run: {cycle:?}");
    cycle
}

fn retries(maximum_retry_count: u32) -> Policy {
    Policy { maximum_retry_count, ..Policy::default() }
}

#[test]
fn a_good_run_is_pre_snapshot_post() {
    let cycle = cycle(&retries(0), &[Some(0)], &[Some(0)]);
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
    assert!(!cycle.crash_consistent_fallback);
    assert_eq!(
        cycle.events,
        [
            Event::Started(Edge::Pre),
            Event::Completed(Edge::Pre),
            Event::SnapshotTaken,
            Event::Started(Edge::Post),
            Event::Completed(Edge::Post),
        ]
    );
    assert_eq!(cycle.pre[0].execution_id, cycle.post[0].execution_id);
}

#[test]
fn after_a_failed_pre_script_nobody_calls_post_script() {
    for failed in [Some(201), Some(206), None] {
        let cycle = cycle(&retries(0), &[failed], &[]);
        assert!(cycle.crash_consistent_fallback && cycle.snapshot.is_some(), "{failed:?}");
        assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Failed), None), "{failed:?}");
    }
}

#[test]
fn without_the_fallback_the_instance_is_skipped() {
    let policy = Policy { execute_operation_on_script_failure: false, ..retries(0) };
    let cycle = cycle(&policy, &[Some(201)], &[]);
    assert!(cycle.snapshot.is_none() && !cycle.crash_consistent_fallback);
    assert_eq!(cycle.events.last(), Some(&Event::Skipped));
}

#[test]
fn a_retry_runs_the_whole_process_again() {
    for fallback in [true, false] {
        let policy = Policy { execute_operation_on_script_failure: fallback, ..retries(2) };
        let cycle = cycle(&policy, &[Some(201), None, Some(0)], &[Some(0)]);
        assert!(!cycle.crash_consistent_fallback);
        assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
        assert_eq!(cycle.pre.len(), 3);
    }
}

#[test]
fn retries_are_used_up_before_the_fallback() {
    let cycle = cycle(&retries(3), &[Some(201); 4], &[]);
    assert!(cycle.crash_consistent_fallback);
    assert_eq!(cycle.pre.len(), 4);
}

#[test]
fn a_failed_post_script_is_tried_again_alone() {
    let cycle = cycle(&retries(2), &[Some(0)], &[Some(202), None, Some(0)]);
    assert_eq!((cycle.pre.len(), cycle.post.len()), (1, 3));
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
}

#[test]
fn a_post_script_that_fails_for_good_leaves_the_snapshot_tagged_as_failed() {
    let cycle = cycle(&retries(1), &[Some(0)], &[Some(203), Some(203)]);
    assert!(cycle.snapshot.is_some());
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Failed)));
}

#[test]
fn a_retry_carries_the_same_id_or_a_fresh_one() {
    for (retry_id, differ) in [(RetryId::Same, false), (RetryId::Fresh, true)] {
        let cycle = cycle(&Policy { retry_id, ..retries(1) }, &[Some(201), Some(0)], &[Some(0)]);
        assert_eq!(cycle.pre[0].execution_id != cycle.pre[1].execution_id, differ, "{retry_id:?}");
        assert_eq!(cycle.post[0].execution_id, cycle.pre[1].execution_id);
    }
}

#[test]
fn an_execution_id_is_a_uuid() {
    let cycle = cycle(&retries(0), &[Some(0)], &[Some(0)]);
    let lengths: Vec<usize> = cycle.pre[0].execution_id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12]);
}

#[test]
fn one_stage_alone_runs_one_script() {
    let pre_alone = cycle(&Policy { stages: Stages::Pre, ..retries(0) }, &[Some(0)], &[]);
    assert_eq!((pre_alone.pre_tag, pre_alone.post_tag), (Some(Tag::Success), None));
    let post_alone = cycle(&Policy { stages: Stages::Post, ..retries(0) }, &[], &[Some(0)]);
    assert_eq!((post_alone.pre_tag, post_alone.post_tag), (None, Some(Tag::Success)));
    assert!(post_alone.snapshot.is_some());
}

#[test]
fn post_script_runs_also_when_the_snapshots_could_not_be_initiated() {
    let mut scripted = Scripted { pre: [Some(0)].into(), post: [Some(0)].into() };
    let cycle: Cycle<()> = run_cycle(&retries(0), &mut scripted, || Err("throttled"));
    assert!(cycle.snapshot.is_none() && !cycle.crash_consistent_fallback);
    assert_eq!(cycle.events[2], Event::SnapshotFailed);
    assert_eq!(cycle.post_tag, Some(Tag::Success));
}
