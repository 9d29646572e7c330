//! The way from the lifecycle manager to the host, and what may happen on it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::document::Document;
use super::policy::{Deliver, Edge};
use super::ssm::{Invocation, Ssm};

/// What goes wrong on the way. SSM promises neither order nor a single delivery.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Pre-scripts reach the host so much later; the lifecycle manager's clock runs meanwhile.
    pub pre_delay: Duration,
    /// Post-scripts reach the host so much later.
    pub post_delay: Duration,
    /// Each script is delivered a second time, so long after the first.
    pub duplicate: Option<Duration>,
}

/// A result that nobody waited for.
type Unseen = (Edge, Invocation);

/// Delivers through a simulated SSM agent.
#[derive(Debug)]
pub struct SsmDelivery {
    ssm: Arc<Ssm>,
    document: Document,
    faults: Faults,
    late: Sender<Unseen>,
    unseen: Receiver<Unseen>,
}

impl SsmDelivery {
    /// A way without faults.
    pub fn new(ssm: Ssm, document: Document) -> Self {
        let (late, unseen) = mpsc::channel();
        Self { ssm: Arc::new(ssm), document, faults: Faults::default(), late, unseen }
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The next result that the lifecycle manager never saw: of a duplicate, or of a script it walked away from.
    pub fn unseen(&self, limit: Duration) -> Option<Unseen> {
        self.unseen.recv_timeout(limit).ok()
    }

    /// Runs one delivery in a thread of its own.
    fn send(&self, edge: Edge, id: &str, delay: Duration) -> Receiver<Invocation> {
        let (reply, result) = mpsc::channel();
        let (ssm, document, id) = (Arc::clone(&self.ssm), self.document.clone(), id.to_owned());
        let late = self.late.clone();
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            let parameters = [("command", edge.command()), ("executionId", &id)];
            match ssm.run(&document, &parameters) {
                // Whoever sent it has gone when the channel is closed: then it is one of the unseen.
                Ok(invocation) => {
                    if let Err(mpsc::SendError(invocation)) = reply.send(invocation) {
                        let _ = late.send((edge, invocation));
                    }
                }
                Err(error) => eprintln!("error: {} was not delivered: {error}", edge.command()),
            }
        });
        result
    }
}

impl Deliver for SsmDelivery {
    fn deliver(&mut self, edge: Edge, execution_id: &str, limit: Duration) -> Option<Invocation> {
        let begun = Instant::now();
        let delay = match edge {
            Edge::Pre => self.faults.pre_delay,
            Edge::Post => self.faults.post_delay,
        };
        let result = self.send(edge, execution_id, delay);
        if let Some(after) = self.faults.duplicate {
            drop(self.send(edge, execution_id, delay + after));
        }
        result.recv_timeout(limit.saturating_sub(begun.elapsed())).ok()
    }
}
