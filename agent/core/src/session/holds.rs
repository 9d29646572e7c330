//! Which things of a plan are held, and what may be done with them next.
//!
//! ```text
//! hook        Untouched ─▶ Quiescing ─▶ Quiesced ─▶ Releasing ─▶ Released
//!                              └──────▶ Unknown  ──────┘
//! filesystem  Untouched ─▶ Freezing ─▶ Frozen ─▶ Settled
//!                              └─────▶ NotHeld ──┘
//! ```
//!
//! A hook whose quiesce was started and did not succeed is `Unknown`, and unknown counts as held.

use crate::plan::{FilesystemIndex, HookIndex, Plan};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookState {
    Untouched,
    Quiescing,
    Quiesced,
    Unknown,
    Releasing,
    Released,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilesystemState {
    Untouched,
    Freezing,
    Frozen,
    NotHeld,
    Settled,
}

/// The ledger of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    pub(super) plan: Plan,
    hooks: Vec<HookState>,
    filesystems: Vec<FilesystemState>,
}

impl Holds {
    pub(super) fn new(plan: Plan) -> Self {
        let hooks = vec![HookState::Untouched; plan.hooks.len()];
        let filesystems = vec![FilesystemState::Untouched; plan.filesystems.len()];
        Self { plan, hooks, filesystems }
    }

    /// Marks and returns the hooks that may be quiesced now: everything that they come after is quiesced.
    pub(super) fn start_quiesces(&mut self) -> Vec<HookIndex> {
        let ready = |hook: &HookIndex| {
            self.hooks[*hook] == HookState::Untouched
                && self.plan.hooks[*hook].after.iter().all(|other| self.hooks[*other] == HookState::Quiesced)
        };
        let started: Vec<_> = (0..self.hooks.len()).filter(ready).collect();
        started.iter().for_each(|hook| self.hooks[*hook] = HookState::Quiescing);
        started
    }

    /// Records how a quiesce ended; false when none was under way.
    pub(super) fn quiesced(&mut self, hook: HookIndex, succeeded: bool) -> bool {
        let expected = self.hooks.get(hook) == Some(&HookState::Quiescing);
        if expected {
            self.hooks[hook] = if succeeded { HookState::Quiesced } else { HookState::Unknown };
        }
        expected
    }

    pub(super) fn being_quiesced(&self) -> Vec<HookIndex> {
        (0..self.hooks.len()).filter(|hook| self.hooks[*hook] == HookState::Quiescing).collect()
    }

    pub(super) fn all_quiesced(&self) -> bool {
        self.hooks.iter().all(|hook| *hook == HookState::Quiesced)
    }

    /// Marks every filesystem as being frozen; false when there is none.
    pub(super) fn start_freeze(&mut self) -> bool {
        self.filesystems.fill(FilesystemState::Freezing);
        !self.filesystems.is_empty()
    }

    /// Records how a freeze ended; false when none was under way.
    pub(super) fn frozen(&mut self, filesystem: FilesystemIndex, succeeded: bool) -> bool {
        let expected = self.filesystems.get(filesystem) == Some(&FilesystemState::Freezing);
        if expected {
            self.filesystems[filesystem] =
                if succeeded { FilesystemState::Frozen } else { FilesystemState::NotHeld };
        }
        expected
    }

    pub(super) fn all_frozen(&self) -> bool {
        self.filesystems.iter().all(|filesystem| *filesystem == FilesystemState::Frozen)
    }

    /// Whether any freeze was ever asked for, so that a thaw is owed.
    pub(super) fn owes_a_thaw(&self) -> bool {
        self.filesystems.iter().any(|filesystem| *filesystem != FilesystemState::Untouched)
    }

    /// Records that nothing more will come of a filesystem; false when that was known.
    pub(super) fn settled(&mut self, filesystem: FilesystemIndex) -> bool {
        let expected =
            self.filesystems.get(filesystem).is_some_and(|state| *state != FilesystemState::Settled);
        if expected {
            self.filesystems[filesystem] = FilesystemState::Settled;
        }
        expected
    }

    pub(super) fn all_settled(&self) -> bool {
        self.filesystems.iter().all(|filesystem| *filesystem == FilesystemState::Settled)
    }

    /// Marks and returns the hooks that may be released now: those that come after them are released or untouched.
    pub(super) fn start_releases(&mut self) -> Vec<HookIndex> {
        let ready = |hook: &HookIndex| {
            matches!(self.hooks[*hook], HookState::Quiesced | HookState::Unknown)
                && self
                    .dependents(*hook)
                    .all(|other| matches!(self.hooks[other], HookState::Untouched | HookState::Released))
        };
        let started: Vec<_> = (0..self.hooks.len()).filter(ready).collect();
        started.iter().for_each(|hook| self.hooks[*hook] = HookState::Releasing);
        started
    }

    pub(super) fn is_releasing(&self, hook: HookIndex) -> bool {
        self.hooks.get(hook) == Some(&HookState::Releasing)
    }

    /// Records that a release ended, well or not; false when none was under way.
    pub(super) fn released(&mut self, hook: HookIndex) -> bool {
        let expected = self.is_releasing(hook);
        if expected {
            self.hooks[hook] = HookState::Released;
        }
        expected
    }

    pub(super) fn all_released(&self) -> bool {
        self.hooks.iter().all(|hook| matches!(hook, HookState::Untouched | HookState::Released))
    }

    fn dependents(&self, hook: HookIndex) -> impl Iterator<Item = HookIndex> + '_ {
        (0..self.hooks.len()).filter(move |other| self.plan.hooks[*other].after.contains(&hook))
    }
}
