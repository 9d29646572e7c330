//! What systemd is told (sd_notify(3)), and how often.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

/// The connection to systemd; silent when there is none.
#[derive(Debug)]
pub struct Notify {
    watchdog: Option<Interval>,
    last: Mutex<String>,
}

impl Notify {
    /// Looks for the watchdog's interval. It is served at twice the rate that it asks for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|limit: Duration| {
            let mut interval = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { watchdog, last: Mutex::default() }
    }

    /// The agent takes requests.
    pub fn ready(&self) {
        send(&[NotifyState::Ready]);
    }

    /// Tells people what the agent is doing, when that has changed.
    pub fn status(&self, line: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            line.clone_into(&mut last);
            send(&[NotifyState::Status(line)]);
        }
    }

    /// Ends when the watchdog has been served once. Only the driver calls this, so a driver that hangs is noticed.
    pub async fn watchdog(&mut self) {
        match &mut self.watchdog {
            Some(interval) => {
                interval.tick().await;
                send(&[NotifyState::Watchdog]);
            }
            None => std::future::pending().await,
        }
    }
}

/// The agent ends.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// A manager that cannot be told is no reason to do anything else.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
