//! The machine, driven without a driver.

mod matrix;
mod table;
mod walk;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::block::Stack;
use crate::plan::{DataPath, Outside, Plan, PlannedFilesystem, PlannedHook};
use crate::problem::Problem;
use crate::proof::{HookProof, Positions, Standing};
use crate::report::{Phase, Step, StepReport};
use crate::superblock::Superblock;

pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const BUDGET: Duration = Duration::from_secs(8);

pub(super) fn policy(on_conflict: OnConflict) -> Policy {
    Policy { lease: LEASE, budget: BUDGET, on_conflict }
}

pub(super) fn id(digit: u8) -> ExecutionId {
    format!("00000000-0000-0000-0000-{digit:012}").parse().unwrap()
}

/// Hooks `h0`, `h1` after `h0`, `h2`; two filesystems.
pub(super) fn plan() -> Plan {
    let hook = |name: &str, after: &[usize]| {
        let data = vec![DataPath { path: "/data0".into(), what: "data".into() }];
        PlannedHook { name: name.into(), after: after.into(), data }
    };
    let filesystem = |minor| PlannedFilesystem {
        mount_point: PathBuf::from(format!("/data{minor}")),
        superblock: Superblock { major: 7, minor },
        fs_type: "ext4".into(),
        rank: 0,
        also_at: vec![],
        data: vec![],
        stack: Stack::default(),
    };
    Plan {
        hooks: vec![hook("h0", &[]), hook("h1", &[0]), hook("h2", &[])],
        filesystems: vec![filesystem(0), filesystem(1)],
        outside: vec![],
    }
}

pub(super) fn step(step: Step, fails: bool) -> StepReport {
    StepReport {
        step,
        subject: "it".into(),
        began: BootTime::from_nanos(0),
        ended: BootTime::from_nanos(1),
        note: None,
        failure: fails.then(|| Problem::new("it failed")),
    }
}

pub(super) fn verified(standing: Standing) -> Box<Verified> {
    let how = match standing {
        Standing::Lost => "it failed",
        Standing::Claimed => "nobody looked",
        Standing::Proved => "it is still there",
    };
    let positions = Positions::from([("LSN".to_owned(), "17".to_owned())]);
    let proof = HookProof { hook: "it".into(), standing, how: how.into(), positions };
    Box::new(Verified { step: step(Step::Verify, standing == Standing::Lost), proof })
}

/// What is wrong with the next step of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) not_ready: bool,
    pub(super) quiesce: Option<usize>,
    pub(super) freeze: Option<usize>,
    pub(super) by_other: bool,
    pub(super) thaw: Option<FreezeEnd>,
    pub(super) verify: bool,
    pub(super) unproved: bool,
    pub(super) resume: bool,
    pub(super) outside: bool,
}

/// A machine and a host on which every step ends at once, except those that are held back.
pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) now: BootTime,
    pub(super) faults: Faults,
    pub(super) trace: Vec<Action>,
    pending: Vec<Action>,
    requests: u64,
}

impl World {
    pub(super) fn new(on_conflict: OnConflict) -> Self {
        Self {
            machine: Machine::new(policy(on_conflict), Past::default()),
            now: BootTime::from_nanos(1_000_000_000),
            faults: Faults::default(),
            trace: vec![],
            pending: vec![],
            requests: 0,
        }
    }

    pub(super) fn send(&mut self, event: Event) {
        let actions = self.machine.apply(self.now, event);
        self.trace.extend(actions.iter().cloned());
        self.pending.extend(actions);
    }

    pub(super) fn request(&mut self, make: impl FnOnce(RequestId) -> Event) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.send(make(request));
        request
    }

    pub(super) fn pre(&mut self, id: ExecutionId) -> RequestId {
        self.request(|request| Event::Pre { request, id, group: "default".into() })
    }

    pub(super) fn post(&mut self, id: ExecutionId) -> RequestId {
        self.request(|request| Event::Post { request, id })
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.send(Event::Tick);
    }

    /// Lets the host do what it was asked, until there is nothing left or the phase is reached.
    pub(super) fn settle_until(&mut self, phase: Option<Phase>) {
        while self.phase() != phase {
            if self.pending.is_empty() {
                break;
            }
            let action = self.pending.remove(0);
            for event in self.replies(&action) {
                self.send(event);
            }
        }
    }

    pub(super) fn settle(&mut self) {
        while !self.pending.is_empty() {
            let action = self.pending.remove(0);
            for event in self.replies(&action) {
                self.send(event);
            }
        }
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.machine.status().session.map(|session| session.phase)
    }

    /// The answer to a request, which must be its only one.
    pub(super) fn answer(&self, request: RequestId) -> Option<&Answer> {
        let mut answers = self.trace.iter().filter_map(|action| match action {
            Action::Answer { request: to, answer } if *to == request => Some(answer),
            _ => None,
        });
        let first = answers.next();
        assert!(answers.next().is_none(), "{request:?} was answered twice");
        first
    }

    pub(super) fn code(&self, request: RequestId) -> Option<u8> {
        self.answer(request).map(|answer| answer.code.number())
    }

    fn replies(&self, action: &Action) -> Vec<Event> {
        let faults = self.faults;
        let events = match action {
            Action::Prepare { .. } if faults.not_ready => {
                vec![Progress::NotPrepared { ending: Ending::NotReady, problems: vec![Problem::new("no")] }]
            }
            Action::Prepare { .. } => {
                let mut plan = plan();
                if faults.outside {
                    let outside = Outside {
                        hook: "h0".into(),
                        path: "/var/db".into(),
                        reason: "it is /".into(),
                        stack: Stack::default(),
                    };
                    plan.outside.push(outside);
                }
                vec![Progress::Prepared { plan, lease_ends: self.now + LEASE }]
            }
            Action::CancelPrepare => {
                vec![Progress::NotPrepared { ending: Ending::Failed, problems: vec![] }]
            }
            Action::Quiesce(hook) => {
                let failed = faults.quiesce == Some(*hook);
                vec![Progress::Quiesced { hook: *hook, step: step(Step::Quiesce, failed) }]
            }
            Action::Freeze => (0..2).map(|filesystem| self.freeze(filesystem)).collect(),
            Action::Thaw => (0..2).map(|filesystem| self.thaw(filesystem)).collect(),
            Action::Release { hook, verify_until } => vec![Progress::Released {
                hook: *hook,
                verify: verify_until.map(|_| {
                    verified(match (faults.verify, faults.unproved) {
                        (true, _) => Standing::Lost,
                        (false, true) => Standing::Claimed,
                        (false, false) => Standing::Proved,
                    })
                }),
                resume: step(Step::Resume, faults.resume),
            }],
            Action::CancelQuiesce(_) | Action::Close(_) | Action::Answer { .. } | Action::Exit => vec![],
        };
        events.into_iter().map(Event::from).collect()
    }

    fn freeze(&self, filesystem: usize) -> Progress {
        let failed = self.faults.freeze == Some(filesystem);
        Progress::Frozen {
            filesystem,
            step: step(Step::Freeze, failed),
            by_other: failed && self.faults.by_other,
        }
    }

    fn thaw(&self, filesystem: usize) -> Progress {
        let end = if self.faults.freeze == Some(filesystem) {
            FreezeEnd::NeverFrozen
        } else {
            self.faults.thaw.unwrap_or(FreezeEnd::Thawed)
        };
        let failed = matches!(end, FreezeEnd::Residue | FreezeEnd::ThawedByOther);
        Progress::Settled { filesystem, end, step: Some(step(Step::Thaw, failed)), sectors_written: Some(0) }
    }
}
