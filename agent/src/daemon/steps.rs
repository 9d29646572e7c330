//! What hooks and the guardian tell, in the words of a session's report.

use quiesced_core::problem::Problem;
use quiesced_core::report::{Step, StepReport};
use quiesced_core::time::BootTime;
use quiesced_freezer::guardian::Took;
use quiesced_hooks::{HookError, Proof, Timed};

/// A hook's step, and what it brought.
pub fn report<T>(step: Step, hook: &str, timed: Timed<T>) -> (StepReport, Option<T>) {
    let Timed { began, ended, result } = timed;
    let mut report = plain(step, hook, began, ended);
    match result {
        Ok(brought) => (report, Some(brought)),
        Err(error) => {
            report.failure = Some(problem(step, hook, &error));
            (report, None)
        }
    }
}

/// A hook's answer to whether it had held, and why it can only claim so, if it can.
pub fn verified(hook: &str, timed: Timed<Proof>) -> (StepReport, Option<String>) {
    let (mut report, proof) = report(Step::Verify, hook, timed);
    let (note, unproved) = match proof {
        None => (None, None),
        Some(Proof::Proved { how }) => (Some(format!("proved: {how}")), None),
        Some(Proof::Claimed { why }) => (Some(format!("claimed, not proved: {why}")), Some(why)),
    };
    report.note = note;
    (report, unproved)
}

/// A step of a filesystem.
pub fn filesystem(step: Step, mount_point: &str, took: Took, failure: Option<Problem>) -> StepReport {
    StepReport { failure, ..plain(step, mount_point, took.began, took.ended) }
}

/// A step without anything to say of it.
pub fn plain(step: Step, subject: &str, began: BootTime, ended: BootTime) -> StepReport {
    StepReport { step, subject: subject.to_owned(), began, ended, note: None, failure: None }
}

fn problem(step: Step, hook: &str, error: &HookError) -> Problem {
    let verb = match step {
        Step::Inspect => "be inspected",
        Step::Prepare => "prepare",
        Step::Quiesce => "quiesce its application",
        Step::Verify => "prove its hold",
        Step::Resume => "resume its application",
        Step::Sync | Step::Freeze | Step::Thaw => "take its step",
    };
    Problem::from(error).within(format!("hook {hook} could not {verb}"))
}
