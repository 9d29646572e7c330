//! Random walks: whatever happens, in whatever order, the invariants hold.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What one step of a walk does; numbers choose among what is possible.
#[derive(Clone, Debug)]
enum Move {
    Pre(u8),
    Post(u8),
    ReleaseAll,
    ClientGone(u64),
    Finish { pick: usize, fails: bool },
    Pass(u64),
    HoldLost,
    LeaseEnded,
    Stop,
    ClearResidue,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => (0..3u8).prop_map(Move::Pre),
        3 => (0..3u8).prop_map(Move::Post),
        1 => Just(Move::ReleaseAll),
        1 => (1..20u64).prop_map(Move::ClientGone),
        20 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(pick, fails)| Move::Finish { pick, fails }),
        2 => (0..12_000u64).prop_map(Move::Pass),
        1 => Just(Move::HoldLost),
        1 => Just(Move::LeaseEnded),
        1 => prop::bool::weighted(0.1).prop_map(|stop| if stop { Move::Stop } else { Move::ClearResidue }),
    ]
}

/// A step that the host was asked for and has not reported yet.
#[derive(Clone, Debug, PartialEq)]
enum Open {
    Prepare,
    Quiesce(usize),
    Freeze(usize),
    Settle(usize),
    Release(usize),
}

/// An independent account of what is held, kept from the actions and reports alone.
#[derive(Default)]
struct Observer {
    open: Vec<Open>,
    session: bool,
    freeze_asked: bool,
    thaw_asked: bool,
    started: BTreeSet<usize>,
    quiesced: BTreeSet<usize>,
    released: BTreeSet<usize>,
    failures: usize,
    answered: BTreeMap<RequestId, u8>,
    exited: bool,
}

impl Observer {
    fn see(&mut self, action: &Action) {
        assert!(!self.exited || matches!(action, Action::Answer { .. }), "nothing is begun after the exit");
        match action {
            Action::Prepare { .. } => {
                assert!(!self.session, "two sessions at once");
                *self = Self { answered: std::mem::take(&mut self.answered), ..Self::default() };
                self.session = true;
                self.open.push(Open::Prepare);
            }
            Action::CancelPrepare => assert!(self.open.contains(&Open::Prepare)),
            Action::Quiesce(hook) => {
                assert!(self.started.insert(*hook), "quiesced twice");
                assert!(plan().hooks[*hook].after.iter().all(|other| self.quiesced.contains(other)));
                assert!(!self.freeze_asked);
                self.open.push(Open::Quiesce(*hook));
            }
            Action::CancelQuiesce(hook) => assert!(self.open.contains(&Open::Quiesce(*hook))),
            Action::Freeze => {
                assert!(!std::mem::replace(&mut self.freeze_asked, true), "frozen twice");
                assert_eq!(
                    self.quiesced.len(),
                    plan().hooks.len(),
                    "everything is quiesced before the freeze"
                );
                self.open.extend((0..2).map(Open::Freeze));
            }
            Action::Thaw => {
                assert!(self.freeze_asked, "only what was frozen is thawed");
                assert!(!std::mem::replace(&mut self.thaw_asked, true), "thawed twice");
                self.open.extend((0..2).map(Open::Settle));
            }
            Action::Release { hook, .. } => self.see_release(*hook),
            Action::Close(report) => self.see_close(report),
            Action::Answer { request, answer } => {
                let before = self.answered.insert(*request, answer.code.number());
                assert_eq!(before, None, "{request:?} was answered twice");
            }
            Action::Exit => {
                assert!(!self.session, "left with a session open");
                self.exited = true;
            }
        }
    }

    fn see_release(&mut self, hook: usize) {
        assert!(self.started.contains(&hook), "only what was started is released");
        assert!(!self.open.contains(&Open::Quiesce(hook)), "its quiesce is still under way");
        assert!(!self.open.iter().any(|open| matches!(open, Open::Settle(_))), "thaw comes before resume");
        assert_eq!(self.freeze_asked, self.thaw_asked, "thaw comes before resume");
        let dependents = (0..3).filter(|other| plan().hooks[*other].after.contains(&hook));
        for dependent in dependents.filter(|other| self.started.contains(other)) {
            assert!(self.released.contains(&dependent), "what came after is released first");
        }
        assert!(
            !self.open.contains(&Open::Release(hook)) && !self.released.contains(&hook),
            "released twice"
        );
        self.open.push(Open::Release(hook));
    }

    fn see_close(&mut self, report: &SessionReport) {
        assert_eq!(self.started, self.released, "everything started is released, and nothing else");
        assert_eq!(self.freeze_asked, self.thaw_asked, "what was frozen is thawed");
        if report.code == Some(ExitCode::Done) {
            assert_eq!(report.ending, Some(Ending::Post));
            assert_eq!(self.failures, 0, "success is never claimed over a failure");
            assert_eq!(report.verdict, Some(crate::verdict::Verdict::ApplicationConsistent));
        }
        self.session = false;
        self.open.clear();
    }

    /// Takes one open step and makes the report of its end.
    fn finish(&mut self, pick: usize, fails: bool, now: BootTime) -> Option<Progress> {
        if self.open.is_empty() {
            return None;
        }
        let open = self.open.remove(pick % self.open.len());
        self.failures += usize::from(fails);
        Some(match open {
            Open::Prepare if fails => {
                Progress::NotPrepared { ending: Ending::Failed, problems: vec![Problem::new("no")] }
            }
            Open::Prepare => Progress::Prepared { plan: plan(), lease_ends: now + LEASE },
            Open::Quiesce(hook) => {
                if !fails {
                    self.quiesced.insert(hook);
                }
                Progress::Quiesced { hook, step: step(Step::Quiesce, fails) }
            }
            Open::Freeze(filesystem) => Progress::Frozen {
                filesystem,
                step: step(Step::Freeze, fails),
                by_other: pick.is_multiple_of(2),
            },
            Open::Settle(filesystem) => {
                let ends = [FreezeEnd::Residue, FreezeEnd::ThawedByOther];
                let end = if fails { ends[pick % 2] } else { FreezeEnd::Thawed };
                Progress::Settled {
                    filesystem,
                    end,
                    step: Some(step(Step::Thaw, fails)),
                    sectors_written: None,
                }
            }
            Open::Release(hook) => {
                self.released.insert(hook);
                let lost = fails && pick.is_multiple_of(2);
                let verify = Some(verified(if lost { Standing::Lost } else { Standing::Proved }));
                Progress::Released { hook, verify, resume: step(Step::Resume, fails) }
            }
        })
    }
}

struct Walk {
    machine: Machine,
    now: BootTime,
    observer: Observer,
    asked: BTreeSet<RequestId>,
    gone: BTreeSet<RequestId>,
}

impl Walk {
    fn send(&mut self, event: Event) {
        for action in self.machine.apply(self.now, event) {
            self.observer.see(&action);
        }
    }

    fn ask(&mut self, make: impl FnOnce(RequestId) -> Event) {
        let request = RequestId(self.asked.len() as u64 + 1);
        self.asked.insert(request);
        self.send(make(request));
    }

    fn make(&mut self, next: &Move) {
        let id = |n: u8| if n == 0 { ExecutionId::NONE } else { id(n) };
        match next {
            Move::Pre(n) => self.ask(|request| Event::Pre { request, id: id(*n), group: "g".into() }),
            Move::Post(n) => self.ask(|request| Event::Post { request, id: id(*n) }),
            Move::ReleaseAll => self.ask(|request| Event::ReleaseAll { request }),
            Move::ClientGone(n) => {
                let request = RequestId(*n);
                if self.asked.contains(&request) && !self.observer.answered.contains_key(&request) {
                    self.gone.insert(request);
                }
                self.send(Event::ClientGone { request });
            }
            Move::Finish { pick, fails } => {
                if let Some(progress) = self.observer.finish(*pick, *fails, self.now) {
                    self.send(progress.into());
                }
            }
            Move::Pass(millis) => {
                self.now = self.now + Duration::from_millis(*millis);
                self.send(Event::Tick);
            }
            Move::HoldLost => self.send(Progress::HoldLost(Problem::new("lost")).into()),
            Move::LeaseEnded => self.send(Progress::LeaseEnded.into()),
            Move::Stop => self.send(Event::Stop),
            Move::ClearResidue => {
                for residue in self.machine.status().residue {
                    self.send(Event::ResidueCleared { kind: residue.kind, name: residue.name });
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_walk_keeps_the_invariants_and_ends_with_nothing_held(
        steps in prop::collection::vec(moves(), 0..80),
        replace in any::<bool>(),
    ) {
        let on_conflict = if replace { OnConflict::Replace } else { OnConflict::Reject };
        let mut walk = Walk {
            machine: Machine::new(policy(on_conflict), Past::default()),
            now: BootTime::from_nanos(0),
            observer: Observer::default(),
            asked: BTreeSet::new(),
            gone: BTreeSet::new(),
        };
        for next in &steps {
            walk.make(next);
        }
        walk.make(&Move::Pass(60_000));
        for _ in 0..100 {
            walk.make(&Move::Finish { pick: 0, fails: false });
            walk.make(&Move::Pass(if walk.observer.open.is_empty() { 60_000 } else { 0 }));
        }
        prop_assert!(walk.machine.is_idle(), "something is still held");
        let unanswered: Vec<_> = walk.asked.iter()
            .filter(|request| !walk.observer.answered.contains_key(request) && !walk.gone.contains(request))
            .collect();
        prop_assert!(unanswered.is_empty(), "never answered: {:?}", unanswered);
    }
}
