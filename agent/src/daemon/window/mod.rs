//! What one session holds, and how it is held: hooks through their runner, filesystems through the guardian.
//!
//! The window does what the machine says and reports what came of it. It decides one thing by itself: when the guardian
//! is gone or does not answer, the agent thaws through its own descriptors.

mod stillness;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio::time::Instant;

use quiesced_core::plan::{FilesystemIndex, HookIndex, Plan};
use quiesced_core::problem::Problem;
use quiesced_core::report::{Step, ThingKind};
use quiesced_core::session::{FreezeEnd, Progress};
use quiesced_core::time::BootTime;
use quiesced_freezer::clock;
use quiesced_freezer::guardian::{FreezeFailure, Guardian, Lost, Report, ThawEnd, Took};
use quiesced_freezer::journal::{Journal, Status};
use quiesced_freezer::process::ProcessId;
use quiesced_freezer::recover::{Outcome as ThawOutcome, thaw_surely};
use quiesced_freezer::target::Filesystem;
use quiesced_hooks::{Outcome, Runner, StepDone};

use super::steps;
pub use stillness::Stillness;

/// A guardian that has not thawed by then is helped, and after as long again what is left is called residue. A thaw
/// takes well under a millisecond.
const PATIENCE: Duration = Duration::from_millis(800);

/// What happened in a window.
#[derive(Debug)]
pub enum Happening {
    /// The session came a step further.
    Progress(Box<Progress>),
    /// Something that had been given up as residue was released after all.
    Cleared {
        /// Whether it was a hook or a filesystem.
        kind: ThingKind,
        /// Its name.
        name: String,
    },
}

impl From<Progress> for Happening {
    fn from(progress: Progress) -> Self {
        Self::Progress(Box::new(progress))
    }
}

/// ```text
/// Untouched ──freeze──▶ Open ──▶ Settled ◀── Residue
///     └───────┬─────────┘└──────────────────▶┘
///             └──refused──▶ NotHeld ──▶ Settled
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No freeze was ordered.
    Untouched,
    /// It is frozen by us, or may be.
    Open,
    /// Its freeze was refused: if it is frozen, then by somebody else, and must not be thawed.
    NotHeld,
    /// Nothing more will come of it.
    Settled,
    /// It was given up, and may be frozen.
    Residue,
}

impl State {
    const fn is_over(self) -> bool {
        matches!(self, Self::Settled | Self::Residue)
    }
}

#[derive(Debug)]
struct Held {
    name: String,
    filesystem: Arc<dyn Filesystem>,
    state: State,
    /// What the guardian found thawed while the agent was thawing it as well; only the agent's own thaw can tell
    /// which of them, or whether somebody else, had been first.
    found_thawed: Option<Took>,
    /// How many sectors were written past it while it was frozen, if that was counted. Told when it is settled: what
    /// somebody else had thawed was written to with good reason.
    written: Option<u64>,
    /// Tells the agent's own thaw that there is nothing left for it to do.
    called_off: Arc<AtomicBool>,
}

/// Everything that one session holds.
#[derive(Debug)]
pub struct Window {
    runner: Option<Runner>,
    hooks: Vec<String>,
    hook_things: Vec<Option<usize>>,
    guardian: Option<AsyncFd<Guardian>>,
    process: Option<ProcessId>,
    filesystems: Vec<Held>,
    first_filesystem_thing: usize,
    journal: Option<Journal>,
    /// Set while a thaw is owed an answer; the flag says whether the agent has begun to help.
    patience: Option<(Instant, bool)>,
    /// How many filesystems the guardian is done with.
    reported: usize,
    /// How many filesystems the guardian has frozen.
    frozen: usize,
    stillness: Stillness,
    /// Nobody but the agent has begun to thaw.
    undisturbed: bool,
    direct: JoinSet<(FilesystemIndex, BootTime, ThawOutcome)>,
    ready: Vec<Happening>,
}

impl Window {
    /// A window over an armed guardian and hooks that are prepared.
    ///
    /// # Errors
    /// When the guardian's socket cannot be watched.
    pub fn new(
        plan: &Plan,
        runner: Runner,
        guardian: Guardian,
        filesystems: Vec<Arc<dyn Filesystem>>,
        journal: Journal,
        hook_things: Vec<Option<usize>>,
        stillness: Stillness,
    ) -> std::io::Result<Self> {
        let process = guardian.process();
        let names = plan.filesystems.iter().map(|planned| planned.mount_point.display().to_string());
        let held = |(name, filesystem)| {
            let (state, found_thawed) = (State::Untouched, None);
            Held { name, filesystem, state, found_thawed, written: None, called_off: Arc::default() }
        };
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a guardian owns its socket until it is dropped"
        )]
        let guardian = AsyncFd::with_interest(guardian, Interest::READABLE)?;
        Ok(Self {
            runner: Some(runner),
            hooks: plan.hooks.iter().map(|hook| hook.name.clone()).collect(),
            first_filesystem_thing: hook_things.iter().flatten().count(),
            hook_things,
            guardian: Some(guardian),
            process,
            filesystems: names.zip(filesystems).map(held).collect(),
            journal: Some(journal),
            patience: None,
            reported: 0,
            frozen: 0,
            stillness,
            undisturbed: true,
            direct: JoinSet::new(),
            ready: Vec::new(),
        })
    }

    /// Starts to quiesce a hook.
    pub fn quiesce(&mut self, hook: HookIndex, deadline: BootTime) {
        self.journal_hook(hook, Status::MaybeHeld);
        if let Some(runner) = &mut self.runner {
            runner.quiesce(hook, deadline);
        }
    }

    /// Gives up quiescing a hook; it still reports.
    pub fn cancel(&mut self, hook: HookIndex) {
        if let Some(runner) = &mut self.runner {
            runner.cancel(hook);
        }
    }

    /// Starts to release a hook; it is asked for proof before, but not for longer than `verify_until`.
    pub fn release(&mut self, hook: HookIndex, verify_until: Option<BootTime>) {
        if let Some(runner) = &mut self.runner {
            runner.release(hook, verify_until);
        }
    }

    /// Starts to freeze everything. What may be frozen is journaled first.
    pub fn freeze(&mut self) {
        for filesystem in 0..self.filesystems.len() {
            self.journal_filesystem(filesystem, Status::MaybeHeld);
        }
        if self.guardian.as_ref().is_some_and(|guardian| guardian.get_ref().freeze().is_ok()) {
            self.filesystems.iter_mut().for_each(|held| held.state = State::Open);
            return;
        }
        for filesystem in 0..self.filesystems.len() {
            self.journal_filesystem(filesystem, Status::NotHeld);
        }
        self.guardian_lost();
    }

    /// Starts to thaw everything.
    pub fn thaw(&mut self) {
        self.patience = Some((Instant::now() + PATIENCE, false));
        if self.undisturbed {
            let written = self.stillness.end();
            for (held, written) in self.filesystems.iter_mut().zip(written) {
                held.written = written;
            }
        }
        if self.guardian.as_ref().is_none_or(|guardian| guardian.get_ref().thaw().is_err()) {
            self.help();
        }
    }

    /// Waits for the next thing to happen. To drop the future loses nothing.
    pub async fn next(&mut self) -> Happening {
        loop {
            if let Some(happening) = self.ready.pop() {
                return happening;
            }
            tokio::select! {
                report = next_report(&mut self.guardian) => match report {
                    Ok(report) => self.take_report(report),
                    Err(Lost) => self.guardian_lost(),
                },
                done = next_step(&mut self.runner) => self.take_step(done),
                Some(thawed) = self.direct.join_next() => match thawed {
                    Ok((filesystem, began, outcome)) => self.take_direct(filesystem, began, &outcome),
                    Err(error) => tracing::error!(%error, "a thaw of the agent's own was lost"),
                },
                () = until(self.patience.map(|(end, _)| end)) => self.patience_ended(),
            }
        }
    }

    /// The runner of the hooks, to be closed: the session needs it no more.
    pub const fn take_runner(&mut self) -> Option<Runner> {
        self.runner.take()
    }

    /// Whether a hook's hold ends with its runner, because nothing of it outlives the agent.
    pub fn ends_with_runner(&self, hook: &str) -> bool {
        let index = self.hooks.iter().position(|name| name == hook);
        index.and_then(|index| self.hook_things.get(index)).is_some_and(Option::is_none)
    }

    /// Gives up the journal: nothing that it lists is held any more.
    pub fn finish_journal(&mut self) {
        if let Some(Err(error)) = self.journal.take().map(Journal::finish) {
            tracing::error!(%error, "the journal is left behind, though nothing is held");
        }
    }

    fn journal_hook(&self, hook: HookIndex, status: Status) {
        if let Some(thing) = self.hook_things.get(hook).copied().flatten() {
            self.journal_set(thing, status);
        }
    }

    fn journal_filesystem(&self, filesystem: FilesystemIndex, status: Status) {
        self.journal_set(self.first_filesystem_thing + filesystem, status);
    }

    fn journal_set(&self, thing: usize, status: Status) {
        if let Some(Err(error)) = self.journal.as_ref().map(|journal| journal.set(thing, status)) {
            tracing::error!(%error, "the journal lags behind");
        }
    }

    fn say(&mut self, happening: impl Into<Happening>) {
        // Taken from the end, so that what is said first must stand last.
        self.ready.insert(0, happening.into());
    }

    fn take_step(&mut self, done: StepDone) {
        let StepDone { hook, outcome } = done;
        let name = &self.hooks[hook];
        match outcome {
            Outcome::Quiesced(timed) => {
                let (step, held) = steps::report(Step::Quiesce, name, timed);
                self.journal_hook(hook, if held.is_some() { Status::Held } else { Status::MaybeHeld });
                self.say(Progress::Quiesced { hook, step });
            }
            Outcome::Released(released) => {
                let verify = released.verify.map(|vouched| Box::new(steps::verified(name, vouched)));
                let (resume, resumed) = steps::report(Step::Resume, name, released.resume);
                if resumed.is_some() {
                    self.journal_hook(hook, Status::Released);
                }
                self.say(Progress::Released { hook, verify, resume });
            }
            Outcome::Inspected(_) | Outcome::Prepared(_) => {}
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Synced(took, Ok(())) => {
                if let Some(held) = self.filesystems.get(usize::from(took.target)) {
                    let step = steps::filesystem(Step::Sync, &held.name, took, None);
                    self.say(Progress::Noted(step));
                }
            }
            Report::Synced(took, Err(errno)) => {
                self.frozen(took, Some((format!("its dirty data could not be written out: {errno}"), false)));
            }
            Report::Frozen(took, Ok(())) => self.frozen(took, None),
            Report::Frozen(took, Err(failure)) => {
                self.frozen(took, Some((failure.to_string(), failure == FreezeFailure::HeldByOther)));
            }
            Report::Thawed(took, end) => self.thawed(took, end),
            Report::LeaseEnded => {
                self.undisturbed = false;
                self.say(Progress::LeaseEnded);
            }
            Report::Armed | Report::NotArmed(_) => {}
        }
    }

    fn frozen(&mut self, took: Took, failure: Option<(String, bool)>) {
        let filesystem = usize::from(took.target);
        let Some(held) = self.filesystems.get_mut(filesystem) else { return };
        let by_other = failure.as_ref().is_some_and(|(_, by_other)| *by_other);
        let status = if failure.is_none() { Status::Held } else { Status::NotHeld };
        let problem = failure.map(|(why, _)| {
            Problem::new(format!("{} could not be frozen: {why}", held.name)).with_hint(
                by_other.then(|| format!("if its owner is gone: fsfreeze --unfreeze {}", held.name)),
            )
        });
        let step = steps::filesystem(Step::Freeze, &held.name, took, problem);
        self.frozen += usize::from(status == Status::Held);
        if held.state == State::Open {
            held.state = if status == Status::Held { State::Open } else { State::NotHeld };
            held.called_off.store(held.state == State::NotHeld, Ordering::Release);
            self.journal_filesystem(filesystem, status);
        }
        if self.frozen == self.filesystems.len() {
            self.stillness.begin();
        }
        self.say(Progress::Frozen { filesystem, step, by_other });
    }

    fn thawed(&mut self, took: Took, end: ThawEnd) {
        self.reported += 1;
        if self.reported == self.filesystems.len() {
            // It has nothing left to do. Were it kept, whoever tries again what could not be thawed would wait for it.
            self.guardian = None;
        }
        if end == ThawEnd::ThawedByOther && matches!(self.patience, Some((_, true))) {
            if let Some(held) = self.filesystems.get_mut(usize::from(took.target)) {
                held.found_thawed = Some(took);
            }
            return;
        }
        self.take_thaw(took, end);
    }

    fn take_thaw(&mut self, took: Took, end: ThawEnd) {
        let (end, why) = match end {
            ThawEnd::Thawed => (FreezeEnd::Thawed, None),
            ThawEnd::NeverFrozen => (FreezeEnd::NeverFrozen, None),
            ThawEnd::ThawedByOther => {
                (FreezeEnd::ThawedByOther, Some("somebody else had thawed it before".to_owned()))
            }
            ThawEnd::Failed(errno) => (FreezeEnd::Residue, Some(format!("the kernel refused: {errno}"))),
        };
        self.settle(usize::from(took.target), took, end, why);
    }

    /// Takes note of how a filesystem was done with. Only the first account counts, unless the first was that it is
    /// left frozen.
    fn settle(&mut self, filesystem: FilesystemIndex, took: Took, end: FreezeEnd, why: Option<String>) {
        let Some(held) = self.filesystems.get_mut(filesystem) else { return };
        let name = held.name.clone();
        let before = held.state;
        if before == State::Settled || (before == State::Residue && end == FreezeEnd::Residue) {
            return;
        }
        held.state = if end == FreezeEnd::Residue { State::Residue } else { State::Settled };
        held.called_off.store(held.state == State::Settled, Ordering::Release);
        let written = held.written.take().filter(|_| end != FreezeEnd::ThawedByOther);
        if end != FreezeEnd::Residue {
            self.journal_filesystem(filesystem, Status::Released);
        }
        if let Some(sectors @ 1..) = written {
            self.say(Progress::HoldLost(stillness::problem(&name, sectors)));
        }
        if before == State::Residue {
            self.say(Happening::Cleared { kind: ThingKind::Filesystem, name });
        } else {
            let hint = format!("when nobody else needs it frozen: fsfreeze --unfreeze {name}");
            let problem = why
                .map(|why| Problem::new(format!("{name} could not be thawed: {why}")).with_hint(Some(hint)));
            let step =
                (end != FreezeEnd::NeverFrozen).then(|| steps::filesystem(Step::Thaw, &name, took, problem));
            self.say(Progress::Settled { filesystem, end, step, sectors_written: written });
        }
        if self.filesystems.iter().all(|held| held.state.is_over()) {
            self.patience = None;
        }
    }

    fn guardian_lost(&mut self) {
        if self.guardian.take().is_some() {
            self.undisturbed = false;
            let problem = Problem::new("the guardian has ended").with_hint(Some(
                "look at `journalctl -k` for what ended it; the agent has thawed in its place",
            ));
            self.say(Progress::HoldLost(problem));
        }
        if self.patience.is_some() {
            self.help();
        }
    }

    /// Thaws through the agent's own descriptors whatever the guardian has not settled.
    fn help(&mut self) {
        if let Some((_, helped)) = &mut self.patience {
            *helped = true;
        }
        for filesystem in 0..self.filesystems.len() {
            match self.filesystems[filesystem].state {
                State::Untouched | State::NotHeld => {
                    self.settle(filesystem, at_once(filesystem), FreezeEnd::NeverFrozen, None);
                }
                State::Open | State::Residue => self.thaw_directly(filesystem),
                State::Settled => {}
            }
        }
    }

    fn thaw_directly(&mut self, filesystem: FilesystemIndex) {
        let Held { filesystem: handle, called_off, .. } = &self.filesystems[filesystem];
        let (handle, called_off, guardian) = (Arc::clone(handle), Arc::clone(called_off), self.process);
        self.direct.spawn_blocking(move || {
            let began = clock::now();
            (filesystem, began, thaw_surely(handle.as_ref(), guardian, &called_off))
        });
    }

    fn take_direct(&mut self, filesystem: FilesystemIndex, began: BootTime, outcome: &ThawOutcome) {
        let took = Took { began, ..at_once(filesystem) };
        let (end, why) = match outcome {
            ThawOutcome::Thawed => (FreezeEnd::Thawed, None),
            ThawOutcome::WasNotFrozen => match self.filesystems[filesystem].found_thawed {
                // Neither of us has thawed it.
                Some(took) => return self.take_thaw(took, ThawEnd::ThawedByOther),
                None => (FreezeEnd::NeverFrozen, None),
            },
            ThawOutcome::Gone
            | ThawOutcome::Unreachable(_)
            | ThawOutcome::UnderWay
            | ThawOutcome::Failed(_) => (FreezeEnd::Residue, Some(outcome.to_string())),
        };
        self.settle(filesystem, took, end, why);
    }

    fn patience_ended(&mut self) {
        match self.patience {
            Some((_, false)) => {
                // A stopped guardian goes on and finds the order; the agent does not wait for that.
                if let Some(process) = self.process {
                    process.wake();
                }
                self.patience = Some((Instant::now() + PATIENCE, true));
                self.help();
            }
            Some((_, true)) => {
                self.patience = None;
                self.give_up();
            }
            None => {}
        }
    }

    fn give_up(&mut self) {
        for filesystem in 0..self.filesystems.len() {
            if let Some(took) = self.filesystems[filesystem].found_thawed {
                // Had it been the agent, its thaw would have returned long ago.
                self.take_thaw(took, ThawEnd::ThawedByOther);
            }
            if self.filesystems[filesystem].state == State::Open {
                let why =
                    "a freeze of it is still under way; it is thawed as soon as that returns".to_owned();
                self.settle(filesystem, at_once(filesystem), FreezeEnd::Residue, Some(why));
            }
        }
    }
}

fn at_once(filesystem: FilesystemIndex) -> Took {
    let now = clock::now();
    Took { target: u16::try_from(filesystem).unwrap_or(u16::MAX), began: now, ended: now }
}

async fn next_report(guardian: &mut Option<AsyncFd<Guardian>>) -> Result<Report, Lost> {
    let Some(guardian) = guardian else { return std::future::pending().await };
    loop {
        let mut ready = guardian.readable().await.map_err(|_| Lost)?;
        match ready.get_inner().try_recv()? {
            Some(report) => return Ok(report),
            None => ready.clear_ready(),
        }
    }
}

async fn next_step(runner: &mut Option<Runner>) -> StepDone {
    match runner {
        Some(runner) => runner.next().await,
        None => std::future::pending().await,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
