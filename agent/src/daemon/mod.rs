//! The daemon: everything that is made once, before the driver takes over.
//!
//! ```text
//!  clients ─HTTP─▶ server ─▶ mailbox ─events─▶ driver ─▶ machine (quiesced-core)
//!                               ▲                │ ▲
//!                               └── published ───┘ │ happenings
//!                                                window ─▶ runner (hooks), guardian (freezer), journal
//! ```

pub mod driver;
pub mod mailbox;
pub mod manifest;
pub mod notify;
pub mod prepare;
pub mod recovery;
pub mod steps;
pub mod store;
pub mod survey;
pub mod window;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use quiesced_core::problem::Problem;
use quiesced_core::report::SessionReport;
use quiesced_core::session::{Event, Machine};
use quiesced_freezer::clock;
use quiesced_freezer::journal::Journal;
use quiesced_freezer::lock::RuntimeLock;

use crate::api::server;
use crate::config::{self, ConfigErrors, LogFormat, ReportSettings, Sources};
use crate::error::CliError;
use crate::logging::{self, ids};
use crate::metrics::{self, Metrics};
use crate::parameters;
use crate::paths::Paths;
use crate::sinks::Sinks;
use driver::{Driver, Parts, policy};
use mailbox::{Mailbox, Published};
use notify::Notify;
use store::Store;
use survey::Surveyor;

/// The file that this process runs, also after an upgrade has put another one in its place: a guardian of another
/// version might speak otherwise.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// How long the start waits for a freeze that an earlier agent left under way. Until then no session is opened.
const START_PATIENCE: Duration = Duration::from_secs(10);

impl Surveyor {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(paths: &Paths) -> Result<Self, ConfigErrors> {
        Self::load_from(paths, &paths.config_sources())
    }

    /// Reads a configuration that lies elsewhere.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_from(paths: &Paths, sources: &Sources) -> Result<Self, ConfigErrors> {
        let config::Loaded { settings, origins, files, stamp } = config::load(sources)?;
        parameters::configure(&settings.aws);
        Ok(Self { settings, paths: paths.clone(), config_files: files, origins, stamp })
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When it cannot start; nothing has been touched then but what an earlier agent had left held.
pub async fn run(paths: &Paths, log_format: Option<LogFormat>) -> Result<(), CliError> {
    let surveyor = Surveyor::load(paths).map_err(CliError::config)?;
    let _lock = own_runtime_dir(paths)?;
    let directory = surveyor.settings.log.directory.clone().unwrap_or_else(|| paths.default_log_dir());
    let mut log = surveyor.settings.log.clone();
    log.format = log_format.unwrap_or(log.format);
    let (gate, _log) = logging::start(&log, &directory).map_err(|error| {
        Problem::from_error(&error).with_hint(Some("name another `directory` in the [log] table"))
    })?;
    release_leftovers(paths).await?;
    let store = Store::open(&paths.sessions(), &surveyor.settings.report)
        .map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())))?;
    let (reports, lost) =
        store.load().map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())))?;
    let socket = paths.socket();
    let listener = server::listen(&socket).map_err(|error| {
        Problem::from_error(&error).within(format!("the control socket {} cannot be made", socket.display()))
    })?;
    let (sender, events) = mpsc::unbounded_channel();
    let machine = Machine::new(policy(&surveyor.settings), store::past(&reports));
    let reports = Arc::new(reports);
    let first = Published { status: machine.status(), sessions: Arc::clone(&reports), refused: Vec::new() };
    let (published, seen) = watch::channel(first);
    let (surveyor, current) = watch::channel(Arc::new(surveyor));
    let groups = current.borrow().settings.group.keys().cloned().collect::<Vec<_>>();
    let metrics = Metrics::new(&reports, groups.iter().map(String::as_str));
    let help = "Log lines that nobody took in time";
    metrics.extend(|registry| registry.register("log_lines_lost", help, gate.lost()));
    let sinks = Sinks::start(paths, &metrics, &current, &seen)
        .map_err(|error| Problem::from_error(&error).within("reports cannot be sent"))?;
    tell_of_lost(&lost, &metrics, &sinks, &current.borrow().settings.report);
    let listen = current.borrow().settings.metrics.address();
    let mailbox = Arc::new(Mailbox::new(sender.clone(), seen, current, metrics.clone()));
    if let Some(address) = listen {
        tokio::spawn(metrics::server::listen(address, Arc::clone(&mailbox)).await.map_err(|error| {
            Problem::from_error(&error)
                .within(format!("figures cannot be served on {address}"))
                .with_hint(Some("name another `listen` in the [metrics] table, or see who has it: ss -ltnp"))
        })?);
    }
    let reload = listen_for_signals(&sender)?;
    let notify = Notify::start();
    let serving = tokio::spawn(server::serve(listener, Arc::clone(&mailbox)));
    notify.ready();
    tracing::info!(message_id = ids::READY, version = crate::VERSION, socket = %socket.display(), "ready");
    let boot_id = clock::boot_id().map_err(|error| Problem::from_error(&error))?;
    let parts = Parts {
        surveyor,
        mailbox,
        published,
        events,
        sender,
        reload,
        store,
        reports,
        metrics,
        sinks,
        gate,
        notify,
        program: PathBuf::from(OWN_BINARY),
        boot_id,
    };
    let residue = Driver::new(parts).run().await;
    notify::stopping();
    // Answers that were just given are still on their way to their clients.
    tokio::time::sleep(Duration::from_millis(50)).await;
    serving.abort();
    // The socket lies on tmpfs; the next agent would replace one that stayed.
    drop(std::fs::remove_file(&socket));
    if residue.is_empty() {
        tracing::info!(message_id = ids::STOPPED, "stopped with nothing held");
    } else {
        let names: Vec<&str> = residue.iter().map(|left| left.name.as_str()).collect();
        tracing::error!(
            message_id = ids::STOPPED,
            names = names.join(", "),
            "stopped; these may still be held"
        );
    }
    Ok(())
}

/// Whoever waits for the end of a session that was lost hears of it now.
fn tell_of_lost(lost: &[SessionReport], metrics: &Metrics, sinks: &Sinks, settings: &ReportSettings) {
    for report in lost {
        metrics.count(report);
        for error in sinks.put(report, settings) {
            tracing::error!(error = %Problem::from_error(&error), "the report is not sent");
        }
    }
}

/// Makes the runtime directory, and the agent its only one.
fn own_runtime_dir(paths: &Paths) -> Result<RuntimeLock, Problem> {
    let directory = paths.runtime_dir.display();
    Journal::check_place(&paths.runtime_dir)
        .map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())))?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&paths.runtime_dir);
    made.map_err(|error| {
        Problem::from_error(&error)
            .within(format!("the runtime directory {directory} cannot be made"))
            .with_hint(Some("run the agent as root, or give it another --runtime-dir"))
    })?;
    let mode = std::fs::metadata(&paths.runtime_dir).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o022 != 0) {
        let hint = format!("look at what others have put there, then `chmod 700 {directory}`");
        return Err(Problem::new(format!("others can write to the runtime directory {directory}"))
            .with_hint(Some(hint)));
    }
    let lock = RuntimeLock::try_take(&paths.runtime_dir).map_err(|error| {
        Problem::from_error(&error).within(format!("the runtime directory {directory} cannot be locked"))
    })?;
    lock.ok_or_else(|| {
        Problem::new(format!("another agent already uses {directory}")).with_hint(Some(
            "run `systemctl status quiesced`, or give this one another --runtime-dir and --state-dir",
        ))
    })
}

async fn release_leftovers(paths: &Paths) -> Result<(), Problem> {
    let recovered = recovery::recover(paths, START_PATIENCE).await?;
    for thing in &recovered.things {
        tracing::warn!(
            message_id = ids::LEFT_HELD,
            name = thing.name,
            outcome = thing.outcome,
            "an earlier agent had left this held"
        );
    }
    if recovered.is_clean() {
        return Ok(());
    }
    let left: Vec<&str> =
        recovered.things.iter().filter(|thing| !thing.released).map(|thing| thing.name.as_str()).collect();
    Err(Problem::new(format!("what an earlier agent held cannot be released: {}", left.join(", ")))
        .with_hint(Some("run `quiesced recover` to see why")))
}

/// SIGTERM and SIGINT release everything, then end the agent; SIGHUP reads the configuration again.
fn listen_for_signals(events: &mpsc::UnboundedSender<Event>) -> Result<mpsc::UnboundedReceiver<()>, Problem> {
    let listen = |kind| {
        signal(kind).map_err(|error| Problem::from_error(&error).within("signals cannot be listened for"))
    };
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut stream, events) = (listen(kind)?, events.clone());
        tokio::spawn(
            async move { while stream.recv().await.is_some() && events.send(Event::Stop).is_ok() {} },
        );
    }
    let (reload, receiver) = mpsc::unbounded_channel();
    let mut hangup = listen(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() && reload.send(()).is_ok() {} });
    Ok(receiver)
}
