//! How everybody else reaches the driver: questions go in, published copies come out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use quiesced_core::id::ExecutionId;
use quiesced_core::problem::Problem;
use quiesced_core::report::SessionReport;
use quiesced_core::session::{Answer, Event, RequestId, Status};
use quiesced_freezer::clock;

use super::survey::Surveyor;
use crate::api::wire::{ConfigStatus, Reply, StatusReply};
use crate::metrics::Metrics;

/// What a client asks of the driver.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Open a session.
    Pre {
        /// Its id.
        id: ExecutionId,
        /// Its consistency group.
        group: String,
    },
    /// End a session.
    Post {
        /// Its id.
        id: ExecutionId,
    },
    /// Release everything.
    ReleaseAll,
}

/// The copies that the driver publishes.
#[derive(Clone, Debug)]
pub struct Published {
    /// What the machine is doing.
    pub status: Status,
    /// The reports of earlier sessions, oldest first.
    pub sessions: Arc<Vec<SessionReport>>,
    /// Why the configuration could not be read again, if it could not.
    pub refused: Vec<Problem>,
}

type Waiting = Arc<Mutex<HashMap<RequestId, oneshot::Sender<Answer>>>>;

/// The door to the driver.
#[derive(Debug)]
pub struct Mailbox {
    events: mpsc::UnboundedSender<Event>,
    published: watch::Receiver<Published>,
    waiting: Waiting,
    next: AtomicU64,
    surveyor: watch::Receiver<Arc<Surveyor>>,
    metrics: Metrics,
}

impl Mailbox {
    /// A door to the driver that reads `events`.
    pub fn new(
        events: mpsc::UnboundedSender<Event>,
        published: watch::Receiver<Published>,
        surveyor: watch::Receiver<Arc<Surveyor>>,
        metrics: Metrics,
    ) -> Self {
        Self { events, published, waiting: Waiting::default(), next: AtomicU64::new(1), surveyor, metrics }
    }

    /// Asks the driver and waits for its answer; none when the driver has ended. Dropping the future before the
    /// answer tells the driver that the client has gone.
    pub async fn ask(&self, ask: Ask) -> Option<Answer> {
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(request, sender);
        let gone = Gone { request, mailbox: self, answered: false };
        let event = match ask {
            Ask::Pre { id, group } => Event::Pre { request, id, group },
            Ask::Post { id } => Event::Post { request, id },
            Ask::ReleaseAll => Event::ReleaseAll { request },
        };
        self.events.send(event).ok()?;
        let answer = answer.await.ok();
        gone.answered();
        answer
    }

    /// Hands an answer to the client that waits for it, if it still does.
    pub fn answer(&self, request: RequestId, answer: Answer) {
        if let Some(sender) = self.waiting().remove(&request) {
            // The client may go away between the two lines; then nobody needs the answer.
            drop(sender.send(answer));
        }
    }

    /// What the agent is doing.
    pub fn status(&self) -> StatusReply {
        let published = self.published.borrow().clone();
        let last = published.sessions.last().cloned().map(Box::new);
        let config = ConfigStatus { stamp: self.surveyor.borrow().stamp.clone(), refused: published.refused };
        StatusReply::new(published.status, last, config, clock::now())
    }

    /// The text of all figures.
    pub fn metrics(&self) -> String {
        self.metrics.text(&self.published.borrow(), clock::now())
    }

    /// What is wrong with a group that no session can be opened for.
    pub fn unknown_group(&self, group: &str) -> Option<Problem> {
        self.surveyor.borrow().group(group).err()
    }

    /// The reports of earlier sessions, oldest first.
    pub fn sessions(&self) -> Arc<Vec<SessionReport>> {
        Arc::clone(&self.published.borrow().sessions)
    }

    /// Preflight and plan for a group, without touching anything and without the driver.
    pub async fn dry_run(&self, group: &str) -> Reply {
        let surveyor = Arc::clone(&self.surveyor.borrow());
        let open = self.published.borrow().status.session.as_ref().map(|open| open.id.clone());
        if open.is_none() {
            crate::parameters::forget();
        }
        surveyor.dry_run(group, open.as_ref()).await
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the driver when a client goes away unanswered.
struct Gone<'a> {
    request: RequestId,
    mailbox: &'a Mailbox,
    answered: bool,
}

impl Gone<'_> {
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.mailbox.waiting().remove(&self.request);
        if !self.answered {
            // A driver that has ended holds nothing for this client.
            drop(self.mailbox.events.send(Event::ClientGone { request: self.request }));
        }
    }
}
