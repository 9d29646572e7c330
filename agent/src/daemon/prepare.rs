//! Everything slow, before anything is held: preflight, the hooks' own work, flushing, and arming the guardian.

mod manifests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use quiesced_core::finding::Severity;
use quiesced_core::id::ExecutionId;
use quiesced_core::plan::{Plan, PlannedFilesystem};
use quiesced_core::problem::Problem;
use quiesced_core::report::{Ending, SessionReport, Step, StepReport};
use quiesced_core::session::Progress;
use quiesced_core::time::BootTime;
use quiesced_freezer::clock;
use quiesced_freezer::counter::WriteCounter;
use quiesced_freezer::guardian::{Guardian, Target};
use quiesced_freezer::journal::{JOURNAL_VERSION, Journal, JournalError, Record, Thing};
use quiesced_freezer::process::ProcessId;
use quiesced_freezer::simulated::{Faults, Simulated};
use quiesced_freezer::target::{Directory, Filesystem};
use quiesced_hooks::{Outcome, Prepared, Runner};
use quiesced_topology::Mounts;

use super::steps;
use super::store::Store;
use super::survey::{Surveyor, blocking};
use super::window::{Stillness, Window};
use crate::config::GroupSettings;
use crate::preflight;

/// Flushing is repeated while each round takes less than half of the one before, but not below this: then there is
/// nothing left that a writer would feel.
const WORTH_FLUSHING: Duration = Duration::from_millis(20);

/// What is needed to prepare a session.
#[derive(Debug)]
pub struct Job {
    /// The agent as it is configured.
    pub surveyor: Arc<Surveyor>,
    /// Where the report is written before anything is held, so that a lost session is known as lost.
    pub store: Store,
    /// The report so far.
    pub report: SessionReport,
    /// When the pre-script's budget is over.
    pub budget_ends: BootTime,
    /// The agent's own binary, which is also the guardian's.
    pub program: PathBuf,
    /// Where steps are reported.
    pub notes: mpsc::UnboundedSender<Progress>,
}

/// Everything is ready and nothing is held.
#[derive(Debug)]
pub struct Ready {
    /// What will be held.
    pub plan: Plan,
    /// When the guardian thaws by itself.
    pub lease_ends: BootTime,
    /// What holds it.
    pub window: Window,
}

/// Why a session was not prepared.
#[derive(Debug)]
pub struct NotPrepared {
    /// `NotReady` or `HeldByOther` for what preflight found, `Failed` otherwise.
    pub ending: Ending,
    /// Everything that stood in the way.
    pub problems: Vec<Problem>,
}

impl NotPrepared {
    const fn not_ready(problems: Vec<Problem>) -> Self {
        Self { ending: Ending::NotReady, problems }
    }

    const fn failed(problems: Vec<Problem>) -> Self {
        Self { ending: Ending::Failed, problems }
    }
}

/// The opened filesystems of a plan, real or simulated.
#[derive(Clone, Debug)]
enum Opened {
    Real(Vec<Target<Directory>>),
    Simulated(Vec<Target<Simulated>>),
}

/// Prepares a session. To drop the future gives it up; nothing is held then.
///
/// # Errors
/// When anything stands in the way.
pub async fn prepare(job: Job) -> Result<Ready, NotPrepared> {
    let group =
        job.surveyor.group(&job.report.group).map_err(|problem| NotPrepared::not_ready(vec![problem]))?;
    let group = group.clone();
    let id = job.report.execution_id.clone();
    let (mut runner, names) = job.surveyor.runner(&group, id.clone());
    let (inspected, data) = job.surveyor.inspect(&mut runner, &names, job.budget_ends).await;
    job.note(inspected);
    let data = match data {
        Ok(data) => data,
        Err(problems) => {
            runner.close().await;
            return Err(NotPrepared::not_ready(problems));
        }
    };
    let surveyor = Arc::clone(&job.surveyor);
    let resolved = {
        let (group, names) = (group.clone(), names.clone());
        blocking(move || {
            let (_, plan) = surveyor.resolve(&group, &names, data)?;
            let opened = open(&surveyor, &plan)?;
            Ok((plan, opened))
        })
    };
    let (plan, opened) = resolved.await.and_then(std::convert::identity).map_err(NotPrepared::not_ready)?;
    job.preflight(&group, &plan).await?;
    runner.set_volumes(plan.volume_ids());
    let prepared = job.prepare_hooks(&mut runner, &names).await.map_err(NotPrepared::failed)?;
    job.write_manifests(&plan, &opened, &prepared).await.map_err(NotPrepared::failed)?;
    job.flush(&plan, &opened).await.map_err(NotPrepared::failed)?;
    job.save().await.map_err(NotPrepared::failed)?;
    job.arm(id, plan, opened, &prepared, runner).await.map_err(|problem| NotPrepared::failed(vec![problem]))
}

impl Job {
    fn note(&self, steps: Vec<StepReport>) {
        for step in steps {
            // Without a driver nobody waits for the report either.
            drop(self.notes.send(Progress::Noted(step)));
        }
    }

    /// Writes down that the session was opened. A disk that is full loses the report, not the session: an agent that does
    /// not find it later does not know the session, and still tells nobody that it was held.
    async fn save(&self) -> Result<(), Vec<Problem>> {
        let (store, report) = (self.store.clone(), self.report.clone());
        if let Err(error) = blocking(move || store.save(&report)).await? {
            let problem = Problem::from_error(&error).with_hint(Some(error.hint()));
            let what = "the session is not on record, should the host go down before it has ended";
            drop(self.notes.send(Progress::Warned(problem.within(what))));
        }
        Ok(())
    }

    /// What somebody else has frozen must be found before hooks write to it.
    async fn preflight(&self, group: &GroupSettings, plan: &Plan) -> Result<(), NotPrepared> {
        let found = preflight::run(&self.surveyor, group, plan, &self.program).await;
        for warning in found.of(Severity::Warning) {
            drop(self.notes.send(Progress::Warned(warning)));
        }
        let errors = found.of(Severity::Error);
        if !found.frozen.is_empty() {
            let problems = found.frozen.into_iter().chain(errors).collect();
            return Err(NotPrepared { ending: Ending::HeldByOther, problems });
        }
        if errors.is_empty() { Ok(()) } else { Err(NotPrepared::not_ready(errors)) }
    }

    async fn prepare_hooks(
        &self,
        runner: &mut Runner,
        names: &[String],
    ) -> Result<Vec<Prepared>, Vec<Problem>> {
        (0..names.len()).for_each(|hook| runner.prepare(hook, self.budget_ends));
        let mut all: Vec<Prepared> = names.iter().map(|_| Prepared::default()).collect();
        let mut problems = Vec::new();
        for _ in names {
            let done = runner.next().await;
            let Outcome::Prepared(timed) = done.outcome else { continue };
            let (step, prepared) = steps::report(Step::Prepare, &names[done.hook], timed);
            problems.extend(step.failure.clone());
            self.note(vec![step]);
            all[done.hook] = prepared.unwrap_or_default();
        }
        if problems.is_empty() { Ok(all) } else { Err(problems) }
    }

    /// Writes out what is dirty, on all filesystems at once and as often as it pays, so that the freeze itself has
    /// little left to write.
    async fn flush(&self, plan: &Plan, opened: &Opened) -> Result<(), Vec<Problem>> {
        let mut flushes = JoinSet::new();
        for (planned, filesystem) in plan.filesystems.iter().zip(opened.filesystems()) {
            let name = planned.mount_point.display().to_string();
            flushes.spawn_blocking(move || flush_one(&name, filesystem.as_ref()));
        }
        let mut problems = Vec::new();
        while let Some(flushed) = flushes.join_next().await {
            let steps = flushed.map_err(|error| vec![Problem::from_error(&error)])?;
            problems.extend(steps.iter().filter_map(|step| step.failure.clone()));
            self.note(steps);
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Arms the guardian and writes the journal. The lease begins here, a moment before the first lock.
    async fn arm(
        &self,
        id: ExecutionId,
        plan: Plan,
        opened: Opened,
        prepared: &[Prepared],
        runner: Runner,
    ) -> Result<Ready, Problem> {
        let lease_ends = clock::now() + self.surveyor.settings.agent.lease;
        let (targets, program) = (opened.clone(), self.program.clone());
        let armed = blocking(move || match &targets {
            Opened::Real(targets) => Guardian::arm(&program, targets, lease_ends),
            Opened::Simulated(targets) => Guardian::simulate(targets, lease_ends),
        });
        let armed = armed.await.map_err(|mut problems| problems.remove(0))?;
        let guardian = armed.map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())))?;
        let things = things(&plan, &opened, prepared)?;
        let record = Record {
            version: JOURNAL_VERSION,
            boot_id: clock::boot_id().map_err(|error| Problem::from_error(&error))?,
            execution_id: id,
            agent: own_process()?,
            guardian: guardian.process(),
            lease_ends,
            things: things.things,
        };
        let journal_problem = |error: JournalError| Problem::from_error(&error).with_hint(Some(error.hint()));
        let journal = Journal::create(&self.surveyor.paths.runtime_dir, &record).map_err(journal_problem)?;
        let (filesystems, stillness) = (opened.filesystems(), self.stillness(&plan));
        let window = Window::new(&plan, runner, guardian, filesystems, journal, things.hooks, stillness)
            .map_err(|error| Problem::from_error(&error).within("the guardian's socket cannot be watched"))?;
        Ok(Ready { plan, lease_ends, window })
    }

    /// Opens the write counters of every filesystem. On a made-up host there are none.
    fn stillness(&self, plan: &Plan) -> Stillness {
        let root = self.surveyor.paths.host_root();
        let open = |planned: &PlannedFilesystem| {
            let devices: Vec<String> =
                planned.stack.topmost().map(|device| device.number.to_string()).collect();
            // Without a device that is known, nothing would be compared with nothing.
            (!devices.is_empty()).then(|| WriteCounter::open(root, devices).ok()).flatten()
        };
        Stillness::new(plan.filesystems.iter().map(open).collect())
    }
}

struct Things {
    things: Vec<Thing>,
    /// For each hook, its place among the things if it has one.
    hooks: Vec<Option<usize>>,
}

/// What the journal lists: hooks whose hold outlives the agent, then filesystems in the order of the plan.
fn things(plan: &Plan, opened: &Opened, prepared: &[Prepared]) -> Result<Things, Problem> {
    let (mut things, mut hooks) = (Vec::new(), Vec::new());
    for (hook, Prepared { undo, .. }) in plan.hooks.iter().zip(prepared) {
        hooks.push(undo.as_ref().map(|_| things.len()));
        if let Some(undo) = undo {
            let undo = serde_json::to_value(undo).map_err(|error| Problem::from_error(&error))?;
            things.push(Thing::Hook { name: hook.name.clone(), undo });
        }
    }
    for (planned, st_dev) in plan.filesystems.iter().zip(opened.st_devs()) {
        things.push(Thing::Filesystem {
            mount_point: planned.mount_point.clone(),
            superblock: planned.superblock,
            st_dev,
        });
    }
    Ok(Things { things, hooks })
}

fn own_process() -> Result<ProcessId, Problem> {
    i32::try_from(std::process::id())
        .ok()
        .and_then(ProcessId::of)
        .ok_or_else(|| Problem::new("the agent cannot find itself in /proc"))
}

impl Opened {
    fn filesystems(&self) -> Vec<Arc<dyn Filesystem>> {
        match self {
            Self::Real(targets) => {
                targets.iter().map(|target| Arc::clone(&target.filesystem) as Arc<dyn Filesystem>).collect()
            }
            Self::Simulated(targets) => {
                targets.iter().map(|target| Arc::clone(&target.filesystem) as Arc<dyn Filesystem>).collect()
            }
        }
    }

    fn st_devs(&self) -> Vec<u64> {
        match self {
            Self::Real(targets) => targets.iter().map(|target| target.filesystem.st_dev()).collect(),
            Self::Simulated(targets) => vec![0; targets.len()],
        }
    }
}

/// Opens every filesystem of a plan, and makes sure that what was opened is what was planned.
fn open(surveyor: &Surveyor, plan: &Plan) -> Result<Opened, Vec<Problem>> {
    if let Some(host) = &surveyor.paths.simulate {
        let path = host.join("faults.json");
        let faults: Faults = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| vec![Problem::from_error(&error)])?,
            Err(_) => Faults::default(),
        };
        let target = |planned: &PlannedFilesystem| Target {
            filesystem: Arc::new(Simulated::new(faults.get(&planned.mount_point).copied())),
            rank: planned.rank,
        };
        return Ok(Opened::Simulated(plan.filesystems.iter().map(target).collect()));
    }
    let opened: Vec<_> = plan.filesystems.iter().map(open_one).collect();
    // The mounts are read again after everything was opened: an open directory keeps its mount.
    let mounts =
        Mounts::read(surveyor.paths.host_root()).map_err(|error| vec![Problem::from_error(&error)])?;
    let (mut targets, mut problems) = (Vec::new(), Vec::new());
    for (planned, opened) in plan.filesystems.iter().zip(opened) {
        match opened.and_then(|directory| check_identity(planned, directory, &mounts)) {
            Ok(directory) => targets.push(Target { filesystem: Arc::new(directory), rank: planned.rank }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(Opened::Real(targets)) } else { Err(problems) }
}

fn open_one(planned: &PlannedFilesystem) -> Result<Directory, Problem> {
    Directory::open(&planned.mount_point).map_err(|error| {
        let point = planned.mount_point.display();
        Problem::from_error(&error)
            .with_hint(Some(format!("`findmnt {point}`, and look for errors in `dmesg`")))
    })
}

/// Longhorn once froze a host's root, because a volume was unmounted between the look and the freeze.
fn check_identity(
    planned: &PlannedFilesystem,
    directory: Directory,
    mounts: &Mounts,
) -> Result<Directory, Problem> {
    let id = directory.mount_id().map_err(|error| Problem::from_error(&error))?;
    if mounts.by_id(id).is_some_and(|mount| mount.superblock == planned.superblock) {
        return Ok(directory);
    }
    let point = planned.mount_point.display();
    Err(Problem::new(format!("{point} shows another filesystem than a moment ago"))
        .with_hint(Some(format!("it was unmounted or mounted over meanwhile: findmnt --target {point}"))))
}

fn flush_one(name: &str, filesystem: &dyn Filesystem) -> Vec<StepReport> {
    let mut steps = Vec::new();
    let mut last = Duration::MAX;
    loop {
        let began = clock::now();
        let result = filesystem.sync();
        let ended = clock::now();
        let mut step = steps::plain(Step::Sync, name, began, ended);
        if let Err(errno) = result {
            step.failure = Some(
                Problem::new(format!("dirty data of {name} could not be written out: {errno}"))
                    .with_hint(Some("look at `dmesg` for errors of the device")),
            );
        }
        let took = ended - began;
        let pays = result.is_ok() && took > WORTH_FLUSHING && took < last / 2;
        steps.push(step);
        if !pays {
            return steps;
        }
        last = took;
    }
}
