//! Sinks: where reports are sent to when a session has ended.
//!
//! ```text
//!  driver ──report──▶ spool (a file each) ──oldest first──▶ courier ──▶ sink
//!                                  ▲                           │ later: back-off, the file stays
//!                                  └───────────────────────────┘ never: told, and the file goes
//! ```
//!
//! A courier lives on a thread of its own and works from files, so that nothing a sink does, hang, fail or flood, reaches a
//! session. It sends nothing while one is open.

mod courier;
pub mod spool;
pub mod ssm;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use quiesced_core::problem::Problem;
use quiesced_core::report::SessionReport;

use crate::config::ReportSettings;
use crate::daemon::mailbox::Published;
use crate::daemon::survey::Surveyor;
use crate::metrics::Metrics;
use crate::paths::Paths;
use courier::Courier;
use spool::{Spool, SpoolError};

/// Why something could not be delivered.
#[derive(Debug)]
pub enum Undelivered {
    /// It may be taken later; not before the time that was asked for, if one was.
    Later {
        /// Why.
        problem: Problem,
        /// How long to wait at least.
        after: Option<Duration>,
    },
    /// It will never be taken.
    Never(Problem),
}

/// A place that takes reports.
#[async_trait]
pub trait Sink: Send {
    /// Hands over one report, as its JSON. May take as long as it likes: it is given up when a session opens.
    ///
    /// # Errors
    /// When it was not taken for certain. It may have been taken all the same, and comes again with the same key.
    async fn deliver(&mut self, key: &str, report: &[u8]) -> Result<(), Undelivered>;
}

/// The kinds of sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`ssm`]
    Ssm,
    /// [`webhook`]
    Webhook,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Ssm, Self::Webhook];

    /// The name of its table, spool and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ssm => "ssm",
            Self::Webhook => "webhook",
        }
    }

    /// The sink, if the settings ask for one.
    ///
    /// # Errors
    /// When it cannot be set up, for example because its secret cannot be read.
    pub async fn open(self, surveyor: &Surveyor) -> Result<Option<Box<dyn Sink>>, Problem> {
        let settings = &surveyor.settings.report;
        match self {
            Self::Ssm if settings.ssm.enabled => {
                Ok(Some(Box::new(ssm::Ssm::open(&surveyor.settings.aws, surveyor.paths.sessions()).await?)))
            }
            Self::Ssm => Ok(None),
            Self::Webhook => match &settings.webhook {
                Some(webhook) => Ok(Some(Box::new(webhook::Webhook::open(webhook).await?))),
                None => Ok(None),
            },
        }
    }

    const fn is_asked_for(self, settings: &ReportSettings) -> bool {
        match self {
            Self::Ssm => settings.ssm.enabled,
            Self::Webhook => settings.webhook.is_some(),
        }
    }
}

/// The figures of all sinks.
#[derive(Default)]
struct Families {
    waiting: Family<Labels, Gauge>,
    dropped: Family<Labels, Counter>,
    delivered: Family<Labels, Counter>,
    failed: Family<Labels, Counter>,
}

type Labels = [(&'static str, &'static str); 1];

impl Families {
    fn register(&self, registry: &mut Registry) {
        registry.register("spool_reports", "Reports that wait to be sent", self.waiting.clone());
        registry.register("spool_dropped", "Reports that were given up unsent", self.dropped.clone());
        registry.register("reports_delivered", "Reports that were taken", self.delivered.clone());
        let help = "Attempts to send a report that failed";
        registry.register("report_failures", help, self.failed.clone());
    }

    fn of(&self, kind: Kind) -> Figures {
        let labels = [("sink", kind.name())];
        Figures {
            waiting: self.waiting.get_or_create(&labels).clone(),
            dropped: self.dropped.get_or_create(&labels).clone(),
            delivered: self.delivered.get_or_create(&labels).clone(),
            failed: self.failed.get_or_create(&labels).clone(),
        }
    }
}

/// What is counted of one sink.
#[derive(Clone, Debug)]
struct Figures {
    waiting: Gauge,
    dropped: Counter,
    delivered: Counter,
    failed: Counter,
}

/// All sinks, from the driver's side.
#[derive(Clone, Debug)]
pub struct Sinks(Vec<(Kind, Arc<Spool>)>);

impl Sinks {
    /// Starts a courier for each kind. They end with the process.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        paths: &Paths,
        metrics: &Metrics,
        surveyor: &watch::Receiver<Arc<Surveyor>>,
        published: &watch::Receiver<Published>,
    ) -> std::io::Result<Self> {
        let families = Families::default();
        metrics.extend(|registry| families.register(registry));
        let mut spools = Vec::new();
        for kind in Kind::ALL {
            let figures = families.of(kind);
            let spool = Arc::new(Spool::new(paths.spool().join(kind.name()), figures.waiting.clone()));
            let (surveyor, published) = (surveyor.clone(), published.clone());
            Courier::start(kind, Arc::clone(&spool), figures, surveyor, published)?;
            spools.push((kind, spool));
        }
        Ok(Self(spools))
    }

    /// Keeps a report for every sink that the settings ask for. Writes files, so it must not be called from the driver's thread.
    pub fn put(&self, report: &SessionReport, settings: &ReportSettings) -> Vec<SpoolError> {
        let asked_for = self.0.iter().filter(|(kind, _)| kind.is_asked_for(settings));
        asked_for.filter_map(|(_, spool)| spool.put(report).err()).collect()
    }
}
