//! The courier of one sink: takes reports from its spool, one by one, for as long as the agent lives.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use quiesced_core::problem::Problem;
use quiesced_freezer::clock;

use super::spool::Spool;
use super::{Figures, Kind, Sink, Undelivered};
use crate::daemon::mailbox::Published;
use crate::daemon::survey::Surveyor;

/// After the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// However often it has failed, and whatever the sink asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub(super) struct Courier {
    kind: Kind,
    spool: Arc<Spool>,
    figures: Figures,
    surveyor: watch::Receiver<Arc<Surveyor>>,
    published: watch::Receiver<Published>,
    /// How often in a row it has failed.
    failures: u32,
}

/// What one round came to.
enum Round {
    /// Nothing waits.
    Empty,
    /// Nobody is there who takes reports, for now.
    Pause(Duration),
    /// A session was opened.
    Interrupted,
    /// The agent is going.
    Over,
}

impl Courier {
    /// Starts it on a thread of its own: what it does takes nothing from the driver's.
    pub(super) fn start(
        kind: Kind,
        spool: Arc<Spool>,
        figures: Figures,
        surveyor: watch::Receiver<Arc<Surveyor>>,
        published: watch::Receiver<Published>,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut courier = Self { kind, spool, figures, surveyor, published, failures: 0 };
        let thread = std::thread::Builder::new().name(kind.name().to_owned());
        thread.spawn(move || runtime.block_on(courier.run()))?;
        Ok(())
    }

    async fn run(&mut self) {
        loop {
            let is_idle = |published: &Published| published.status.session.is_none();
            if self.published.wait_for(is_idle).await.is_err() {
                return;
            }
            let pause = match self.round().await {
                Round::Over => return,
                Round::Interrupted => continue,
                Round::Empty => None,
                Round::Pause(pause) => Some(pause),
            };
            tokio::select! {
                () = self.spool.news.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                changed = self.surveyor.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.failures = 0;
                }
            }
        }
    }

    /// Sends what waits, until something is in the way.
    async fn round(&mut self) -> Round {
        let (waiting, given_up) = self.spool.list();
        if given_up > 0 {
            self.figures.dropped.inc_by(u64::try_from(given_up).unwrap_or(u64::MAX));
            tracing::warn!(
                sink = self.kind.name(),
                given_up,
                "reports have waited for too long, and are not sent"
            );
        }
        if waiting.is_empty() {
            return Round::Empty;
        }
        let surveyor = Arc::clone(&self.surveyor.borrow_and_update());
        let mut sink = match self.kind.open(&surveyor).await {
            Ok(Some(sink)) => sink,
            // It was asked for once. What waits goes out when it is again, or when it is too old.
            Ok(None) => return Round::Empty,
            Err(problem) => return self.failed(&problem, None),
        };
        for file in waiting {
            match self.one(sink.as_mut(), &file).await {
                None => {}
                Some(round) => return round,
            }
        }
        Round::Empty
    }

    /// Nothing when there is room for the next.
    async fn one(&mut self, sink: &mut dyn Sink, file: &Path) -> Option<Round> {
        let key = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let report = match std::fs::read(file) {
            Ok(report) => report,
            Err(error) => {
                let problem =
                    Problem::from_error(&error).within(format!("{} cannot be read", file.display()));
                self.give_up(file, &problem);
                return None;
            }
        };
        let mut published = self.published.clone();
        let delivered = tokio::select! {
            delivered = sink.deliver(&key, &report) => delivered,
            opened = published.wait_for(|published| published.status.session.is_some()) => {
                return Some(if opened.is_ok() { Round::Interrupted } else { Round::Over });
            }
        };
        match delivered {
            Ok(()) => {
                self.failures = 0;
                self.figures.delivered.inc();
                self.spool.remove(file);
                None
            }
            Err(Undelivered::Later { problem, after }) => Some(self.failed(&problem, after)),
            Err(Undelivered::Never(problem)) => {
                self.figures.failed.inc();
                self.give_up(file, &problem);
                None
            }
        }
    }

    fn give_up(&self, file: &Path, problem: &Problem) {
        self.figures.dropped.inc();
        let hint = problem.hint.as_deref().unwrap_or_default();
        tracing::error!(sink = self.kind.name(), hint, "a report is not sent: {problem}");
        self.spool.remove(file);
    }

    /// Only the first failure in a row is told: the figures have the others.
    fn failed(&mut self, problem: &Problem, after: Option<Duration>) -> Round {
        self.figures.failed.inc();
        if self.failures == 0 {
            let hint = problem.hint.as_deref().unwrap_or_default();
            tracing::warn!(sink = self.kind.name(), hint, "reports cannot be sent, and wait: {problem}");
        }
        let pause = pause(self.failures, clock::now().as_nanos());
        self.failures = self.failures.saturating_add(1);
        Round::Pause(pause.max(after.unwrap_or_default()).min(LONGEST_PAUSE))
    }
}

/// Doubles with each failure, and varies by half, so that a fleet does not come back all at once. `noise` is any number.
fn pause(failures: u32, noise: u64) -> Duration {
    let whole =
        FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
    let share = f64::from(u32::try_from(noise % 1000).unwrap_or_default()) / 1000.0;
    whole.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_vary_and_have_a_limit() {
        assert_eq!(pause(0, 0), FIRST_PAUSE / 2);
        assert!(pause(0, 999) > Duration::from_millis(990));
        assert_eq!(pause(3, 0), FIRST_PAUSE * 4);
        assert_eq!(pause(9, 0), LONGEST_PAUSE / 2);
        assert!(pause(u32::MAX, 999) <= LONGEST_PAUSE);
    }
}
