//! The open session: how it goes forth to the hold, and back from wherever it turns.

use super::Turn;
use super::holds::Holds;
use super::messages::{Action, FreezeEnd, OpenSession, Progress, RequestId, Verified, Why};
use super::past::Outcome;
use crate::exit::ExitCode;
use crate::id::ExecutionId;
use crate::plan::{FilesystemIndex, HookIndex, Plan};
use crate::problem::Problem;
use crate::proof::{FrozenSpan, HookProof, Standing};
use crate::report::{
    Ending, Phase, PhaseSpan, REPORT_VERSION, Residue, SessionReport, StepReport, ThingKind,
};
use crate::time::BootTime;
use crate::verdict::Evidence;

/// A request that is answered when the session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Post(RequestId),
    ReleaseAll(RequestId),
}

impl Waiting {
    pub(super) const fn request(self) -> RequestId {
        match self {
            Self::Post(request) | Self::ReleaseAll(request) => request,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Running {
    opened_by: RequestId,
    /// The pre-script, until it is answered or gone.
    pre: Option<RequestId>,
    waiting: Vec<Waiting>,
    budget_ends: BootTime,
    /// Everything was held once, and pre-script was told so.
    was_held: bool,
    /// Set when the session turns back; it never turns again.
    ending: Option<Ending>,
    /// Each way in which the hold turned out to be broken.
    broken: Vec<String>,
    /// Each hook that claims to have held and cannot prove it.
    unproved: Vec<String>,
    /// Preparing has ended without a hold.
    never_began: bool,
    holds: Holds,
    report: SessionReport,
}

impl Running {
    pub(super) fn open(
        request: RequestId,
        id: ExecutionId,
        group: String,
        budget_ends: BootTime,
        turn: &mut Turn,
    ) -> Self {
        turn.actions.push(Action::Prepare { id: id.clone(), group: group.clone(), budget_ends });
        let report = SessionReport {
            version: REPORT_VERSION,
            execution_id: id,
            group,
            verdict: None,
            reasons: Vec::new(),
            ending: None,
            code: None,
            plan: Plan::default(),
            phases: vec![PhaseSpan { phase: Phase::Preparing, began: turn.now, ended: None }],
            steps: Vec::new(),
            proofs: Vec::new(),
            frozen: Vec::new(),
            lease_ends: None,
            residue: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            host: None,
        };
        Self {
            opened_by: request,
            pre: Some(request),
            waiting: Vec::new(),
            budget_ends,
            was_held: false,
            ending: None,
            broken: Vec::new(),
            unproved: Vec::new(),
            never_began: false,
            holds: Holds::default(),
            report,
        }
    }

    pub(super) fn id(&self) -> &ExecutionId {
        &self.report.execution_id
    }

    pub(super) fn phase(&self) -> Phase {
        self.report.phases.last().map_or(Phase::Preparing, |span| span.phase)
    }

    pub(super) const fn was_held(&self) -> bool {
        self.was_held
    }

    pub(super) const fn is_turning_back(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn is_held(&self) -> bool {
        self.phase() == Phase::Held
    }

    pub(super) const fn lease_ends(&self) -> Option<BootTime> {
        self.report.lease_ends
    }

    /// When this session must turn back by itself; none once it has turned.
    pub(super) fn deadline(&self) -> Option<BootTime> {
        if self.ending.is_some() {
            return None;
        }
        let budget_ends = self.pre.map(|_| self.budget_ends);
        budget_ends.into_iter().chain(self.report.lease_ends).min()
    }

    pub(super) fn pass_deadlines(&mut self, turn: &mut Turn) {
        if self.report.lease_ends.is_some_and(|end| turn.now >= end) {
            self.turn_back(Ending::LeaseEnded, turn);
        } else if self.pre.is_some() && turn.now >= self.budget_ends {
            self.turn_back(Ending::BudgetEnded, turn);
        }
    }

    pub(super) fn wait_for_end(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Forgets a request whose client has gone. A session is given up whose pre-script never had its answer: nobody
    /// takes a snapshot then, and nobody calls post-script.
    pub(super) fn client_gone(&mut self, request: RequestId, turn: &mut Turn) {
        self.waiting.retain(|waiting| waiting.request() != request);
        if self.opened_by == request {
            self.pre = None;
            self.turn_back(Ending::ClientGone, turn);
        }
    }

    /// Takes note that something was released after it had been given up.
    pub(super) fn residue_cleared(&mut self, kind: ThingKind, name: &str) {
        self.report.residue.retain(|residue| !residue.is(kind, name));
    }

    pub(super) fn progress(&mut self, progress: Progress, turn: &mut Turn) {
        match progress {
            Progress::Prepared { plan, lease_ends } => self.prepared(plan, lease_ends, turn),
            Progress::NotPrepared { ending, problems } => self.not_prepared(ending, problems),
            Progress::Noted(step) => self.report.steps.push(step),
            Progress::Warned(problem) => self.report.warnings.push(problem),
            Progress::Quiesced { hook, step } => self.quiesced(hook, step, turn),
            Progress::Frozen { filesystem, step, by_other } => self.frozen(filesystem, step, by_other, turn),
            Progress::Settled { filesystem, end, step, sectors_written } => {
                self.stood_still(filesystem, end, step.as_ref(), sectors_written);
                self.settled(filesystem, end, step, turn);
            }
            Progress::Released { hook, verify, resume } => {
                self.vouched(hook, verify);
                self.released(hook, resume, turn);
            }
            Progress::HoldLost(problem) => self.hold_lost(problem, turn),
            Progress::LeaseEnded => self.turn_back(Ending::LeaseEnded, turn),
        }
    }

    fn prepared(&mut self, plan: Plan, lease_ends: BootTime, turn: &mut Turn) {
        if self.phase() != Phase::Preparing {
            return;
        }
        if self.ending.is_some() {
            self.never_began = true;
            return;
        }
        self.report.plan = plan.clone();
        self.holds = Holds::new(plan);
        self.report.lease_ends = Some(lease_ends);
        self.enter(Phase::Quiescing, turn.now);
        self.go_on(turn);
    }

    fn not_prepared(&mut self, ending: Ending, problems: Vec<Problem>) {
        if self.phase() != Phase::Preparing {
            return;
        }
        self.never_began = true;
        if self.ending.is_none() {
            self.ending = Some(ending);
            self.report.problems.extend(problems);
        }
    }

    fn quiesced(&mut self, hook: HookIndex, step: StepReport, turn: &mut Turn) {
        if !self.holds.quiesced(hook, step.failure.is_none()) {
            return;
        }
        self.take(step, Ending::Failed, turn);
        self.go_on(turn);
    }

    fn frozen(&mut self, filesystem: FilesystemIndex, step: StepReport, by_other: bool, turn: &mut Turn) {
        if !self.holds.frozen(filesystem, step.failure.is_none()) {
            return;
        }
        if step.failure.is_none() {
            let mount_point = self.holds.plan.filesystems[filesystem].mount_point.clone();
            let (from, until) = (step.ended, None);
            self.report.frozen.push(FrozenSpan { mount_point, from, until, sectors_written: None });
        }
        self.take(step, if by_other { Ending::HeldByOther } else { Ending::Failed }, turn);
        self.go_on(turn);
    }

    /// Takes note of how long a filesystem is known to have been frozen.
    fn stood_still(
        &mut self,
        filesystem: FilesystemIndex,
        end: FreezeEnd,
        thaw: Option<&StepReport>,
        sectors_written: Option<u64>,
    ) {
        let Some(planned) = self.holds.plan.filesystems.get(filesystem) else { return };
        let is_its = |span: &&mut FrozenSpan| span.mount_point == planned.mount_point;
        if let Some(span) = self.report.frozen.iter_mut().find(is_its) {
            span.until = thaw.filter(|_| end == FreezeEnd::Thawed).map(|step| step.began);
            span.sectors_written = sectors_written;
        }
    }

    fn settled(
        &mut self,
        filesystem: FilesystemIndex,
        end: FreezeEnd,
        step: Option<StepReport>,
        turn: &mut Turn,
    ) {
        if self.phase() != Phase::Thawing || !self.holds.settled(filesystem) {
            return;
        }
        let name = self.holds.plan.filesystems[filesystem].mount_point.display().to_string();
        match end {
            FreezeEnd::Thawed => {}
            FreezeEnd::NeverFrozen if !self.was_held => {}
            FreezeEnd::NeverFrozen => self.broken.push(format!("{name} was not frozen")),
            FreezeEnd::ThawedByOther => {
                self.broken.push(format!("somebody else thawed {name} inside the window"));
            }
            FreezeEnd::Residue => self.leave(ThingKind::Filesystem, name, step.as_ref()),
        }
        self.report.steps.extend(step);
        self.go_on(turn);
    }

    /// Takes what a hook says of its hold. A hold that ended early is broken anyway, and nobody was asked.
    fn vouched(&mut self, hook: HookIndex, verify: Option<Box<Verified>>) {
        if !self.holds.is_releasing(hook) {
            return;
        }
        let planned = &self.holds.plan.hooks[hook];
        let (name, keeps_nothing) = (&planned.name, planned.data.is_empty());
        let Some(verified) = verify else {
            if self.was_held && self.ending == Some(Ending::Post) {
                self.broken.push(format!("hook {name} was not asked for proof"));
            }
            return;
        };
        let Verified { step, proof } = *verified;
        let HookProof { standing, how, .. } = &proof;
        match standing {
            Standing::Lost => self.broken.push(format!("hook {name} lost its hold: {how}")),
            Standing::Claimed => {
                self.unproved.push(format!("nothing proves that hook {name} held its application: {how}"));
            }
            Standing::Proved if keeps_nothing => {
                let reason = "so nothing shows that what it stores lies on a frozen filesystem";
                self.unproved.push(format!("hook {name} names no data, {reason}"));
            }
            Standing::Proved => {}
        }
        self.report.problems.extend(step.failure.clone());
        self.report.steps.push(step);
        self.report.proofs.push(proof);
    }

    fn released(&mut self, hook: HookIndex, resume: StepReport, turn: &mut Turn) {
        if !self.holds.released(hook) {
            return;
        }
        if resume.failure.is_some() {
            self.leave(ThingKind::Hook, self.holds.plan.hooks[hook].name.clone(), Some(&resume));
        }
        self.report.steps.push(resume);
        self.go_on(turn);
    }

    fn hold_lost(&mut self, problem: Problem, turn: &mut Turn) {
        self.broken.push(problem.to_string());
        self.report.problems.push(problem);
        self.turn_back(Ending::HoldLost, turn);
    }

    /// Starts the way back, from wherever the session stands. Only the first reason counts.
    pub(super) fn turn_back(&mut self, ending: Ending, turn: &mut Turn) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        match self.phase() {
            Phase::Preparing => turn.actions.push(Action::CancelPrepare),
            Phase::Quiescing => {
                turn.actions.extend(self.holds.being_quiesced().into_iter().map(Action::CancelQuiesce));
                self.go_on(turn);
            }
            Phase::Freezing | Phase::Held => self.thaw(turn),
            Phase::Thawing | Phase::Resuming => {}
        }
    }

    /// Whether nothing is held and nothing under way: the session can be closed.
    pub(super) fn is_over(&self) -> bool {
        self.never_began || (self.phase() == Phase::Resuming && self.holds.all_released())
    }

    /// Closes the session: the report is completed, and everybody who waits is answered.
    pub(super) fn close(mut self, turn: &mut Turn) -> (ExecutionId, Outcome, Vec<Residue>) {
        self.leave_phase(turn.now);
        let ending = self.ending.unwrap_or(Ending::Failed);
        let code = self.code(ending);
        let (verdict, reasons) = self.evidence(ending).verdict();
        self.report.verdict = Some(verdict);
        self.report.reasons = reasons;
        self.report.ending = Some(ending);
        self.report.code = Some(code);
        turn.actions.push(Action::Close(Box::new(self.report.clone())));
        let released =
            if self.report.residue.is_empty() { ExitCode::Done } else { ExitCode::PostScriptFailed };
        let waiting = self.waiting.iter().map(|waiting| match waiting {
            Waiting::Post(request) => (*request, code),
            Waiting::ReleaseAll(request) => (*request, released),
        });
        for (request, code) in self.pre.map(|request| (request, code)).into_iter().chain(waiting) {
            turn.answer_about(request, code, Why::Ended(ending), Box::new(self.report.clone()));
        }
        let outcome = match (self.was_held, ending) {
            (false, _) => Outcome::NeverHeld,
            (true, Ending::Post) => Outcome::Posted(code),
            (true, _) => Outcome::AutoThawed,
        };
        (self.report.execution_id, outcome, self.report.residue)
    }

    pub(super) fn view(&self) -> OpenSession {
        OpenSession {
            id: self.id().clone(),
            group: self.report.group.clone(),
            phase: self.phase(),
            lease_ends: self.report.lease_ends,
            report: Box::new(self.report.clone()),
        }
    }

    /// Does whatever can be done next, in the phase that the session is in.
    fn go_on(&mut self, turn: &mut Turn) {
        match (self.phase(), self.ending) {
            (Phase::Quiescing, None) => {
                turn.actions.extend(self.holds.start_quiesces().into_iter().map(Action::Quiesce));
                if self.holds.all_quiesced() {
                    self.freeze(turn);
                }
            }
            (Phase::Quiescing, Some(_)) if self.holds.being_quiesced().is_empty() => self.thaw(turn),
            (Phase::Freezing, None) if self.holds.all_frozen() => self.hold(turn),
            (Phase::Thawing, _) if self.holds.all_settled() => self.resume(turn),
            (Phase::Resuming, _) => {
                // Proof is asked for only when it can still count, and not for longer than the applications were promised
                // to be held.
                let verify_until =
                    self.report.lease_ends.filter(|_| self.was_held && self.ending == Some(Ending::Post));
                let release = |hook| Action::Release { hook, verify_until };
                turn.actions.extend(self.holds.start_releases().into_iter().map(release));
            }
            _ => {}
        }
    }

    fn freeze(&mut self, turn: &mut Turn) {
        self.enter(Phase::Freezing, turn.now);
        if self.holds.start_freeze() {
            turn.actions.push(Action::Freeze);
        } else {
            self.hold(turn);
        }
    }

    fn hold(&mut self, turn: &mut Turn) {
        self.enter(Phase::Held, turn.now);
        self.was_held = true;
        if let Some(request) = self.pre.take() {
            turn.answer_about(request, ExitCode::Done, Why::Held, Box::new(self.report.clone()));
        }
    }

    fn thaw(&mut self, turn: &mut Turn) {
        if self.holds.owes_a_thaw() {
            self.enter(Phase::Thawing, turn.now);
            turn.actions.push(Action::Thaw);
        } else {
            self.resume(turn);
        }
    }

    fn resume(&mut self, turn: &mut Turn) {
        self.enter(Phase::Resuming, turn.now);
        self.go_on(turn);
    }

    fn enter(&mut self, phase: Phase, now: BootTime) {
        self.leave_phase(now);
        self.report.phases.push(PhaseSpan { phase, began: now, ended: None });
    }

    fn leave_phase(&mut self, now: BootTime) {
        if let Some(span) = self.report.phases.last_mut() {
            span.ended = Some(now);
        }
    }

    /// Reports a step on the way to the hold. Its failure turns the session back, unless it has turned already:
    /// then it is a consequence, not a reason.
    fn take(&mut self, step: StepReport, ending: Ending, turn: &mut Turn) {
        let failure = step.failure.clone();
        self.report.steps.push(step);
        if let (Some(problem), None) = (failure, self.ending) {
            self.report.problems.push(problem);
            self.turn_back(ending, turn);
        }
    }

    fn leave(&mut self, kind: ThingKind, name: String, step: Option<&StepReport>) {
        let problem = step
            .and_then(|step| step.failure.clone())
            .unwrap_or_else(|| Problem::new(format!("{name} could not be released")));
        self.report.problems.push(problem.clone());
        self.report.residue.push(Residue { kind, name, problem });
    }

    fn code(&self, ending: Ending) -> ExitCode {
        match (self.was_held, ending) {
            (false, _) => ending.code_of_pre(),
            (true, Ending::Post) if !self.report.residue.is_empty() => ExitCode::PostScriptFailed,
            (true, Ending::Post) if self.broken.is_empty() => ExitCode::Done,
            (true, _) => ExitCode::AutoThawed,
        }
    }

    fn evidence(&self, ending: Ending) -> Evidence {
        let mut broken = self.broken.clone();
        if !self.was_held {
            broken.insert(0, format!("not everything was held, because {}", ending.because()));
        } else if ending != Ending::Post {
            broken.insert(0, format!("the hold ended because {}", ending.because()));
        }
        let outside = |outside: &crate::plan::Outside| {
            format!(
                "hook {} stores {} outside the frozen filesystems: {}",
                outside.hook,
                outside.path.display(),
                outside.reason
            )
        };
        Evidence {
            broken,
            data_not_frozen: self.report.plan.outside.iter().map(outside).collect(),
            unproved: self.unproved.clone(),
            hooks: self.report.plan.hooks.len(),
            filesystems: self.report.plan.filesystems.len(),
        }
    }
}
