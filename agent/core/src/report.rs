//! What is told about a session: to the caller, to the log, and to whoever asks later.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::id::ExecutionId;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::proof::{FrozenSpan, HookProof};
use crate::time::BootTime;
use crate::verdict::Verdict;

/// The version of [`SessionReport`]'s form; a reader refuses what is newer than it knows.
pub const REPORT_VERSION: u32 = 1;

/// One session, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionReport {
    /// [`REPORT_VERSION`] of the agent that wrote it.
    pub version: u32,
    /// The id that the session was opened with.
    pub execution_id: ExecutionId,
    /// The consistency group.
    pub group: String,
    /// What the snapshot is worth; absent until the session has ended.
    pub verdict: Option<Verdict>,
    /// Each reason why the verdict is not a better one.
    pub reasons: Vec<String>,
    /// How the session ended; absent until it has.
    pub ending: Option<Ending>,
    /// What the request that ended the session exits with; absent until it has ended.
    pub code: Option<ExitCode>,
    /// What was to be held.
    pub plan: Plan,
    /// The phases that it went through, in order.
    pub phases: Vec<PhaseSpan>,
    /// The steps that were taken, in the order in which they ended.
    pub steps: Vec<StepReport>,
    /// What each hook proved of its hold; empty when it was not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<HookProof>,
    /// When each filesystem was frozen, in the order of the freezes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<FrozenSpan>,
    /// When everything would have been released by itself; absent when nothing was to be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ends: Option<BootTime>,
    /// What could not be released.
    pub residue: Vec<Residue>,
    /// Everything that went wrong, in order.
    pub problems: Vec<Problem>,
    /// What preflight found and what did not stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Problem>,
    /// Where and when it ran, in terms of people; filled in by the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostFacts>,
}

impl SessionReport {
    /// From the first lock to the last release; absent when no lock was ever asked for.
    pub fn window(&self) -> Option<Duration> {
        let in_window = |span: &&PhaseSpan| span.phase != Phase::Preparing;
        let began = self.phases.iter().find(in_window)?.began;
        let ended = self.phases.iter().rev().find(in_window)?.ended?;
        Some(ended - began)
    }
}

/// Facts that only the agent knows: the rules of a session have no clock and no host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFacts {
    /// `/proc/sys/kernel/random/boot_id`: boot times of two boots cannot be compared.
    pub boot_id: String,
    /// The version of the agent.
    pub agent_version: String,
    /// When the session was opened, by the wall clock (RFC 3339, UTC).
    pub opened_at: String,
    /// When it ended, by the wall clock; absent until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

impl HostFacts {
    /// When the session ended, by the wall clock; when it was opened, if nobody saw its end.
    pub fn last_seen_at(&self) -> &str {
        self.ended_at.as_deref().unwrap_or(&self.opened_at)
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Its post-script came in time.
    Post,
    /// The lease ended: auto-thaw.
    LeaseEnded,
    /// Something that was held was lost, for example because the guardian died.
    HoldLost,
    /// A newer session took its place (`on_conflict = "replace"`).
    Replaced,
    /// An operator asked for everything to be released.
    Released,
    /// The agent was told to stop.
    Stopped,
    /// The agent or the host died while the session was open.
    Lost,
    /// A step on the way to the hold failed.
    Failed,
    /// Preflight found something in the way.
    NotReady,
    /// A target was already frozen by somebody else.
    HeldByOther,
    /// Pre-script's budget was over before everything was held.
    BudgetEnded,
    /// The client of the pre-script went away before it was answered.
    ClientGone,
}

impl Ending {
    /// What the pre-script exits with when the session ends so before everything was held.
    pub const fn code_of_pre(self) -> ExitCode {
        match self {
            Self::NotReady => ExitCode::NotReady,
            Self::HeldByOther => ExitCode::AlreadyFrozen,
            Self::Post
            | Self::LeaseEnded
            | Self::HoldLost
            | Self::Replaced
            | Self::Released
            | Self::Stopped
            | Self::Lost
            | Self::Failed
            | Self::BudgetEnded
            | Self::ClientGone => ExitCode::PreScriptFailed,
        }
    }

    /// The end in words, for a sentence that begins with "the session ended because".
    pub const fn because(self) -> &'static str {
        match self {
            Self::Post => "post-script was called",
            Self::LeaseEnded => "the lease ended before post-script was called",
            Self::HoldLost => "something that was held was lost",
            Self::Replaced => "a newer session took its place",
            Self::Released => "an operator asked for everything to be released",
            Self::Stopped => "the agent was told to stop",
            Self::Lost => "the agent or the host died while it was open",
            Self::Failed => "a step failed",
            Self::NotReady => "preflight found something in the way",
            Self::HeldByOther => "somebody else has frozen a filesystem of it",
            Self::BudgetEnded => "the budget of pre-script was over",
            Self::ClientGone => "the client of pre-script went away",
        }
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Preflight and all slow work; nothing is held.
    Preparing,
    /// Hooks take their locks.
    Quiescing,
    /// Filesystems are frozen.
    Freezing,
    /// Everything is held; the snapshot is initiated now.
    Held,
    /// Filesystems are thawed.
    Thawing,
    /// Hooks prove that they held, and release their locks.
    Resuming,
}

impl Phase {
    /// The phase's name as people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "prepare",
            Self::Quiescing => "quiesce",
            Self::Freezing => "freeze",
            Self::Held => "held",
            Self::Thawing => "thaw",
            Self::Resuming => "resume",
        }
    }
}

/// When a session was in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseSpan {
    /// The phase.
    pub phase: Phase,
    /// When it was entered.
    pub began: BootTime,
    /// When it was left; absent while the session is in it.
    pub ended: Option<BootTime>,
}

/// One step of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// What was done.
    pub step: Step,
    /// The hook or mount point that it was done to.
    pub subject: String,
    /// When it began.
    pub began: BootTime,
    /// When it ended.
    pub ended: BootTime,
    /// What was learned: how a hold was proved, how much was flushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
}

/// The kinds of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A hook was asked, read-only, whether it is ready and where its data lies.
    Inspect,
    /// A hook did its slow work.
    Prepare,
    /// The manifest was written to a filesystem.
    Manifest,
    /// Dirty data of a filesystem was written out.
    Sync,
    /// A hook took its lock.
    Quiesce,
    /// A filesystem was frozen.
    Freeze,
    /// A filesystem was thawed.
    Thaw,
    /// A hook was asked whether it had held all along.
    Verify,
    /// A hook released its lock.
    Resume,
}

impl Step {
    /// The step's name as people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Prepare => "prepare",
            Self::Manifest => "manifest",
            Self::Sync => "sync",
            Self::Quiesce => "quiesce",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::Verify => "verify",
            Self::Resume => "resume",
        }
    }
}

/// Something that could not be released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Residue {
    /// Whether it is a hook or a filesystem.
    pub kind: ThingKind,
    /// The hook's name or the filesystem's mount point.
    pub name: String,
    /// Why it could not be released.
    pub problem: Problem,
}

impl Residue {
    /// Whether this is what is left of that thing.
    pub fn is(&self, kind: ThingKind, name: &str) -> bool {
        self.kind == kind && self.name == name
    }
}

/// The two kinds of thing that a session holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThingKind {
    /// An application, held by a hook.
    Hook,
    /// A filesystem, held frozen.
    Filesystem,
}
