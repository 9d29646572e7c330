//! The lifecycle manager's decisions about one schedule and one instance.
//!
//! ```text
//!            ┌───────────── retries left ─────────────┐
//!            ▼                                        │
//! ──▶ pre-script ──failed, or silent past its time────┤
//!            │                                        └─ none left ─▶ fallback? ─▶ snapshot without post, or skip
//!            │ succeeded
//!            ▼
//!        snapshot ──▶ post-script ──failed──▶ post-script again, alone, while retries are left
//! ```
//!
//! Nobody calls post-script after a pre-script that failed, and nobody cancels a script that is late: the managed
//! policy does not allow `ssm:CancelCommand`.

use std::time::Duration;

use super::ssm::Invocation;

/// Which half of the document is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Edge {
    /// `command=pre-script`.
    Pre,
    /// `command=post-script`.
    Post,
}

impl Edge {
    /// The value of the document's parameter `command`.
    pub fn command(self) -> &'static str {
        match self {
            Self::Pre => "pre-script",
            Self::Post => "post-script",
        }
    }
}

/// Which halves a policy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    /// Pre-script alone.
    Pre,
    /// Post-script alone.
    Post,
    /// Both.
    Both,
}

/// Whether a retry carries the execution id of the first try: AWS documents neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryId {
    /// The same id.
    Same,
    /// A fresh id for every run of the whole process.
    Fresh,
}

/// The script settings of a policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long a script may take, delivery and reporting included: 10 to 120 s.
    pub execution_timeout: Duration,
    /// How often a failure is tried again: 0 to 3.
    pub maximum_retry_count: u32,
    /// Whether a crash-consistent snapshot is made when pre-script failed for good.
    pub execute_operation_on_script_failure: bool,
    /// Which scripts are run.
    pub stages: Stages,
    /// Which id a retry carries.
    pub retry_id: RetryId,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            execution_timeout: Duration::from_secs(10),
            maximum_retry_count: 0,
            execute_operation_on_script_failure: true,
            stages: Stages::Both,
            retry_id: RetryId::Same,
        }
    }
}

/// What became of one delivery of a script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Which half.
    pub edge: Edge,
    /// The execution id it carried.
    pub execution_id: String,
    /// What the SSM agent reported; nothing when it was still running when its time was over.
    pub invocation: Option<Invocation>,
}

impl Script {
    /// Whether the lifecycle manager counts it as done.
    pub fn succeeded(&self) -> bool {
        self.invocation.as_ref().is_some_and(Invocation::succeeded)
    }
}

/// What `aws:dlm:pre-script` and `aws:dlm:post-script` are set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// `SUCCESS`.
    Success,
    /// `FAILED`.
    Failed,
}

/// The metrics that the lifecycle manager publishes, in the order of what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// `PreScriptStarted` or `PostScriptStarted`.
    Started(Edge),
    /// `PreScriptCompleted` or `PostScriptCompleted`.
    Completed(Edge),
    /// `PreScriptFailed` or `PostScriptFailed`.
    Failed(Edge),
    /// The snapshots were initiated.
    SnapshotTaken,
    /// The snapshots could not be initiated.
    SnapshotFailed,
    /// The instance was skipped.
    Skipped,
}

/// How one scheduled run went.
#[derive(Debug)]
pub struct Cycle<S> {
    /// Every pre-script that was sent.
    pub pre: Vec<Script>,
    /// Every post-script that was sent.
    pub post: Vec<Script>,
    /// The snapshots, when they were initiated.
    pub snapshot: Option<S>,
    /// Whether the snapshots were made without a successful pre-script.
    pub crash_consistent_fallback: bool,
    /// The tag about pre-script, when one was run.
    pub pre_tag: Option<Tag>,
    /// The tag about post-script, when one was run.
    pub post_tag: Option<Tag>,
    /// What was published.
    pub events: Vec<Event>,
}

/// Brings a script to the instance.
pub trait Deliver {
    /// Runs the document and waits at most `limit` for its result. `None` means that it still runs, and goes on.
    fn deliver(&mut self, edge: Edge, execution_id: &str, limit: Duration) -> Option<Invocation>;
}

/// Runs one scheduled creation: scripts through `deliver`, snapshots through `snapshot`.
pub fn run_cycle<S, E: std::fmt::Display>(
    policy: &Policy,
    deliver: &mut dyn Deliver,
    mut snapshot: impl FnMut() -> Result<S, E>,
) -> Cycle<S> {
    let mut run = Run { policy, deliver, cycle: Cycle::default(), ids: 0 };
    let mut id = run.fresh_id();
    for retries_left in (0..=policy.maximum_retry_count).rev() {
        if run.pre(&id) {
            run.initiate(&mut snapshot);
            run.post(&id);
            if run.cycle.snapshot.is_some() || retries_left == 0 {
                return run.cycle;
            }
        }
        if policy.retry_id == RetryId::Fresh {
            id = run.fresh_id();
        }
    }
    run.fall_back(&mut snapshot);
    run.cycle
}

struct Run<'a, S> {
    policy: &'a Policy,
    deliver: &'a mut dyn Deliver,
    cycle: Cycle<S>,
    ids: u32,
}

impl<S> Run<'_, S> {
    /// The counter makes ids of one cycle differ; the pid makes those of two processes differ.
    fn fresh_id(&mut self) -> String {
        static CYCLES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let cycle = CYCLES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.ids += 1;
        format!("{:08x}-0000-4000-8000-{cycle:08x}{:04x}", std::process::id(), self.ids)
    }

    fn pre(&mut self, id: &str) -> bool {
        if self.policy.stages == Stages::Post {
            return true;
        }
        let script = self.send(Edge::Pre, id);
        let succeeded = script.succeeded();
        self.cycle.pre.push(script);
        self.cycle.pre_tag = Some(tag(succeeded));
        succeeded
    }

    fn post(&mut self, id: &str) {
        if self.policy.stages == Stages::Pre {
            return;
        }
        for _ in 0..=self.policy.maximum_retry_count {
            let script = self.send(Edge::Post, id);
            let succeeded = script.succeeded();
            self.cycle.post.push(script);
            self.cycle.post_tag = Some(tag(succeeded));
            if succeeded {
                return;
            }
        }
    }

    fn send(&mut self, edge: Edge, id: &str) -> Script {
        self.cycle.events.push(Event::Started(edge));
        let invocation = self.deliver.deliver(edge, id, self.policy.execution_timeout);
        let script = Script { edge, execution_id: id.to_owned(), invocation };
        let event = if script.succeeded() { Event::Completed(edge) } else { Event::Failed(edge) };
        self.cycle.events.push(event);
        script
    }

    fn initiate<E: std::fmt::Display>(&mut self, snapshot: &mut impl FnMut() -> Result<S, E>) {
        match snapshot() {
            Ok(made) => {
                self.cycle.snapshot = Some(made);
                self.cycle.events.push(Event::SnapshotTaken);
            }
            Err(error) => {
                eprintln!("error: the snapshots could not be initiated: {error}");
                self.cycle.events.push(Event::SnapshotFailed);
            }
        }
    }

    fn fall_back<E: std::fmt::Display>(&mut self, snapshot: &mut impl FnMut() -> Result<S, E>) {
        let pre_failed = self.cycle.pre_tag == Some(Tag::Failed);
        if pre_failed && self.policy.execute_operation_on_script_failure {
            self.initiate(snapshot);
            self.cycle.crash_consistent_fallback = self.cycle.snapshot.is_some();
        } else {
            self.cycle.events.push(Event::Skipped);
        }
    }
}

fn tag(succeeded: bool) -> Tag {
    if succeeded { Tag::Success } else { Tag::Failed }
}

impl<S> Default for Cycle<S> {
    fn default() -> Self {
        Self {
            pre: Vec::new(),
            post: Vec::new(),
            snapshot: None,
            crash_consistent_fallback: false,
            pre_tag: None,
            post_tag: None,
            events: Vec::new(),
        }
    }
}
