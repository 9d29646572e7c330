//! Restore cycles: a database under load is snapshotted, and the snapshots are restored on fresh devices and read.
//!
//! ```text
//! canaries ─▶ pre-script ─▶ snapshots, one after the other ─▶ post-script ─▶ restore ─▶ start ─▶ the engine's checks,
//!     ▲           (by the simulated SSM agent, or not at all)                             canaries, acknowledged rows
//!     └──────────────────────────────────── the next cycle ◀──────────────────────────────────────────┘
//! ```
//!
//! "It starts, and its checksums are right" does not show that a snapshot is good: rows may be missing all the same. So
//! a row counts only when it was acknowledged, each place has a canary with a number that grows, and a cycle is good when
//! the copy has all of them.

pub(crate) mod engines;
pub(crate) mod judge;
pub(crate) mod load;
mod report;
mod scene;

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

pub use engines::Case;
pub use judge::Outcome;
pub use report::Row;
pub use scene::AgentUnderTest;

use crate::agent::refuse_installed;
use scene::Scene;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How far apart the snapshots of two volumes are.
const GAP: Duration = Duration::from_secs(1);

/// How many cycles one application lives through: its data grows, and others wait for their turn with the loop devices.
const LIFE: u32 = 10;

/// How one cycle went.
#[derive(Debug)]
pub struct CycleResult {
    /// What the snapshot is worth.
    pub outcome: Outcome,
    /// The longest wait of a client for its acknowledgement, the gaps included.
    pub stall: Duration,
    /// The agent's report of the session; null without an agent.
    pub session: Value,
}

impl CycleResult {
    /// Whether the agent said that the snapshot is application-consistent.
    pub fn is_vouched_for(&self) -> bool {
        self.session["verdict"] == "application-consistent"
    }

    fn window(&self) -> Option<Duration> {
        window(&self.session)
    }
}

/// From the first lock to the last release, by the agent's report of a session.
pub(crate) fn window(session: &Value) -> Option<Duration> {
    let mut held = session["phases"].as_array()?.iter().filter(|phase| phase["phase"] != "preparing");
    let (began, ended) = (held.clone().next()?["began"].as_u64()?, held.next_back()?["ended"].as_u64()?);
    Some(Duration::from_nanos(ended.saturating_sub(began)))
}

/// Runs `count` cycles of one case: with an agent as the lifecycle manager does, without one as if it were not there.
///
/// # Errors
/// When something cannot be run. What becomes of a snapshot is no error, but an [`Outcome`].
pub fn run(case: Case, count: u32, agent: Option<&AgentUnderTest>) -> Fallible<Row> {
    refuse_installed()?;
    let mut cycles = Vec::new();
    while let left @ 1.. = count.saturating_sub(u32::try_from(cycles.len())?) {
        let mut scene = Scene::new(case, agent, GAP)?;
        for _ in 0..left.min(LIFE) {
            let cycle = scene.cycle()?;
            if let Outcome::Torn(fault) | Outcome::Refused(fault) = &cycle.outcome {
                eprintln!("{}, {}, cycle {}: {fault}", case.engine(), case.mode(), cycles.len() + 1);
            }
            cycles.push(cycle);
        }
    }
    Ok(Row { case, cycles })
}

/// Runs `count` cycles of every case, or of those whose engine's name has `only` in it, and prints a table. True when
/// every snapshot was vouched for and is good; without an agent nothing is vouched for, and the table is the answer.
///
/// # Errors
/// When something cannot be run.
pub fn print(count: u32, only: &str, agent: Option<&AgentUnderTest>) -> Fallible<bool> {
    let mut rows = Vec::new();
    for case in Case::all() {
        let can_run = agent.is_some() || !case.needs_agent();
        if can_run && case.engine().to_lowercase().contains(&only.to_lowercase()) {
            rows.push(run(case, count, agent)?);
            let done = rows.last().map_or(0, |row| row.cycles.len());
            eprintln!("{}, {}: {done} cycles", case.engine(), case.mode());
        }
    }
    let held = if agent.is_some() { "with the agent" } else { "without the agent" };
    println!("{held}\n{}", report::table(&rows));
    println!(
        "Times in ms. Snapshots that are not taken at once are {} s apart, which is in both.",
        GAP.as_secs()
    );
    Ok(agent.is_none() || rows.iter().all(Row::is_kept))
}
