//! Drives the hooks of one session, each in a task of its own.
//!
//! The caller says which step of which hook is to be taken, and when; the runner answers each with one [`StepDone`].
//! Hooks run beside each other; the steps of one hook run one after the other.
//!
//! ```text
//! inspect, prepare, quiesce ──┬─ done ─────────────▶ Ok or Err
//!                             ├─ time is over ─────▶ TimedOut   ┐ the step is dropped where it waits;
//!                             ├─ cancel ───────────▶ Cancelled  ├ the hook can still be released
//!                             └─ panic ────────────▶ Panicked   ┘
//! release ─▶ verify (only when quiesce succeeded and proof is asked for) ─▶ resume (always)
//! ```

mod task;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quiesced_core::id::ExecutionId;
use quiesced_core::plan::HookIndex;
use quiesced_core::proof::Positions;
use quiesced_core::time::BootTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::error::HookError;
use crate::hook::{Hook, Inspection, Proof};
use crate::undo::Undo;
use task::{Order, Task, Work};

/// A hook with what the configuration says of it.
#[expect(missing_debug_implementations, reason = "a hook is whatever implements the trait")]
pub struct NamedHook {
    /// The name that the hook has in the configuration.
    pub name: String,
    /// The hook.
    pub hook: Box<dyn Hook>,
    /// How long each of its steps may take.
    pub timeout: Duration,
}

/// What all hooks of a session are told.
#[derive(Clone, Debug)]
pub struct SessionContext {
    /// The session's id.
    pub execution_id: ExecutionId,
    /// The volumes that the session covers; empty while they are not known.
    pub volumes: Vec<String>,
    /// Where the agent keeps what must outlive it, but not the boot; on tmpfs.
    pub runtime_dir: PathBuf,
    /// Where what a restore needs is kept; it outlives the boot, and may be written to only after the thaw.
    pub records_dir: PathBuf,
    /// The longest that the window may last.
    pub lease: Duration,
}

/// A step that was asked for has ended.
#[derive(Debug)]
pub struct StepDone {
    /// The hook, by its position among those that the runner was made with.
    pub hook: HookIndex,
    /// The step, and how it ended.
    pub outcome: Outcome,
}

/// A step, and how it ended.
#[derive(Debug)]
pub enum Outcome {
    /// What the hook found out.
    Inspected(Timed<Inspection>),
    /// What is known before the hook is quiesced.
    Prepared(Timed<Prepared>),
    /// Whether the application is held; on any error it counts as held, and must be released.
    Quiesced(Timed<()>),
    /// Whether it had been held, and whether it goes on.
    Released(Released),
}

/// What a hook that is prepared brings.
#[derive(Debug, Default)]
pub struct Prepared {
    /// What must be journaled before it is quiesced.
    pub undo: Option<Undo>,
    /// About where its application will be held.
    pub positions: Positions,
}

/// What a hook says of its hold.
#[derive(Debug)]
pub struct Vouched {
    /// Whether the application was held all along.
    pub proof: Timed<Proof>,
    /// Where it stood.
    pub positions: Positions,
}

/// How a release ended.
#[derive(Debug)]
pub struct Released {
    /// Whether the application was held all along; absent when it was never fully quiesced, or not asked.
    pub verify: Option<Vouched>,
    /// Whether it goes on.
    pub resume: Timed<()>,
}

/// A result, and when its step began and ended.
#[derive(Debug)]
pub struct Timed<T> {
    /// When the step began.
    pub began: BootTime,
    /// When it ended.
    pub ended: BootTime,
    /// How it ended.
    pub result: Result<T, HookError>,
}

/// The hooks of one session. To drop it abandons every step; [`Runner::close`] is the polite way.
#[derive(Debug)]
pub struct Runner {
    session: Arc<SessionContext>,
    hooks: Vec<Handle>,
    done: mpsc::UnboundedReceiver<StepDone>,
    tasks: JoinSet<()>,
}

/// The runner's end of a hook's task.
#[derive(Debug)]
struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    cancel: Option<oneshot::Sender<()>>,
}

impl Runner {
    /// Gives each hook a task. The position of a hook in `hooks` is its index from now on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(session: SessionContext, hooks: Vec<NamedHook>) -> Self {
        let (report, done) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let start = |(index, hook): (HookIndex, NamedHook)| {
            let (orders, received) = mpsc::unbounded_channel();
            tasks.spawn(Task::new(index, hook, report.clone()).run(received).in_current_span());
            Handle { orders, cancel: None }
        };
        let hooks = hooks.into_iter().enumerate().map(start).collect();
        Self { session: Arc::new(session), hooks, done, tasks }
    }

    /// Sets the volumes that steps ordered from now on are told.
    pub fn set_volumes(&mut self, volumes: Vec<String>) {
        self.session = Arc::new(SessionContext { volumes, ..(*self.session).clone() });
    }

    /// Asks a hook where its data lies; the step is given up at `deadline`, or after the hook's timeout.
    ///
    /// # Panics
    /// When there is no such hook, as in every method that takes an index.
    pub fn inspect(&mut self, hook: HookIndex, deadline: BootTime) {
        self.order(hook, Work::Inspect, Some(deadline));
    }

    /// Lets a hook do its slow work; given up as `inspect` is.
    pub fn prepare(&mut self, hook: HookIndex, deadline: BootTime) {
        self.order(hook, Work::Prepare, Some(deadline));
    }

    /// Lets a hook hold its application; given up as `inspect` is.
    pub fn quiesce(&mut self, hook: HookIndex, deadline: BootTime) {
        self.order(hook, Work::Quiesce, Some(deadline));
    }

    /// Lets a hook verify its hold, if proof is asked for, and resume. Both have the hook's timeout, but the proof ends
    /// at `verify_until` at the latest. Neither can be cancelled.
    pub fn release(&mut self, hook: HookIndex, verify_until: Option<BootTime>) {
        self.order(hook, Work::Release { verify_until }, None);
    }

    /// Gives up the step that was last ordered of a hook, unless it has ended or is a release. It still answers.
    pub fn cancel(&mut self, hook: HookIndex) {
        // Without a receiver the step has ended, which is what was wanted.
        self.hooks[hook].cancel.take().map(|cancel| cancel.send(()));
    }

    /// Waits for the next step to end. To drop the future loses nothing.
    pub async fn next(&mut self) -> StepDone {
        match self.done.recv().await {
            Some(done) => done,
            // Every task has ended, so nothing was ordered that could still answer.
            None => std::future::pending().await,
        }
    }

    /// Cancels what still runs, lets every hook go of what it had opened, and waits until all have, however long.
    pub async fn close(mut self) {
        for handle in self.hooks.drain(..) {
            handle.cancel.map(|cancel| cancel.send(()));
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a hook was lost");
            }
        }
    }

    fn order(&mut self, hook: HookIndex, work: Work, deadline: Option<BootTime>) {
        let (cancel, cancelled) = oneshot::channel();
        let order = Order { work, deadline, session: Arc::clone(&self.session), cancelled };
        let handle = &mut self.hooks[hook];
        handle.cancel = Some(cancel);
        if handle.orders.send(order).is_err() {
            tracing::error!(hook, "the task of a hook was lost");
        }
    }
}

#[cfg(test)]
mod tests;
