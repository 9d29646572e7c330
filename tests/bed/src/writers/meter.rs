//! Counts writes and keeps the longest one, also while one is still blocked.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a writer did and felt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Writes that were completed since the writer was started.
    pub written: u64,
    /// The longest write since the start or the last mark, one that is still under way included, in microseconds.
    pub longest_stall_us: u64,
    /// Why the writer stopped by itself.
    pub stopped: Option<String>,
}

impl Progress {
    /// The longest write since the start or the last mark.
    pub fn longest_stall(&self) -> Duration {
        Duration::from_micros(self.longest_stall_us)
    }
}

/// No write is under way.
const NONE: u64 = u64::MAX;

/// Shared between the thread that writes and the one that answers: the former may sleep on a frozen filesystem.
#[derive(Debug)]
pub(crate) struct Meter {
    born: Instant,
    written: AtomicU64,
    longest: AtomicU64,
    begun: AtomicU64,
    stop: AtomicBool,
    stopped: Mutex<Option<String>>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            written: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            begun: AtomicU64::new(NONE),
            stop: AtomicBool::new(false),
            stopped: Mutex::new(None),
        }
    }

    /// Writes until it is told to stop, or a write fails. The pauses between writes are no part of any stall.
    pub(crate) fn drive<E: std::fmt::Display>(
        &self,
        pause: Duration,
        mut write: impl FnMut() -> Result<(), E>,
    ) {
        while !self.stop.load(Ordering::SeqCst) {
            self.begun.store(self.now(), Ordering::SeqCst);
            let result = write();
            let begun = self.begun.swap(NONE, Ordering::SeqCst);
            if let Err(error) = result {
                return self.give_up(&error.to_string());
            }
            self.longest.fetch_max(self.now().saturating_sub(begun), Ordering::SeqCst);
            self.written.fetch_add(1, Ordering::SeqCst);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
    }

    pub(crate) fn give_up(&self, reason: &str) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Forgets the longest write so far; one that is under way counts whole.
    pub(crate) fn mark(&self) {
        self.longest.store(0, Ordering::SeqCst);
    }

    pub(crate) fn progress(&self) -> Progress {
        let blocked = match self.begun.load(Ordering::SeqCst) {
            NONE => 0,
            begun => self.now().saturating_sub(begun),
        };
        Progress {
            written: self.written.load(Ordering::SeqCst),
            longest_stall_us: self.longest.load(Ordering::SeqCst).max(blocked),
            stopped: self.stopped.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_micros()).unwrap_or(NONE - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_under_way_counts_as_a_stall() {
        let meter = Meter::new();
        let mut seen = Duration::ZERO;
        meter.drive(Duration::ZERO, || {
            std::thread::sleep(Duration::from_millis(20));
            seen = meter.progress().longest_stall();
            Err("enough")
        });
        assert!(seen >= Duration::from_millis(20));
        assert_eq!(meter.progress().stopped.as_deref(), Some("enough"));
    }

    #[test]
    fn a_mark_forgets_earlier_stalls() {
        let meter = Meter::new();
        meter.drive(Duration::ZERO, || {
            std::thread::sleep(Duration::from_millis(20));
            meter.stop();
            Ok::<(), String>(())
        });
        assert!(meter.progress().longest_stall() >= Duration::from_millis(20));
        meter.mark();
        assert_eq!(meter.progress(), Progress { written: 1, longest_stall_us: 0, stopped: None });
    }
}
