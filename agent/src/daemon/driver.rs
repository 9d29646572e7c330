//! The one task that owns the session's state. It waits for what happens, asks the machine, and does what it says.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};

use quiesced_core::id::ExecutionId;
use quiesced_core::problem::Problem;
use quiesced_core::report::{Ending, HostFacts, Residue, SessionReport, ThingKind};
use quiesced_core::session::{Action, Answer, Event, Machine, OnConflict, Policy, Progress, RequestId};
use quiesced_core::time::BootTime;
use quiesced_freezer::clock;

use super::mailbox::{Mailbox, Published};
use super::notify::Notify;
use super::prepare::{Job, NotPrepared, Ready, prepare};
use super::recovery;
use super::store::{self, Store};
use super::survey::Surveyor;
use super::window::{Happening, Window};
use crate::config::{OnConflict as ConfiguredConflict, Settings};
use crate::logging::{Gate, ids};
use crate::metrics::Metrics;
use crate::sinks::Sinks;

/// What is told to people when there is nothing else to tell.
const IDLE: &str = "idle";

/// How long the last report may take to reach the disk when the agent stops.
const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// How long an operator waits while what was left behind is tried once more.
const RETRY_PATIENCE: Duration = Duration::from_secs(5);

/// Everything that the driver needs.
#[derive(Debug)]
pub struct Parts {
    /// The agent as it is configured; the driver replaces it when the configuration is read again.
    pub surveyor: watch::Sender<Arc<Surveyor>>,
    /// The door through which clients come.
    pub mailbox: Arc<Mailbox>,
    /// Where the driver publishes what it does.
    pub published: watch::Sender<Published>,
    /// What clients and signals ask.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// The other end of `events`, for the driver's own tasks.
    pub sender: mpsc::UnboundedSender<Event>,
    /// Asks for the configuration to be read again.
    pub reload: mpsc::UnboundedReceiver<()>,
    /// The reports of earlier sessions, on disk and in memory.
    pub store: Store,
    /// The reports that the store holds.
    pub reports: Arc<Vec<SessionReport>>,
    /// Figures of what has happened.
    pub metrics: Metrics,
    /// Where reports are sent to.
    pub sinks: Sinks,
    /// Holds log lines back while a window is open.
    pub gate: Gate,
    /// systemd.
    pub notify: Notify,
    /// The agent's own binary.
    pub program: PathBuf,
    /// Facts for reports.
    pub boot_id: String,
}

/// The driver.
#[derive(Debug)]
pub struct Driver {
    parts: Parts,
    machine: Machine,
    /// The open session, for every line that is logged of it.
    span: Span,
    host: Option<HostFacts>,
    budget_ends: BootTime,
    preparing: Option<JoinHandle<Result<Ready, NotPrepared>>>,
    /// What `preparing` has to report; that of one that was given up must not reach the next session.
    notes: Option<mpsc::UnboundedReceiver<Progress>>,
    window: Option<Window>,
    /// A window that is over, but for residue that may still be released.
    lingering: Option<Window>,
    /// Requests for which the residue has been tried once more already.
    retried: HashSet<RequestId>,
    /// It is being tried. A second recovery beside it would end the commands of the first.
    retrying: Option<JoinHandle<()>>,
    /// The last report on its way to the disk.
    saving: Option<JoinHandle<()>>,
    /// The configuration is to be read again when the session has ended.
    reload_pending: bool,
    /// Why it could not be read again, if it could not.
    refused: Vec<Problem>,
    leaving: bool,
}

/// The policy that the configuration asks for.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        lease: settings.agent.lease,
        budget: settings.agent.pre_script_budget,
        on_conflict: match settings.agent.on_conflict {
            ConfiguredConflict::Reject => OnConflict::Reject,
            ConfiguredConflict::Replace => OnConflict::Replace,
        },
    }
}

impl Driver {
    /// A driver with no session open.
    pub fn new(parts: Parts) -> Self {
        let policy = policy(&parts.surveyor.borrow().settings);
        let machine = Machine::new(policy, store::past(&parts.reports));
        Self {
            parts,
            machine,
            span: Span::none(),
            host: None,
            budget_ends: BootTime::from_nanos(0),
            preparing: None,
            notes: None,
            window: None,
            lingering: None,
            retried: HashSet::new(),
            retrying: None,
            saving: None,
            reload_pending: false,
            refused: Vec::new(),
            leaving: false,
        }
    }

    /// Runs until the agent is told to stop and its sessions are over. Returns what could not be released.
    pub async fn run(mut self) -> Vec<Residue> {
        self.publish();
        while !self.leaving {
            let event = self.wait().await;
            if let Some(event) = event {
                self.handle(event);
            }
        }
        self.parts.gate.open();
        if let Some(saving) = self.saving.take() {
            // A disk that does not answer must not keep the agent from stopping.
            let _late = tokio::time::timeout(SAVE_PATIENCE, saving).await;
        }
        // What lingers is released by whoever still works on it; the journal stays for `quiesced recover`.
        drop(self.lingering.take());
        self.machine.status().residue
    }

    /// Waits for the next thing that the machine must hear of.
    async fn wait(&mut self) -> Option<Event> {
        let deadline = self.machine.deadline();
        let span = self.span.clone();
        tokio::select! {
            event = self.parts.events.recv() => event,
            Some(note) = noted(&mut self.notes) => Some(note.into()),
            prepared = prepared(&mut self.preparing) => Some(self.take_prepared(prepared)),
            happening = next(&mut self.window).instrument(span) => Some(event_of(happening)),
            happening = next(&mut self.lingering) => Some(event_of(happening)),
            () = until(deadline) => Some(Event::Tick),
            () = self.parts.notify.watchdog() => None,
            Some(()) = self.parts.reload.recv() => {
                self.reload();
                self.publish();
                None
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let _of_session = self.span.clone().entered();
        if let Event::ReleaseAll { request } = event
            && self.retried.insert(request)
            && self.machine.is_idle()
            && !self.machine.has_no_residue()
        {
            return self.retry_residue(request);
        }
        for action in self.machine.apply(clock::now(), event) {
            self.perform(action);
        }
        if self.machine.has_no_residue()
            && let Some(mut window) = self.lingering.take()
        {
            window.finish_journal();
        }
        if self.machine.is_idle() {
            self.span = Span::none();
        }
        if self.machine.is_idle() && std::mem::take(&mut self.reload_pending) {
            self.reload();
        }
        self.publish();
    }

    /// Tries once more to release what an earlier session left, then lets the machine answer. What the journal does not
    /// owe any more has been released by somebody else meanwhile.
    fn retry_residue(&mut self, request: RequestId) {
        let before = self.retrying.take();
        let (sender, paths) = (self.parts.sender.clone(), self.parts.surveyor.borrow().paths.clone());
        let residue = self.machine.status().residue.into_iter().filter(|left| !self.ends_with_runner(left));
        let residue: Vec<Residue> = residue.collect();
        let retry = async move {
            if let Some(before) = before {
                // How it went stands in the journal.
                drop(before.await);
            }
            match recovery::recover(&paths, RETRY_PATIENCE).await {
                Ok(recovered) => {
                    for left in residue.into_iter().filter(|left| recovered.released(left.kind, &left.name)) {
                        drop(sender.send(Event::ResidueCleared { kind: left.kind, name: left.name }));
                    }
                }
                Err(problem) => tracing::error!("what was left behind cannot be released: {problem}"),
            }
            // A driver that has ended answers nobody.
            drop(sender.send(Event::ReleaseAll { request }));
        };
        self.retrying = Some(tokio::spawn(retry));
    }

    /// Whether what is left is known to the agent alone, and not to the journal.
    fn ends_with_runner(&self, left: &Residue) -> bool {
        left.kind == ThingKind::Hook
            && self.lingering.as_ref().is_some_and(|window| window.ends_with_runner(&left.name))
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare { id, group, budget_ends } => {
                // Of the highest level, so that it is there whatever is logged.
                self.span = tracing::error_span!("session", execution_id = %id);
                let _of_session = self.span.clone().entered();
                tracing::info!(message_id = ids::SESSION_OPENED, group, "a session is opened");
                self.begin(budget_ends);
            }
            Action::CancelPrepare => self.cancel_prepare(),
            Action::Quiesce(hook) => self.with_window(|window, budget| window.quiesce(hook, budget)),
            Action::CancelQuiesce(hook) => self.with_window(|window, _| window.cancel(hook)),
            Action::Freeze => self.with_window(|window, _| window.freeze()),
            Action::Thaw => self.with_window(|window, _| window.thaw()),
            Action::Release { hook, verify_until } => {
                self.with_window(|window, _| window.release(hook, verify_until));
            }
            Action::Close(report) => self.close(*report),
            Action::Answer { request, answer } => self.answer(request, answer),
            Action::Exit => self.leaving = true,
        }
    }

    /// The machine remembers of a session that has ended only its code; the report tells why.
    fn answer(&self, request: RequestId, mut answer: Answer) {
        let is_open = |id: &ExecutionId| self.machine.status().session.is_some_and(|open| open.id == *id);
        if let Some(id) = answer.why.ended_session().filter(|id| !is_open(id)) {
            let report = self.parts.reports.iter().rfind(|report| report.execution_id == *id);
            answer.report = report.cloned().map(Box::new);
        }
        self.parts.mailbox.answer(request, answer);
    }

    fn with_window(&mut self, act: impl FnOnce(&mut Window, BootTime)) {
        match &mut self.window {
            Some(window) => act(window, self.budget_ends),
            None => tracing::error!("the machine asks for a step, and no window is open"),
        }
    }

    fn begin(&mut self, budget_ends: BootTime) {
        crate::parameters::forget();
        self.budget_ends = budget_ends;
        let host = HostFacts {
            boot_id: self.parts.boot_id.clone(),
            agent_version: crate::VERSION.to_owned(),
            opened_at: crate::wall_clock(),
            ended_at: None,
        };
        self.host = Some(host.clone());
        let Some(open) = self.machine.status().session else { return };
        let report = SessionReport { host: Some(host), ..*open.report };
        let (sender, notes) = mpsc::unbounded_channel();
        let job = Job {
            surveyor: Arc::clone(&self.parts.surveyor.borrow()),
            store: self.parts.store.clone(),
            report,
            budget_ends,
            program: self.parts.program.clone(),
            notes: sender,
        };
        self.notes = Some(notes);
        self.preparing = Some(tokio::spawn(prepare(job).in_current_span()));
    }

    /// The task may be at any point; dropping what it has made so far releases it.
    fn cancel_prepare(&mut self) {
        if let Some(preparing) = &self.preparing {
            preparing.abort();
        }
    }

    fn take_prepared(
        &mut self,
        prepared: Result<Result<Ready, NotPrepared>, tokio::task::JoinError>,
    ) -> Event {
        self.preparing = None;
        self.take_notes();
        let progress = match prepared {
            Ok(Ok(Ready { plan, lease_ends, window })) => {
                self.window = Some(window);
                self.parts.gate.close();
                Progress::Prepared { plan, lease_ends }
            }
            Ok(Err(NotPrepared { ending, problems })) => Progress::NotPrepared { ending, problems },
            Err(error) if error.is_cancelled() => {
                Progress::NotPrepared { ending: Ending::Failed, problems: Vec::new() }
            }
            Err(error) => {
                let problems = vec![Problem::from_error(&error).within("preparing was lost")];
                Progress::NotPrepared { ending: Ending::Failed, problems }
            }
        };
        progress.into()
    }

    /// Every step that was noted comes before the end of preparing.
    fn take_notes(&mut self) {
        let Some(mut notes) = self.notes.take() else { return };
        while let Ok(note) = notes.try_recv() {
            // What is noted asks for nothing.
            drop(self.machine.apply(clock::now(), note.into()));
        }
    }

    fn close(&mut self, mut report: SessionReport) {
        report.host = self.host.take().map(|host| HostFacts { ended_at: Some(crate::wall_clock()), ..host });
        self.parts.gate.open();
        tell(&report);
        self.parts.metrics.count(&report);
        if let Some(mut window) = self.window.take() {
            self.close_hooks(&mut window, &report);
            if report.residue.is_empty() {
                window.finish_journal();
            } else {
                self.lingering = Some(window);
            }
        }
        self.keep(report);
    }

    /// Lets the hooks close what they had opened. A hook that could not resume, and whose hold lives in the agent
    /// alone, loses it then.
    fn close_hooks(&self, window: &mut Window, report: &SessionReport) {
        let left = report.residue.iter().filter(|left| left.kind == ThingKind::Hook);
        let ends = left.filter(|left| window.ends_with_runner(&left.name)).cloned().collect::<Vec<_>>();
        let Some(runner) = window.take_runner() else { return };
        let sender = self.parts.sender.clone();
        let close = async move {
            runner.close().await;
            for left in ends {
                drop(sender.send(Event::ResidueCleared { kind: left.kind, name: left.name }));
            }
        };
        tokio::spawn(close.in_current_span());
    }

    fn keep(&mut self, report: SessionReport) {
        let store = self.parts.store.clone();
        let copy = report.clone();
        let reports = Arc::make_mut(&mut self.parts.reports);
        reports.push(report);
        self.parts.store.forget(reports);
        let (span, sinks) = (Span::current(), self.parts.sinks.clone());
        let settings = self.parts.surveyor.borrow().settings.report.clone();
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let _of_session = span.entered();
            if let Err(error) = store.save(&copy) {
                tracing::error!(error = %Problem::from_error(&error), "the report is lost");
            }
            for error in sinks.put(&copy, &settings) {
                tracing::error!(error = %Problem::from_error(&error), "the report is not sent");
            }
        }));
    }

    fn reload(&mut self) {
        if !self.machine.is_idle() {
            tracing::warn!(
                "the configuration is not read again while a session is open, but when it has ended"
            );
            self.reload_pending = true;
            return;
        }
        let paths = self.parts.surveyor.borrow().paths.clone();
        match Surveyor::load(&paths) {
            Ok(surveyor) => {
                self.machine.set_policy(policy(&surveyor.settings));
                self.parts.store.keep(&surveyor.settings.report);
                self.parts.metrics.expect(surveyor.settings.group.keys().map(String::as_str));
                // The daemon holds a receiver for as long as the driver runs.
                drop(self.parts.surveyor.send(Arc::new(surveyor)));
                self.refused.clear();
                tracing::info!("the configuration was read again");
            }
            Err(errors) => {
                self.refused = errors.findings().iter().map(Problem::from).collect();
                tracing::error!(
                    message_id = ids::RELOAD_REFUSED,
                    "the configuration has errors, so the earlier one stays in force:\n{errors}"
                );
            }
        }
    }

    fn publish(&self) {
        let status = self.machine.status();
        let line = status.session.as_ref().map(|session| format!("{}: {}", session.phase.name(), session.id));
        self.parts.notify.status(line.as_deref().unwrap_or(IDLE));
        self.parts.published.send_modify(|published| {
            published.status = status;
            published.sessions = Arc::clone(&self.parts.reports);
            published.refused.clone_from(&self.refused);
        });
    }
}

fn event_of(happening: Happening) -> Event {
    match happening {
        Happening::Progress(progress) => Event::Progress(progress),
        Happening::Cleared { kind, name } => Event::ResidueCleared { kind, name },
    }
}

fn tell(report: &SessionReport) {
    for problem in &report.problems {
        tracing::warn!(hint = problem.hint.as_deref().unwrap_or_default(), "{problem}");
    }
    for left in &report.residue {
        tracing::error!(
            message_id = ids::RESIDUE,
            name = left.name,
            "could not be released: {}",
            left.problem
        );
    }
    let verdict = report.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
    let code = report.code.map(quiesced_core::exit::ExitCode::number);
    let window_ms = report.window().map(|window| window.as_millis());
    if report.code.is_some_and(|code| code != quiesced_core::exit::ExitCode::Done) {
        let reasons = report.reasons.join("; ");
        tracing::warn!(
            message_id = ids::SESSION_FAILED,
            verdict,
            code,
            window_ms,
            reasons,
            "the session has ended"
        );
    } else {
        tracing::info!(message_id = ids::SESSION_DONE, verdict, code, window_ms, "the session has ended");
    }
}

async fn prepared(
    preparing: &mut Option<JoinHandle<Result<Ready, NotPrepared>>>,
) -> Result<Result<Ready, NotPrepared>, tokio::task::JoinError> {
    match preparing {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}

async fn noted(notes: &mut Option<mpsc::UnboundedReceiver<Progress>>) -> Option<Progress> {
    match notes {
        Some(notes) => notes.recv().await,
        None => std::future::pending().await,
    }
}

async fn next(window: &mut Option<Window>) -> Happening {
    match window {
        Some(window) => window.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<BootTime>) {
    match deadline {
        // The runtime's clock stands still while the host is suspended; a second later the boot clock is asked again.
        Some(end) => tokio::time::sleep((end - clock::now()).min(Duration::from_secs(1))).await,
        None => std::future::pending().await,
    }
}
