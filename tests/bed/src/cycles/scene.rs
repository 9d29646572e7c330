//! An application under load, and one cycle after the other: quiesce, snapshot, release, restore, look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::engines::{Application, Case};
use super::judge::{Outcome, Promise};
use super::load::{CLIENTS, Load};
use super::{CycleResult, Fallible};
use crate::agent::{Agent, AgentOptions};
use crate::dlm::{Document, Policy, Script, Ssm, SsmDelivery, run_cycle};
use crate::observe::wait_until;
use crate::tool::Tool;
use crate::volumes::{Bed, Image, SnapshotSet, Volume};

/// A cycle takes well under this; then the bed's failsafe thaws.
const FAILSAFE: Duration = Duration::from_secs(240);

/// A busy machine may take long; it is no failure of the agent's.
const LIMIT: Duration = Duration::from_secs(90);

/// How many rows each client writes at least, before a snapshot and after it.
const ROWS: u64 = 50;

/// The agent's binary, and the SSM document that calls it.
#[derive(Clone, Debug)]
pub struct AgentUnderTest<'a> {
    /// The binary.
    pub binary: &'a Path,
    /// The text of the document.
    pub document: &'a str,
}

/// The agent that watches over an application, and the way to it.
struct Watched {
    agent: Agent,
    delivery: SsmDelivery,
}

/// Fields are dropped in this order: nobody writes when the bed goes.
pub(super) struct Scene {
    watched: Option<Watched>,
    load: Load,
    application: Box<dyn Application>,
    gap: Duration,
    token: u64,
    bed: Bed,
}

/// The snapshots of all volumes, in their order.
struct Snapshots {
    images: Vec<Image>,
    set: Option<SnapshotSet>,
}

impl Scene {
    /// Makes the application on a bed of its own; snapshots of its volumes are taken `gap` apart.
    pub(super) fn new(case: Case, agent: Option<&AgentUnderTest>, gap: Duration) -> Fallible<Self> {
        let bed = Bed::new()?;
        bed.failsafe(FAILSAFE)?;
        let application = case.make(&bed)?;
        // Nothing of an older database waits to be written since it was made; else a copy would lack its very files.
        for volume in application.volumes() {
            Tool::new("sync").arg("--file-system").arg(&volume.mount_point).run()?;
        }
        let load = Load::start((0..CLIENTS).map(|client| application.client(client)))?;
        let watched = agent.map(|agent| Watched::new(agent, &application.hook(), &bed)).transpose()?;
        Ok(Self { watched, load, application, gap, token: 0, bed })
    }

    pub(super) fn cycle(&mut self) -> Fallible<CycleResult> {
        self.bed.failsafe(FAILSAFE)?;
        self.until_load_goes_on()?;
        self.token += 1;
        self.application.write_canaries(self.token)?;
        let canaries = self.application.database().canaries()?;
        self.load.mark();
        let ((snapshots, mut promise), session) = self.snapshot()?;
        promise.canaries = canaries;
        self.until_load_goes_on()?;
        let stall = self.load.longest_stall();
        let record = self.watched.as_ref().and_then(|watched| watched.record_of(&session));
        let outcome = self.judge(&snapshots, &promise, record.as_deref())?;
        self.delete(&snapshots)?;
        Ok(CycleResult { outcome, stall, session })
    }

    fn until_load_goes_on(&self) -> Fallible<()> {
        let (since, mut stopped) = (self.load.acknowledged(), None);
        wait_until("every client goes on writing", LIMIT, || match self.load.goes_on(&since, ROWS) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                stopped = Some(error);
                true
            }
        })?;
        stopped.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes the snapshots, and notes what is promised about them. With an agent it is the lifecycle manager who does
    /// so, and gives back what the agent reports of its session.
    fn snapshot(&mut self) -> Fallible<((Snapshots, Promise), Value)> {
        let Self { watched, load, application, gap, token, bed } = self;
        let is_held = watched.is_some();
        let take = || take(bed, &**application, load, *gap, *token, is_held);
        let Some(watched) = watched else { return Ok((take()?, Value::Null)) };
        let cycle = run_cycle(&Policy::default(), &mut watched.delivery, || {
            take().map_err(|error| error.to_string())
        });
        let session = watched.session_of(&cycle.pre)?;
        for script in cycle.pre.iter().chain(&cycle.post).filter(|script| !script.succeeded()) {
            eprintln!("{}: {}", script.edge.command(), said(script));
        }
        Ok((cycle.snapshot.ok_or("no snapshot was taken")?, session))
    }

    /// Puts the snapshots on fresh devices, starts what reads them, and looks.
    fn judge(&self, snapshots: &Snapshots, promise: &Promise, record: Option<&Path>) -> Fallible<Outcome> {
        let copies: Result<Vec<Volume>, _> =
            snapshots.images.iter().map(|image| self.bed.restore(image)).collect();
        let copies = copies?;
        let outcome = match self.application.restore(&self.bed, &copies, record) {
            Ok(copy) => promise.judge(&*copy),
            Err(error) => Outcome::Refused(error.to_string()),
        };
        for copy in &copies {
            self.bed.remove(copy)?;
        }
        Ok(outcome)
    }

    fn delete(&self, snapshots: &Snapshots) -> Fallible<()> {
        match &snapshots.set {
            Some(set) => self.bed.delete_set(set)?,
            None => snapshots.images.iter().try_for_each(|image| self.bed.delete(image))?,
        }
        Ok(())
    }
}

/// Snapshots all volumes. Which one comes first changes from cycle to cycle.
fn take(
    bed: &Bed,
    application: &dyn Application,
    load: &Load,
    gap: Duration,
    token: u64,
    is_held: bool,
) -> Fallible<(Snapshots, Promise)> {
    let acknowledged = load.acknowledged();
    let held = if is_held && application.is_read_while_held() {
        Some(application.database().tables()?)
    } else {
        None
    };
    let promise = Promise { canaries: Vec::new(), acknowledged, apart: application.apart(), held };
    let volumes = application.volumes();
    if application.is_atomic() {
        let set = bed.snapshot_set()?;
        let images = volumes.iter().map(|volume| set.image(volume)).collect();
        return Ok((Snapshots { images, set: Some(set) }, promise));
    }
    let first = usize::try_from(token)? % volumes.len();
    let mut images = Vec::with_capacity(volumes.len());
    for at in (0..volumes.len()).map(|number| (first + number) % volumes.len()) {
        if !images.is_empty() {
            std::thread::sleep(gap);
        }
        images.push((at, bed.snapshot_volume(&volumes[at])?));
    }
    images.sort_by_key(|(at, _)| *at);
    Ok((Snapshots { images: images.into_iter().map(|(_, image)| image).collect(), set: None }, promise))
}

impl Watched {
    fn new(agent: &AgentUnderTest, hook: &str, bed: &Bed) -> Fallible<Self> {
        let document = Document::parse(agent.document)?;
        let agent = Agent::start(agent.binary, AgentOptions::configured(hook))?;
        let ssm = Ssm::new(&bed.directory().join("ssm")).first_in_path(&agent.bin_dir());
        Ok(Self { agent, delivery: SsmDelivery::new(ssm, document) })
    }

    /// The agent's report of the session that one of these scripts opened; null when none did.
    fn session_of(&self, scripts: &[Script]) -> Fallible<Value> {
        let status = self.agent.cli(["status", "--json"])?;
        let last = serde_json::from_str::<Value>(&status.stdout)?["last"].clone();
        let is_of = |script: &Script| last["execution_id"] == script.execution_id.as_str();
        Ok(if scripts.iter().any(is_of) { last } else { Value::Null })
    }

    /// The directory of what a hook has kept of a session: `HOOK-EXECUTIONID-POSITION`.
    fn record_of(&self, session: &Value) -> Option<PathBuf> {
        let id = session["execution_id"].as_str()?;
        let records = std::fs::read_dir(self.agent.state_dir().join("records")).ok()?.flatten();
        records.map(|record| record.path()).find(|path| path.to_string_lossy().contains(id))
    }
}

fn said(script: &Script) -> String {
    let Some(invocation) = &script.invocation else { return "no answer in time".to_owned() };
    format!("{} {}{}", invocation.code, invocation.stdout, invocation.stderr)
}
