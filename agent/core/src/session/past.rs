//! What became of earlier sessions, for requests that come late or twice.

use std::collections::VecDeque;

use super::Why;
use crate::exit::ExitCode;
use crate::id::ExecutionId;

/// How many sessions are remembered: a day of one snapshot every five minutes.
const REMEMBERED: usize = 288;

/// What a post-script for a session that is no longer open is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its post-script was answered with this code, and is again.
    Posted(ExitCode),
    /// It was held, and the hold ended before its post-script: auto-thaw, a crash, a reboot.
    AutoThawed,
    /// It never came to hold anything that a post-script could release.
    NeverHeld,
}

impl Outcome {
    /// What a post-script that comes now is answered. Without an id there is no telling whether it is the same
    /// post-script again or that of a session which never was: a success must not be repeated to it.
    pub fn of_post(self, id: &ExecutionId) -> Option<(ExitCode, Why)> {
        match self {
            Self::Posted(_) if id.is_none() => None,
            Self::Posted(code) => Some((code, Why::AlreadyPosted(id.clone()))),
            Self::AutoThawed => Some((ExitCode::AutoThawed, Why::AlreadyThawed(id.clone()))),
            Self::NeverHeld => Some((ExitCode::AlreadyThawed, Why::NeverHeld(id.clone()))),
        }
    }
}

/// The sessions that have ended, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Past(VecDeque<(ExecutionId, Outcome)>);

impl Past {
    /// Remembers how a session ended; a later session of the same id takes the place of the earlier.
    pub fn remember(&mut self, id: ExecutionId, outcome: Outcome) {
        self.0.retain(|(known, _)| *known != id);
        self.0.push_back((id, outcome));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// How the session of this id ended, if it is remembered.
    pub fn outcome(&self, id: &ExecutionId) -> Option<Outcome> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, outcome)| *outcome)
    }
}
