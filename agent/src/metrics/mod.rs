//! Figures for Prometheus: counted when a session has ended, and read from published copies when somebody asks.

pub mod server;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use quiesced_core::report::{Ending, HostFacts, Phase, SessionReport};
use quiesced_core::time::BootTime;
use quiesced_core::verdict::Verdict;

use crate::daemon::mailbox::Published;
use crate::timeline::longest_stall;

/// From what a freeze takes on a quiet disk to the longest lease that is usual.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// However often it is asked for, the text is made no more than once in this time.
const FRESH: Duration = Duration::from_millis(500);

type Labels<const N: usize> = [(&'static str, String); N];
type Seconds = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

type Histograms = Family<Labels<1>, Histogram, Buckets>;

/// The figures of one agent. Copies are the same figures.
#[derive(Clone, Debug)]
pub struct Metrics {
    sessions: Family<Labels<4>, Counter>,
    auto_thaws: Family<Labels<1>, Counter>,
    phases: Histograms,
    windows: Histograms,
    stalls: Histograms,
    last: Family<Labels<1>, Seconds>,
    last_good: Family<Labels<1>, Seconds>,
    open: Gauge,
    lease_left: Seconds,
    residue: Gauge,
    refused: Gauge,
    registry: Arc<Mutex<Registry>>,
    text: Arc<Mutex<Option<(BootTime, String)>>>,
}

impl Metrics {
    /// Figures of an agent that has just started: counters begin at nothing, the times of the last sessions are those of the
    /// reports on disk, and of each configured group something is told from the start.
    pub fn new<'a>(reports: &[SessionReport], groups: impl Iterator<Item = &'a str>) -> Self {
        let metrics = Self {
            sessions: Family::default(),
            auto_thaws: Family::default(),
            phases: Family::new_with_constructor(Buckets),
            windows: Family::new_with_constructor(Buckets),
            stalls: Family::new_with_constructor(Buckets),
            last: Family::default(),
            last_good: Family::default(),
            open: Gauge::default(),
            lease_left: Seconds::default(),
            residue: Gauge::default(),
            refused: Gauge::default(),
            registry: Arc::default(),
            text: Arc::default(),
        };
        metrics.register();
        metrics.expect(groups);
        reports.iter().for_each(|report| metrics.date(report));
        metrics
    }

    /// From now on tells of these groups too: of one without a session, that its last was at 0.
    pub fn expect<'a>(&self, groups: impl Iterator<Item = &'a str>) {
        for group in groups {
            let labels = [("group", group.to_owned())];
            drop((self.last.get_or_create(&labels), self.last_good.get_or_create(&labels)));
        }
    }

    /// Lets somebody else tell figures of their own.
    pub fn extend(&self, register: impl FnOnce(&mut Registry)) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(registry.sub_registry_with_prefix("quiesced"));
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("quiesced");
        // Not an `Info`, which is a type that Prometheus' own text form does not have.
        let build: Family<Labels<1>, Gauge> = Family::default();
        build.get_or_create(&[("version", crate::VERSION.to_owned())]).set(1);
        registry.register("build_info", "The agent that runs", build);
        registry.register("sessions", "Sessions that have ended", self.sessions.clone());
        let help = "Holds that ended before post-script was called, by what ended them";
        registry.register("auto_thaws", help, self.auto_thaws.clone());
        let mut seconds = |name: &str, help: &str, metric: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
        };
        seconds("phase_duration", "How long each phase of a session took", &self.phases);
        seconds("window_duration", "From the first lock to the last release", &self.windows);
        seconds("longest_stall", "The longest that a writer can have waited in a session", &self.stalls);
        let mut seconds = |name: &str, help: &str, metric: &Family<Labels<1>, Seconds>| {
            registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
        };
        seconds("last_session_timestamp", "When the last session ended, since 1970", &self.last);
        let help = "When the last application-consistent session ended, since 1970; 0 when there was none";
        seconds("last_application_consistent_timestamp", help, &self.last_good);
        registry.register("session_open", "1 while a session is open", self.open.clone());
        let help = "What is left of the open session's lease; 0 without one";
        registry.register_with_unit("lease_remaining", help, Unit::Seconds, self.lease_left.clone());
        let help = "Hooks and filesystems that could not be released";
        registry.register("residue", help, self.residue.clone());
        let help = "1 while the configuration files could not be read again";
        registry.register("reload_refused", help, self.refused.clone());
    }

    /// Counts a session that has ended.
    pub fn count(&self, report: &SessionReport) {
        self.date(report);
        let group = || ("group", report.group.clone());
        let verdict = report.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
        let code = report.code.map(|code| code.number().to_string()).unwrap_or_default();
        let ending = report.ending.map(word).unwrap_or_default();
        let labels = [group(), ("verdict", verdict), ("code", code), ("ending", ending.clone())];
        self.sessions.get_or_create(&labels).inc();
        let was_held = report.phases.iter().any(|span| span.phase == Phase::Held);
        if was_held && report.ending != Some(Ending::Post) {
            self.auto_thaws.get_or_create(&[("ending", ending)]).inc();
        }
        for span in &report.phases {
            let Some(ended) = span.ended else { continue };
            let labels = [("phase", span.phase.name().to_owned())];
            self.phases.get_or_create(&labels).observe((ended - span.began).as_secs_f64());
        }
        if let Some(window) = report.window() {
            self.windows.get_or_create(&[group()]).observe(window.as_secs_f64());
        }
        if let Some(stall) = longest_stall(report) {
            self.stalls.get_or_create(&[group()]).observe(stall.as_secs_f64());
        }
    }

    fn date(&self, report: &SessionReport) {
        let seen = report.host.as_ref().map(HostFacts::last_seen_at);
        let Some(time) = seen.and_then(|text| humantime::parse_rfc3339(text).ok()) else { return };
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let labels = [("group", report.group.clone())];
        self.last.get_or_create(&labels).set(seconds);
        if report.verdict == Some(Verdict::ApplicationConsistent) {
            self.last_good.get_or_create(&labels).set(seconds);
        }
    }

    /// The text of all figures, in the OpenMetrics form.
    pub fn text(&self, published: &Published, now: BootTime) -> String {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = text.as_ref().filter(|(at, _)| now - *at < FRESH) {
            return text.clone();
        }
        let session = published.status.session.as_ref();
        self.open.set(i64::from(session.is_some()));
        let lease_ends = session.and_then(|open| open.lease_ends);
        self.lease_left.set(lease_ends.map(|end| (end - now).as_secs_f64()).unwrap_or_default());
        self.residue.set(i64::try_from(published.status.residue.len()).unwrap_or(i64::MAX));
        self.refused.set(i64::from(!published.refused.is_empty()));
        let mut fresh = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a `String` does not fail.
        encode(&mut fresh, &registry).unwrap_or_default();
        *text = Some((now, fresh.clone()));
        fresh
    }
}

/// The word that the report has for it.
fn word(ending: Ending) -> String {
    let word = serde_json::to_value(ending).ok();
    word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
