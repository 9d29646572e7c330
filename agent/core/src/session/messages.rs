//! What goes into the state machine and what comes out of it.

use std::time::Duration;

use crate::exit::ExitCode;
use crate::id::ExecutionId;
use crate::plan::{FilesystemIndex, HookIndex, Plan};
use crate::problem::Problem;
use crate::proof::HookProof;
use crate::report::{Ending, Phase, Residue, SessionReport, StepReport, ThingKind};
use crate::time::BootTime;

/// Tells requests apart; the driver gives each one a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the machine is told when it is made or reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The longest a window may last.
    pub lease: Duration,
    /// The time that a pre-script may take, from its arrival to its answer.
    pub budget: Duration,
    /// What becomes of a pre-script that finds a session open.
    pub on_conflict: OnConflict,
}

/// What becomes of a pre-script that finds another session open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// It is turned away with 204.
    Reject,
    /// The open session is released, then the new one runs.
    Replace,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client asks for a session.
    Pre {
        /// The request, to be answered once.
        request: RequestId,
        /// The id of the session.
        id: ExecutionId,
        /// The consistency group.
        group: String,
    },
    /// A client asks for the end of its session.
    Post {
        /// The request, to be answered once.
        request: RequestId,
        /// The id of the session.
        id: ExecutionId,
    },
    /// An operator asks for everything to be released, whoever opened it.
    ReleaseAll {
        /// The request, to be answered once.
        request: RequestId,
    },
    /// A client went away before it had its answer, whether or not one had been given.
    ClientGone {
        /// The request that needs no answer any more.
        request: RequestId,
    },
    /// The open session came a step further.
    Progress(Box<Progress>),
    /// Something listed as residue was released after all.
    ResidueCleared {
        /// Whether it was a hook or a filesystem.
        kind: ThingKind,
        /// Its name.
        name: String,
    },
    /// The agent is to stop.
    Stop,
    /// Time has passed.
    Tick,
}

impl From<Progress> for Event {
    fn from(progress: Progress) -> Self {
        Self::Progress(Box::new(progress))
    }
}

/// A step of the open session ended, or what it holds has changed.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Everything is ready: the guardian is armed, the journal written, nothing held.
    Prepared {
        /// What will be held.
        plan: Plan,
        /// When the guardian thaws by itself.
        lease_ends: BootTime,
    },
    /// Preparing failed or was cancelled; nothing is held.
    NotPrepared {
        /// `NotReady` or `HeldByOther` when preflight found something, otherwise `Failed`.
        ending: Ending,
        /// Everything that stood in the way.
        problems: Vec<Problem>,
    },
    /// A step that needs no decision, for the report.
    Noted(StepReport),
    /// Something that preflight found and that does not stand in the way, for the report.
    Warned(Problem),
    /// A hook's quiesce ended.
    Quiesced {
        /// The hook.
        hook: HookIndex,
        /// How it went.
        step: StepReport,
    },
    /// A filesystem's freeze ended.
    Frozen {
        /// The filesystem.
        filesystem: FilesystemIndex,
        /// How it went.
        step: StepReport,
        /// It failed because somebody else has frozen it.
        by_other: bool,
    },
    /// Nothing more will come of a filesystem in this session.
    Settled {
        /// The filesystem.
        filesystem: FilesystemIndex,
        /// How.
        end: FreezeEnd,
        /// How the thaw went; absent when none was needed.
        step: Option<StepReport>,
        /// How many sectors were written to its devices while everything was frozen; absent when nobody counted.
        sectors_written: Option<u64>,
    },
    /// A hook was asked whether it had held, and released.
    Released {
        /// The hook.
        hook: HookIndex,
        /// Whether it had held; absent when it was not asked for proof.
        verify: Option<Box<Verified>>,
        /// How the release went.
        resume: StepReport,
    },
    /// Something that was held is held no longer, or cannot be vouched for.
    HoldLost(Problem),
    /// The guardian's own timer fired.
    LeaseEnded,
}

/// What came of asking a hook whether it had held.
#[derive(Clone, Debug)]
pub struct Verified {
    /// How the question went.
    pub step: StepReport,
    /// What it brought.
    pub proof: HookProof,
}

/// How a session is done with a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeEnd {
    /// It was thawed by us.
    Thawed,
    /// It was never frozen by us.
    NeverFrozen,
    /// Somebody else had thawed it before.
    ThawedByOther,
    /// It could not be thawed, or the freeze is still under way: it may be frozen.
    Residue,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run preflight and the slow work; answer with `Prepared` or `NotPrepared`.
    Prepare {
        /// The id of the session.
        id: ExecutionId,
        /// The consistency group.
        group: String,
        /// When the budget of its pre-script is over.
        budget_ends: BootTime,
    },
    /// Give preparing up; answer with `NotPrepared`.
    CancelPrepare,
    /// Quiesce a hook; answer with `Quiesced`.
    Quiesce(HookIndex),
    /// Give up quiescing a hook; it still answers with `Quiesced`.
    CancelQuiesce(HookIndex),
    /// Freeze every filesystem; answer with `Frozen` for each that was begun.
    Freeze,
    /// Thaw every filesystem; answer with `Settled` for each.
    Thaw,
    /// Resume a hook; answer with `Released`.
    Release {
        /// The hook.
        hook: HookIndex,
        /// Ask it for proof before, but not for longer than this; absent when no proof is needed any more.
        verify_until: Option<BootTime>,
    },
    /// The session is over: let go of the guardian, settle the journal, record the report.
    Close(Box<SessionReport>),
    /// Answer a request.
    Answer {
        /// The request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// Leave: the agent was told to stop, and nothing is held.
    Exit,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the command exits with.
    pub code: ExitCode,
    /// The rule of the request table that decided.
    pub why: Why,
    /// The session that the answer is about.
    pub report: Option<Box<SessionReport>>,
}

/// Which rule of the request table decided an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Pre-script succeeded.
    #[error("everything is held")]
    Held,
    /// A repeated pre-script found its session held.
    #[error("the session is already held, and enough of its lease is left")]
    StillHeld,
    /// A repeated pre-script found too little left of its session's lease.
    #[error("the session is already held, and too little of its lease is left for another snapshot")]
    LeaseTooShort,
    /// A pre-script found a session open.
    #[error("{} is open", .0.session())]
    SessionOpen(ExecutionId),
    /// A pre-script came while the residue of an earlier session is still held.
    #[error("an earlier session could not release {0}")]
    ResidueLeft(String),
    /// A pre-script came while the agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
    /// The session ended, in the way that is told.
    #[error("the session ended because {}", .0.because())]
    Ended(Ending),
    /// A post-script came a second time.
    #[error("the session was already ended by its post-script")]
    AlreadyPosted(ExecutionId),
    /// A post-script came for a session whose hold had ended before.
    #[error("the hold of this session ended before post-script was called")]
    AlreadyThawed(ExecutionId),
    /// A post-script came for a session whose pre-script is not answered yet.
    #[error("the pre-script of this session has not been answered yet")]
    NotHeldYet,
    /// A post-script came for a session that never held anything.
    #[error("the pre-script of this session failed, so there is nothing to release")]
    NeverHeld(ExecutionId),
    /// A post-script came for a session that nobody knows.
    #[error("{} is not open{}", .id.session(), other(.open.as_ref()))]
    Unknown {
        /// The id that was asked for.
        id: ExecutionId,
        /// The session that is open instead.
        open: Option<ExecutionId>,
    },
    /// An operator asked for a release, and nothing was held.
    #[error("nothing was held")]
    NothingHeld,
}

fn other(open: Option<&ExecutionId>) -> String {
    open.map(|id| format!(", but {} is", id.session())).unwrap_or_default()
}

impl Why {
    /// The session that has ended and that the answer is about; its report tells how.
    pub const fn ended_session(&self) -> Option<&ExecutionId> {
        match self {
            Self::AlreadyPosted(id) | Self::AlreadyThawed(id) | Self::NeverHeld(id) => Some(id),
            _ => None,
        }
    }
}

/// What the machine is doing, for everybody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The open session's id, group and phase.
    pub session: Option<OpenSession>,
    /// What earlier sessions could not release.
    pub residue: Vec<Residue>,
    /// The agent was told to stop.
    pub stopping: bool,
}

/// The open session, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id.
    pub id: ExecutionId,
    /// Its group.
    pub group: String,
    /// Where it stands.
    pub phase: Phase,
    /// When its lease ends; absent while it prepares.
    pub lease_ends: Option<BootTime>,
    /// Everything known of it so far.
    pub report: Box<SessionReport>,
}
