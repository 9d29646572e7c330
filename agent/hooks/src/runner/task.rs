//! The task of one hook.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use quiesced_core::plan::HookIndex;
use quiesced_core::time::BootTime;
use tokio::sync::{mpsc, oneshot};

use super::{NamedHook, Outcome, Prepared, Released, SessionContext, StepDone, Timed, Vouched};
use crate::clock;
use crate::error::HookError;
use crate::hook::StepContext;

/// A hook that takes longer to let go of what it had opened is told of.
const CLOSE_USUALLY: Duration = Duration::from_secs(2);

/// What a task is asked to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Inspect,
    Prepare,
    Quiesce,
    Release { verify_until: Option<BootTime> },
}

/// One step to be taken.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) work: Work,
    pub(super) deadline: Option<BootTime>,
    pub(super) session: Arc<SessionContext>,
    pub(super) cancelled: oneshot::Receiver<()>,
}

pub(super) struct Task {
    index: HookIndex,
    hook: NamedHook,
    quiesced: bool,
    report: mpsc::UnboundedSender<StepDone>,
}

impl Task {
    pub(super) fn new(index: HookIndex, hook: NamedHook, report: mpsc::UnboundedSender<StepDone>) -> Self {
        Self { index, hook, quiesced: false, report }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            let outcome = self.take(order).await;
            if self.report.send(StepDone { hook: self.index, outcome }).is_err() {
                break;
            }
        }
        let NamedHook { name, hook, .. } = &mut self.hook;
        let mut close = pin!(guarded(hook.close()));
        let closed = match tokio::time::timeout(CLOSE_USUALLY, close.as_mut()).await {
            Ok(closed) => closed,
            Err(_) => {
                tracing::warn!(hook = %name, "the hook takes long to let go of what it had opened");
                close.await
            }
        };
        if let Err(panic) = closed {
            let message = panic_message(panic.as_ref());
            tracing::error!(hook = %name, message, "the hook panicked while it let go of what it had opened");
        }
    }

    async fn take(&mut self, order: Order) -> Outcome {
        let Order { work, deadline, session, cancelled } = order;
        let step = self.context(&session, deadline);
        let hook = &mut self.hook.hook;
        match work {
            Work::Inspect => {
                let inspect = async { hook.inspect(&step).await };
                Outcome::Inspected(attempt("inspect", &step, Some(cancelled), inspect).await)
            }
            Work::Prepare => {
                let prepare = async {
                    hook.prepare(&step).await?;
                    Ok(Prepared { undo: hook.undo(&step), positions: hook.positions() })
                };
                Outcome::Prepared(attempt("prepare", &step, Some(cancelled), prepare).await)
            }
            Work::Quiesce => {
                let quiesce = async { hook.quiesce(&step).await };
                let done = attempt("quiesce", &step, Some(cancelled), quiesce).await;
                self.quiesced = done.result.is_ok();
                Outcome::Quiesced(done)
            }
            Work::Release { verify_until } => Outcome::Released(self.release(&session, verify_until).await),
        }
    }

    async fn release(&mut self, session: &SessionContext, verify_until: Option<BootTime>) -> Released {
        let mut verify = None;
        if std::mem::take(&mut self.quiesced) && verify_until.is_some() {
            let step = self.context(session, verify_until);
            let hook = &mut self.hook.hook;
            // Asked before the proof, which may let go of what knows them.
            let positions = catch_unwind(AssertUnwindSafe(|| hook.positions())).unwrap_or_default();
            let proof = attempt("verify", &step, None, async { hook.verify(&step).await }).await;
            verify = Some(Vouched { proof, positions });
        }
        let step = self.context(session, None);
        let hook = &mut self.hook.hook;
        let resume = attempt("resume", &step, None, async { hook.resume(&step).await }).await;
        Released { verify, resume }
    }

    fn context(&self, session: &SessionContext, deadline: Option<BootTime>) -> StepContext {
        let own = clock::now() + self.hook.timeout;
        StepContext {
            hook: self.hook.name.clone(),
            execution_id: session.execution_id.clone(),
            volumes: session.volumes.clone(),
            runtime_dir: session.runtime_dir.clone(),
            records_dir: session.records_dir.clone(),
            lease: session.lease,
            deadline: deadline.map_or(own, |given| given.min(own)),
        }
    }
}

/// Takes a step until it ends, its time is over, it is cancelled or it panics.
async fn attempt<T>(
    verb: &'static str,
    step: &StepContext,
    cancelled: Option<oneshot::Receiver<()>>,
    work: impl Future<Output = Result<T, HookError>>,
) -> Timed<T> {
    let began = clock::now();
    let limit = step.remaining();
    let hook = || step.hook.clone();
    let result = tokio::select! {
        // A step that has ended counts, even when its time is over by now.
        biased;
        ended = guarded(work) => ended.unwrap_or_else(|panic| {
            Err(HookError::Panicked { hook: hook(), step: verb, message: panic_message(panic.as_ref()) })
        }),
        () = called_off(cancelled) => Err(HookError::Cancelled { hook: hook(), step: verb }),
        () = tokio::time::sleep(limit) => Err(HookError::TimedOut { hook: hook(), step: verb, after: limit }),
    };
    Timed { began, ended: clock::now(), result }
}

/// Ends when the step is called off; never, when it cannot be.
async fn called_off(cancelled: Option<oneshot::Receiver<()>>) {
    let called_off = match cancelled {
        Some(cancelled) => cancelled.await.is_ok(),
        None => false,
    };
    if !called_off {
        std::future::pending::<()>().await;
    }
}

/// Catches the panics of a future.
async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    // A hook whose step panicked is only asked to resume, which has to cope with any state by the trait's contract.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
