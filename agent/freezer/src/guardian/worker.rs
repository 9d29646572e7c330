//! One target and the thread that freezes and thaws it.
//!
//! ```text
//!                          Sync            Freeze            Thaw
//!  Starting ─▶ Ready ──▶ Syncing ─▶ Synced ─▶ Freezing ─▶ Frozen ─▶ Thawing ─▶ Done
//!                │          └─▶ NotHeld  │       └─▶ NotHeld                     ▲
//!                └──────────────┴────────┴──────────────┴── Halt ────────────────┘ (never frozen: nothing to undo)
//! ```
//!
//! Orders only ever grow (`Sync < Freeze < Halt < Thaw`), so a freeze that is ordered after the way back has begun is no
//! order at all. A thread inside FIFREEZE sees the order to thaw when the ioctl returns, however late that is, and thaws
//! at once.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use nix::sys::socket::{MsgFlags, send};

use quiesced_core::time::BootTime;

use super::wire::{FreezeFailure, Report, ThawEnd, Took};
use crate::clock;
use crate::target::Filesystem;

/// What a worker is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Order {
    Wait,
    Sync,
    Freeze,
    /// Begin nothing more: the way back has begun, rank by rank.
    Halt,
    Thaw,
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Starting,
    Ready,
    Syncing,
    Synced,
    Freezing,
    Frozen,
    NotHeld,
    Thawing,
    Done,
}

const STAGES: [Stage; 9] = [
    Stage::Starting,
    Stage::Ready,
    Stage::Syncing,
    Stage::Synced,
    Stage::Freezing,
    Stage::Frozen,
    Stage::NotHeld,
    Stage::Thawing,
    Stage::Done,
];

/// Where workers report to: the agent for what happened, the event loop for that something happened.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    progress: EventFd,
}

impl Line {
    pub(super) const fn new(socket: OwnedFd, progress: EventFd) -> Self {
        Self { socket, progress }
    }

    pub(super) const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) const fn progress(&self) -> &EventFd {
        &self.progress
    }

    /// Reports without ever waiting: an agent that does not read must not keep anything frozen. What does not fit
    /// into the socket is lost, and the agent counts what it never heard of as held.
    pub(super) fn report(&self, report: Report) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let _lost = send(self.socket.as_raw_fd(), &report.encode(), flags);
    }

    /// Wakes the event loop. The counter cannot overflow: it is read at every turn.
    fn progressed(&self) {
        let _written = self.progress.write(1);
    }
}

/// One target, as the event loop and the target's own thread see it.
#[derive(Debug)]
pub(super) struct Worker {
    target: u16,
    rank: u16,
    filesystem: Arc<dyn Filesystem>,
    order: AtomicU8,
    stage: AtomicU8,
    line: Arc<Line>,
}

impl Worker {
    pub(super) fn new(target: u16, rank: u16, filesystem: Arc<dyn Filesystem>, line: Arc<Line>) -> Self {
        let (order, stage) = (AtomicU8::new(Order::Wait as u8), AtomicU8::new(Stage::Starting as u8));
        Self { target, rank, filesystem, order, stage, line }
    }

    pub(super) const fn rank(&self) -> u16 {
        self.rank
    }

    pub(super) fn stage(&self) -> Stage {
        STAGES[usize::from(self.stage.load(Ordering::SeqCst)).min(STAGES.len() - 1)]
    }

    /// Gives an order; one that is not greater than the last changes nothing. The caller then unparks the thread.
    pub(super) fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::SeqCst);
    }

    /// The thread's whole life.
    pub(super) fn work(&self) {
        self.enter(Stage::Ready);
        while self.stage() != Stage::Done {
            let order = self.order.load(Ordering::SeqCst);
            match self.stage() {
                Stage::Ready if order == Order::Sync as u8 || order == Order::Freeze as u8 => self.sync(),
                Stage::Synced if order == Order::Freeze as u8 => self.freeze(),
                Stage::Frozen if order == Order::Thaw as u8 => self.thaw(),
                Stage::Ready | Stage::Synced | Stage::NotHeld if order >= Order::Halt as u8 => {
                    self.never_frozen();
                }
                _ => thread::park(),
            }
        }
    }

    fn sync(&self) {
        self.enter(Stage::Syncing);
        let began = clock::now();
        let result = self.filesystem.sync();
        self.line.report(Report::Synced(self.took(began), result));
        self.arrive(if result.is_ok() { Stage::Synced } else { Stage::NotHeld });
    }

    /// The last look at what the descriptor leads to is here, with nothing between it and FIFREEZE.
    fn freeze(&self) {
        self.enter(Stage::Freezing);
        let began = clock::now();
        let result = if self.filesystem.is_unchanged() {
            self.filesystem.freeze().map_err(|errno| match errno {
                Errno::EBUSY => FreezeFailure::HeldByOther,
                errno => FreezeFailure::Refused(errno),
            })
        } else {
            Err(FreezeFailure::Changed)
        };
        // The stage comes first: whoever hears of the freeze must find it recorded.
        self.enter(if result.is_ok() { Stage::Frozen } else { Stage::NotHeld });
        self.line.report(Report::Frozen(self.took(began), result));
        self.line.progressed();
    }

    fn thaw(&self) {
        self.enter(Stage::Thawing);
        let began = clock::now();
        let end = match self.filesystem.thaw() {
            Ok(()) => ThawEnd::Thawed,
            Err(Errno::EINVAL) => ThawEnd::ThawedByOther,
            Err(errno) => ThawEnd::Failed(errno),
        };
        self.line.report(Report::Thawed(self.took(began), end));
        self.arrive(Stage::Done);
    }

    fn never_frozen(&self) {
        self.line.report(Report::Thawed(self.took(clock::now()), ThawEnd::NeverFrozen));
        self.arrive(Stage::Done);
    }

    fn took(&self, began: BootTime) -> Took {
        Took { target: self.target, began, ended: clock::now() }
    }

    fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }

    fn arrive(&self, stage: Stage) {
        self.enter(stage);
        self.line.progressed();
    }
}
