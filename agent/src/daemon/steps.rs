//! What hooks and the guardian tell, in the words of a session's report.

use quiesced_core::problem::Problem;
use quiesced_core::proof::{HookProof, Standing};
use quiesced_core::report::{Step, StepReport};
use quiesced_core::session::Verified;
use quiesced_core::time::BootTime;
use quiesced_freezer::guardian::Took;
use quiesced_hooks::{HookError, Proof, Timed, Vouched};

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

/// A hook's answer to whether it had held.
pub fn verified(hook: &str, vouched: Vouched) -> Verified {
    let Vouched { proof, positions } = vouched;
    let (mut step, proof) = report(Step::Verify, hook, proof);
    let (standing, how) = match proof {
        None => (Standing::Lost, step.failure.as_ref().map(Problem::to_string).unwrap_or_default()),
        Some(Proof::Proved { how }) => (Standing::Proved, how),
        Some(Proof::Claimed { why }) => (Standing::Claimed, why),
    };
    step.note = match standing {
        Standing::Lost => None,
        Standing::Proved => Some(format!("proved: {how}")),
        Standing::Claimed => Some(format!("claimed, not proved: {how}")),
    };
    Verified { step, proof: HookProof { hook: hook.to_owned(), standing, how, positions } }
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
        Step::Manifest | Step::Sync | Step::Freeze | Step::Thaw => "take its step",
    };
    Problem::from(error).within(format!("hook {hook} could not {verb}"))
}
