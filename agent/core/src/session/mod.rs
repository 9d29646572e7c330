//! The session state machine: what happened goes in, what is to be done comes out.
//!
//! ```text
//!  Idle ──pre──▶ Preparing ─▶ Quiescing ─▶ Freezing ─▶ Held ──post──▶ Thawing ─▶ Resuming ─▶ Idle
//!                    │            │            │         └─lease ends─▶ the same way back: 203 to post
//!                    └────────────┴────────────┴─ failure, budget over, client gone: the same way back: 201, 204, 206
//! ```
//!
//! [`Machine::apply`] is the only way in. It never waits and never fails: an event that fits no expectation (a step
//! reported twice, a request that is gone) changes nothing. Each rule of the request table stands as one arm in
//! `pre` or `post` below, in the table's order.

mod holds;
mod messages;
mod past;
mod running;
#[cfg(test)]
mod tests;

pub use messages::{
    Action, Answer, Event, FreezeEnd, OnConflict, OpenSession, Policy, Progress, RequestId, Status, Verified,
    Why,
};
pub use past::{Outcome, Past};

use crate::exit::ExitCode;
use crate::id::ExecutionId;
use crate::report::{Ending, Residue, SessionReport};
use crate::time::BootTime;
use running::{Running, Waiting};

/// A pre-script that waits for the session whose place it takes.
#[derive(Clone, Debug)]
struct Successor {
    request: RequestId,
    id: ExecutionId,
    group: String,
    budget_ends: BootTime,
}

/// The state of all sessions: at most one is open.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    running: Option<Running>,
    successor: Option<Successor>,
    past: Past,
    residue: Vec<Residue>,
    stopping: bool,
}

impl Machine {
    /// A machine with no session open, which knows what became of earlier ones.
    pub const fn new(policy: Policy, past: Past) -> Self {
        Self { policy, running: None, successor: None, past, residue: Vec::new(), stopping: false }
    }

    /// Changes the policy. The open session keeps the lease and the budget that it was opened with.
    pub const fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Whether no session is open.
    pub const fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// Whether earlier sessions released everything.
    pub fn has_no_residue(&self) -> bool {
        self.residue.is_empty()
    }

    /// When [`Event::Tick`] is due, at the latest.
    pub fn deadline(&self) -> Option<BootTime> {
        let running = self.running.as_ref().and_then(Running::deadline);
        let successor = self.successor.as_ref().map(|successor| successor.budget_ends);
        running.into_iter().chain(successor).min()
    }

    /// What the machine is doing.
    pub fn status(&self) -> Status {
        Status {
            session: self.running.as_ref().map(Running::view),
            residue: self.residue.clone(),
            stopping: self.stopping,
        }
    }

    /// Takes one event that happened at `now`, and returns what is to be done, in order.
    pub fn apply(&mut self, now: BootTime, event: Event) -> Vec<Action> {
        let mut turn = Turn { now, actions: Vec::new() };
        self.pass_deadlines(&mut turn);
        self.take(event, &mut turn);
        self.close_if_over(&mut turn);
        turn.actions
    }

    fn pass_deadlines(&mut self, turn: &mut Turn) {
        if let Some(running) = &mut self.running {
            running.pass_deadlines(turn);
        }
        let now = turn.now;
        if let Some(late) = self.successor.take_if(|successor| now >= successor.budget_ends) {
            turn.answer(late.request, ExitCode::PreScriptFailed, Why::Ended(Ending::BudgetEnded));
        }
    }

    fn take(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Pre { request, id, group } => self.pre(request, id, group, turn),
            Event::Post { request, id } => self.post(request, &id, turn),
            Event::ReleaseAll { request } => self.release_all(request, turn),
            Event::ClientGone { request } => self.client_gone(request, turn),
            Event::Progress(progress) => {
                if let Some(running) = &mut self.running {
                    running.progress(*progress, turn);
                }
            }
            Event::ResidueCleared { kind, name } => {
                self.residue.retain(|residue| !residue.is(kind, &name));
                // The thaw that came late may come before the session has ended.
                if let Some(running) = &mut self.running {
                    running.residue_cleared(kind, &name);
                }
            }
            Event::Stop => self.stop(turn),
            Event::Tick => {}
        }
    }

    fn pre(&mut self, request: RequestId, id: ExecutionId, group: String, turn: &mut Turn) {
        if self.stopping {
            return turn.answer(request, ExitCode::NotReady, Why::Stopping);
        }
        let Some(running) = &mut self.running else {
            return self.open(request, id, group, turn.now + self.policy.budget, turn);
        };
        if !id.is_none() && *running.id() == id && running.is_held() {
            if self.policy.leaves_enough(running.lease_ends(), turn.now) {
                turn.answer_about(request, ExitCode::Done, Why::StillHeld, running.view().report);
            } else {
                turn.answer(request, ExitCode::AlreadyFrozen, Why::LeaseTooShort);
            }
            return;
        }
        if self.policy.on_conflict == OnConflict::Reject || self.successor.is_some() {
            let open = running.id().clone();
            return turn.answer(request, ExitCode::AlreadyFrozen, Why::SessionOpen(open));
        }
        let budget_ends = turn.now + self.policy.budget;
        self.successor = Some(Successor { request, id, group, budget_ends });
        running.turn_back(Ending::Replaced, turn);
    }

    fn post(&mut self, request: RequestId, id: &ExecutionId, turn: &mut Turn) {
        if let Some(running) = self.running.as_mut().filter(|running| running.id() == id) {
            return match (running.was_held(), running.is_turning_back()) {
                (true, _) => {
                    running.wait_for_end(Waiting::Post(request));
                    running.turn_back(Ending::Post, turn);
                }
                (false, false) => turn.answer(request, ExitCode::AlreadyThawed, Why::NotHeldYet),
                (false, true) => turn.answer(request, ExitCode::AlreadyThawed, Why::NeverHeld(id.clone())),
            };
        }
        let (code, why) =
            self.past.outcome(id).and_then(|outcome| outcome.of_post(id)).unwrap_or_else(|| {
                let open = self.running.as_ref().map(|running| running.id().clone());
                (ExitCode::AlreadyThawed, Why::Unknown { id: id.clone(), open })
            });
        turn.answer(request, code, why);
    }

    fn release_all(&mut self, request: RequestId, turn: &mut Turn) {
        match &mut self.running {
            Some(running) => {
                running.wait_for_end(Waiting::ReleaseAll(request));
                running.turn_back(Ending::Released, turn);
            }
            None if self.residue.is_empty() => turn.answer(request, ExitCode::Done, Why::NothingHeld),
            None => turn.answer(request, ExitCode::PostScriptFailed, self.residue_left()),
        }
    }

    fn client_gone(&mut self, request: RequestId, turn: &mut Turn) {
        self.successor.take_if(|successor| successor.request == request);
        if let Some(running) = &mut self.running {
            running.client_gone(request, turn);
        }
    }

    fn stop(&mut self, turn: &mut Turn) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        match &mut self.running {
            Some(running) => running.turn_back(Ending::Stopped, turn),
            None => turn.actions.push(Action::Exit),
        }
    }

    fn open(
        &mut self,
        request: RequestId,
        id: ExecutionId,
        group: String,
        budget_ends: BootTime,
        turn: &mut Turn,
    ) {
        if self.residue.is_empty() {
            self.running = Some(Running::open(request, id, group, budget_ends, turn));
        } else {
            turn.answer(request, ExitCode::NotReady, self.residue_left());
        }
    }

    fn close_if_over(&mut self, turn: &mut Turn) {
        let Some(running) = self.running.take_if(|running| running.is_over()) else { return };
        let (id, outcome, residue) = running.close(turn);
        self.past.remember(id, outcome);
        self.residue.extend(residue);
        match self.successor.take() {
            Some(next) if self.stopping => turn.answer(next.request, ExitCode::NotReady, Why::Stopping),
            Some(next) => self.open(next.request, next.id, next.group, next.budget_ends, turn),
            None => {}
        }
        if self.stopping {
            turn.actions.push(Action::Exit);
        }
    }

    fn residue_left(&self) -> Why {
        let names: Vec<&str> = self.residue.iter().map(|residue| residue.name.as_str()).collect();
        Why::ResidueLeft(names.join(", "))
    }
}

impl Policy {
    /// A repeated pre-script counts as held only while half of the lease is left: the snapshot is yet to come.
    fn leaves_enough(&self, lease_ends: Option<BootTime>, now: BootTime) -> bool {
        lease_ends.is_some_and(|end| end - now >= self.lease / 2)
    }
}

/// One turn of the machine: when it happens, and what is to be done after it.
#[derive(Debug)]
struct Turn {
    now: BootTime,
    actions: Vec<Action>,
}

impl Turn {
    fn answer(&mut self, request: RequestId, code: ExitCode, why: Why) {
        self.actions.push(Action::Answer { request, answer: Answer { code, why, report: None } });
    }

    fn answer_about(&mut self, request: RequestId, code: ExitCode, why: Why, report: Box<SessionReport>) {
        self.actions.push(Action::Answer { request, answer: Answer { code, why, report: Some(report) } });
    }
}
