//! The guardian's event loop: what it is told, the lease, and the order of ranks.
//!
//! It allocates nothing, opens nothing and writes only to its socket. Every way out is the same way: command, lease
//! and end of file all lead to [`Watch::release`].

use std::os::fd::{AsFd, AsRawFd};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::timerfd::TimerFd;

use quiesced_core::time::BootTime;

use super::wire::{Command, LENGTH, Report};
use super::worker::{Line, Order, Stage, Worker};
use crate::clock;

/// How long the thaw of one rank may hold up the next. Thawing takes well under a millisecond; one that takes
/// longer is itself waiting for something, perhaps for a filesystem of the next rank.
const GRACE: Duration = Duration::from_millis(500);

/// Every target, its thread, and how far the whole has come.
#[derive(Debug)]
pub(super) struct Watch {
    line: std::sync::Arc<Line>,
    timer: TimerFd,
    workers: Vec<(std::sync::Arc<Worker>, JoinHandle<()>)>,
    last_rank: u16,
    freezing: bool,
    /// The rank that is being thawed, and when the next one begins whatever happens.
    thawing: Option<(u16, BootTime)>,
    agent_gone: bool,
}

impl Watch {
    pub(super) fn new(
        line: std::sync::Arc<Line>,
        timer: TimerFd,
        workers: Vec<(std::sync::Arc<Worker>, JoinHandle<()>)>,
    ) -> Self {
        let last_rank = workers.iter().map(|(worker, _)| worker.rank()).max().unwrap_or_default();
        Self { line, timer, workers, last_rank, freezing: false, thawing: None, agent_gone: false }
    }

    /// Watches until the agent is gone and every target is done with.
    pub(super) fn run(mut self) {
        while !(self.agent_gone && self.is_done()) {
            self.wait();
            self.advance();
        }
        for (_, thread) in self.workers {
            // A worker has no way to panic; if it had one, there would be nothing left to do.
            drop(thread.join());
        }
    }

    fn is_done(&self) -> bool {
        self.workers.iter().all(|(worker, _)| worker.stage() == Stage::Done)
    }

    /// Sleeps until something happens, and takes note of it.
    fn wait(&mut self) {
        let (agent, timer, progress) = {
            let interest = PollFlags::POLLIN;
            let mut fds = [
                PollFd::new(self.line.progress().as_fd(), interest),
                PollFd::new(self.timer.as_fd(), interest),
                PollFd::new(self.line.socket().as_fd(), interest),
            ];
            // After the end of file the socket would be ready for ever.
            let watched = if self.agent_gone { &mut fds[..2] } else { &mut fds[..] };
            let _interrupted = poll(watched, self.timeout());
            let ready = |at: usize| fds[at].revents().is_some_and(|events| !events.is_empty());
            (ready(2), ready(1), ready(0))
        };
        if progress {
            let _count = self.line.progress().read();
        }
        if timer {
            let _ticks = self.timer.unset();
            self.line.report(Report::LeaseEnded);
            self.release();
        }
        if agent && !self.agent_gone {
            self.obey();
        }
    }

    fn timeout(&self) -> PollTimeout {
        // After the last rank there is no next one to begin.
        let next = self.thawing.filter(|(rank, _)| *rank > 0).map(|(_, next)| next);
        let left = next.map(|next| next.since(clock::now()).as_millis() + 1);
        left.and_then(|millis| u16::try_from(millis).ok()).map_or(PollTimeout::NONE, PollTimeout::from)
    }

    /// Reads one command. End of file, and anything that is no command, mean that the agent cannot be relied on.
    fn obey(&mut self) {
        let mut bytes = [0; LENGTH];
        let read = recv(self.line.socket().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT);
        match read.map(|length| Command::decode(&bytes[..length])) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Ok(Some(Command::Freeze)) if self.thawing.is_some() => {}
            Ok(Some(Command::Freeze)) => {
                self.freezing = true;
                self.order(Order::Sync, |_| true);
            }
            Ok(Some(Command::Thaw)) => self.release(),
            Ok(_) | Err(_) => {
                self.agent_gone = true;
                self.release();
            }
        }
    }

    /// Begins the way back. Once begun it is never begun again.
    fn release(&mut self) {
        self.freezing = false;
        if self.thawing.is_none() {
            self.order(Order::Halt, |_| true);
            self.thaw_rank(self.last_rank);
        }
    }

    fn thaw_rank(&mut self, rank: u16) {
        self.thawing = Some((rank, clock::now() + GRACE));
        self.order(Order::Thaw, |worker| worker.rank() == rank);
    }

    /// Goes to the next rank, forth or back, as soon as the present one allows.
    fn advance(&mut self) {
        if self.freezing {
            self.freeze_on();
        }
        while let Some((rank, next)) = self.thawing {
            let waiting =
                self.any(rank, |stage| !matches!(stage, Stage::Done | Stage::Freezing | Stage::Syncing));
            if rank == 0 {
                break;
            }
            if waiting && clock::now() < next {
                return;
            }
            self.thaw_rank(rank - 1);
        }
    }

    /// Freezes rank after rank, when everything is synced. After the first failure nothing more is begun: the agent
    /// decides what becomes of it.
    fn freeze_on(&mut self) {
        let synced = |stage| !matches!(stage, Stage::Ready | Stage::Syncing);
        if !self.workers.iter().all(|(worker, _)| synced(worker.stage())) {
            return;
        }
        for rank in 0..=self.last_rank {
            if self.any(rank, |stage| stage == Stage::NotHeld) {
                self.freezing = false;
                return;
            }
        }
        for rank in 0..=self.last_rank {
            self.order(Order::Freeze, |worker| worker.rank() == rank);
            if self.any(rank, |stage| stage != Stage::Frozen) {
                return;
            }
        }
        self.freezing = false;
    }

    fn any(&self, rank: u16, is: impl Fn(Stage) -> bool) -> bool {
        self.workers.iter().any(|(worker, _)| worker.rank() == rank && is(worker.stage()))
    }

    fn order(&self, order: Order, to: impl Fn(&Worker) -> bool) {
        for (worker, thread) in self.workers.iter().filter(|(worker, _)| to(worker)) {
            worker.order(order);
            thread.thread().unpark();
        }
    }
}
