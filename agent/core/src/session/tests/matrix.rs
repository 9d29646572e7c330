//! Every phase meets every event; what comes of it is written down in full and compared.

use std::fmt::Write as _;

use super::*;

const PHASES: [Option<Phase>; 7] = [
    None,
    Some(Phase::Preparing),
    Some(Phase::Quiescing),
    Some(Phase::Freezing),
    Some(Phase::Held),
    Some(Phase::Thawing),
    Some(Phase::Resuming),
];

/// A world in a phase, reached by the way of a session that goes well.
fn world_in(phase: Option<Phase>) -> World {
    let mut world = World::new(OnConflict::Reject);
    if phase.is_some() {
        world.pre(id(1));
    }
    if phase > Some(Phase::Held) {
        world.settle();
        world.post(id(1));
    }
    world.settle_until(phase);
    assert_eq!(world.phase(), phase);
    world.trace.clear();
    world
}

type MakeEvent = (&'static str, fn(BootTime) -> Event);

fn events() -> Vec<MakeEvent> {
    const REQUEST: RequestId = RequestId(77);
    const OPENER: RequestId = RequestId(1);
    fn pre(id: ExecutionId) -> Event {
        Event::Pre { request: REQUEST, id, group: "default".into() }
    }
    fn settled(end: FreezeEnd) -> Event {
        Progress::Settled { filesystem: 0, end, step: None, sectors_written: None }.into()
    }
    fn frozen(fails: bool, by_other: bool) -> Event {
        Progress::Frozen { filesystem: 0, step: step(Step::Freeze, fails), by_other }.into()
    }
    fn quiesced(fails: bool) -> Event {
        Progress::Quiesced { hook: 0, step: step(Step::Quiesce, fails) }.into()
    }
    vec![
        ("pre, same id", |_| pre(id(1))),
        ("pre, other id", |_| pre(id(2))),
        ("pre, None", |_| pre(ExecutionId::NONE)),
        ("post, same id", |_| Event::Post { request: REQUEST, id: id(1) }),
        ("post, other id", |_| Event::Post { request: REQUEST, id: id(2) }),
        ("release all", |_| Event::ReleaseAll { request: REQUEST }),
        ("opener gone", |_| Event::ClientGone { request: OPENER }),
        ("stop", |_| Event::Stop),
        ("tick", |_| Event::Tick),
        ("prepared", |now| Progress::Prepared { plan: plan(), lease_ends: now + LEASE }.into()),
        ("not prepared", |_| Progress::NotPrepared { ending: Ending::NotReady, problems: vec![] }.into()),
        ("hook 0 quiesced", |_| quiesced(false)),
        ("hook 0 failed", |_| quiesced(true)),
        ("fs 0 frozen", |_| frozen(false, false)),
        ("fs 0 failed", |_| frozen(true, false)),
        ("fs 0 frozen by other", |_| frozen(true, true)),
        ("fs 0 thawed", |_| settled(FreezeEnd::Thawed)),
        ("fs 0 stuck", |_| settled(FreezeEnd::Residue)),
        ("hook 1 released", |_| {
            let resume = step(Step::Resume, false);
            Progress::Released { hook: 1, verify: None, resume }.into()
        }),
        ("hold lost", |_| Progress::HoldLost(Problem::new("lost")).into()),
        ("lease ended", |_| Progress::LeaseEnded.into()),
        ("residue cleared", |_| Event::ResidueCleared {
            kind: crate::report::ThingKind::Hook,
            name: "h0".into(),
        }),
    ]
}

fn brief(action: &Action) -> String {
    match action {
        Action::Answer { answer, .. } => format!("answer {}", answer.code.number()),
        Action::Prepare { .. } => "prepare".into(),
        Action::CancelPrepare => "cancel prepare".into(),
        Action::Quiesce(hook) => format!("quiesce {hook}"),
        Action::CancelQuiesce(hook) => format!("cancel {hook}"),
        Action::Freeze => "freeze".into(),
        Action::Thaw => "thaw".into(),
        Action::Release { hook, verify_until: Some(_) } => format!("prove and release {hook}"),
        Action::Release { hook, verify_until: None } => format!("release {hook}"),
        Action::Close(_) => "close".into(),
        Action::Exit => "exit".into(),
    }
}

#[test]
fn every_phase_meets_every_event() {
    let mut table = String::new();
    for phase in PHASES {
        writeln!(table, "{}", phase.map_or("idle", Phase::name)).unwrap();
        for (name, make) in events() {
            let mut world = world_in(phase);
            world.send(make(world.now));
            let actions: Vec<String> = world.trace.iter().map(brief).collect();
            let after = world.phase().map_or("idle", Phase::name);
            writeln!(table, "  {name:<22}→ {after:<9}{}", actions.join(", ")).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}
