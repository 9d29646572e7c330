//! A session as a timeline: its phases, its hooks beside each other, each filesystem, and the lease.

mod page;
mod text;

use std::time::Duration;

use quiesced_core::report::{Phase, SessionReport, Step, StepReport};
use quiesced_core::time::BootTime;

pub use page::page;
pub use text::text;

/// What is drawn: rows of bars on one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Where the axis begins.
    pub from: BootTime,
    /// Where it ends.
    pub until: BootTime,
    /// When everything would have been released by itself.
    pub lease_ends: Option<BootTime>,
    /// The phases first, then hooks, then filesystems.
    pub rows: Vec<Row>,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose it is.
    pub label: String,
    /// What happened to it, in time.
    pub bars: Vec<Bar>,
}

/// A span of time in which one thing was the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// What.
    pub kind: Kind,
    /// When it began.
    pub from: BootTime,
    /// When it ended.
    pub until: BootTime,
    /// It went wrong.
    pub failed: bool,
}

/// What a bar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The session was in this phase.
    Phase(Phase),
    /// A step was taken.
    Step(Step),
    /// The application was quiesced.
    Quiesced,
    /// The filesystem was frozen.
    Frozen,
}

impl Kind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phase(phase) => phase.name(),
            Self::Step(step) => step.name(),
            Self::Quiesced => "quiesced",
            Self::Frozen => "frozen",
        }
    }
}

impl Bar {
    /// How long it lasted.
    pub fn took(&self) -> Duration {
        self.until - self.from
    }
}

impl Timeline {
    /// The timeline of a session, ended or not: what has not ended is drawn as far as anything is known.
    pub fn of(report: &SessionReport) -> Self {
        let from = report.phases.first().map_or(BootTime::from_nanos(0), |span| span.began);
        let ends = report.phases.iter().map(|span| span.ended.unwrap_or(span.began));
        let until = ends.chain(report.steps.iter().map(|step| step.ended)).max().unwrap_or(from);
        let phases = report.phases.iter().map(|span| Bar {
            kind: Kind::Phase(span.phase),
            from: span.began,
            until: span.ended.unwrap_or(until),
            failed: false,
        });
        let mut rows = vec![Row { label: "session".to_owned(), bars: phases.collect() }];
        let subjects = |is_hooks: bool| {
            let mut subjects: Vec<&str> = Vec::new();
            for step in report.steps.iter().filter(|step| is_of_hook(step.step) == is_hooks) {
                if !subjects.contains(&step.subject.as_str()) {
                    subjects.push(&step.subject);
                }
            }
            subjects
        };
        rows.extend(subjects(true).into_iter().map(|hook| row_of_hook(report, hook, until)));
        rows.extend(subjects(false).into_iter().map(|point| row_of_filesystem(report, point, until)));
        Self { from, until, lease_ends: report.lease_ends, rows }
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.until - self.from
    }

    /// Where a moment lies on the axis, from 0 to 1.
    pub fn place(&self, moment: BootTime) -> f64 {
        let whole = self.length().as_secs_f64();
        if whole > 0.0 { ((moment - self.from).as_secs_f64() / whole).min(1.0) } else { 0.0 }
    }
}

/// The longest that a writer can have waited: for a filesystem from the order to freeze it until it was thawed, for an application
/// from the first step to quiesce it until it went on. Absent when nothing was held.
pub fn longest_stall(report: &SessionReport) -> Option<Duration> {
    let stall = |first: Step, last: Step| {
        let began = report.steps.iter().filter(move |step| step.step == first);
        began.filter_map(move |began| {
            let is_its = |step: &&StepReport| step.step == last && step.subject == began.subject;
            Some(report.steps.iter().rev().find(is_its)?.ended - began.began)
        })
    };
    stall(Step::Freeze, Step::Thaw).chain(stall(Step::Quiesce, Step::Resume)).max()
}

const fn is_of_hook(step: Step) -> bool {
    match step {
        Step::Inspect | Step::Prepare | Step::Quiesce | Step::Verify | Step::Resume => true,
        Step::Manifest | Step::Sync | Step::Freeze | Step::Thaw => false,
    }
}

fn bars_of(report: &SessionReport, subject: &str, is_hooks: bool) -> Vec<Bar> {
    let is_its = |step: &&StepReport| step.subject == subject && is_of_hook(step.step) == is_hooks;
    let bar = |step: &StepReport| Bar {
        kind: Kind::Step(step.step),
        from: step.began,
        until: step.ended,
        failed: step.failure.is_some(),
    };
    report.steps.iter().filter(is_its).map(bar).collect()
}

/// What was the case between two steps is a bar of its own, below them.
fn with_hold(mut bars: Vec<Bar>, hold: Option<Bar>) -> Vec<Bar> {
    bars.splice(0..0, hold);
    bars
}

fn row_of_hook(report: &SessionReport, hook: &str, until: BootTime) -> Row {
    let bars = bars_of(report, hook, true);
    let find = |step: Step| bars.iter().find(|bar| bar.kind == Kind::Step(step));
    let hold = find(Step::Quiesce).filter(|quiesce| !quiesce.failed).map(|quiesce| {
        let end = find(Step::Verify).or_else(|| find(Step::Resume)).map_or(until, |bar| bar.from);
        Bar { kind: Kind::Quiesced, from: quiesce.until, until: end, failed: false }
    });
    Row { label: hook.to_owned(), bars: with_hold(bars, hold) }
}

fn row_of_filesystem(report: &SessionReport, mount_point: &str, until: BootTime) -> Row {
    let bars = bars_of(report, mount_point, false);
    let thaw = bars.iter().find(|bar| bar.kind == Kind::Step(Step::Thaw)).map(|bar| bar.from);
    let span = report.frozen.iter().find(|span| span.mount_point.as_os_str() == mount_point);
    let hold = span.map(|span| Bar {
        kind: Kind::Frozen,
        from: span.from,
        until: span.until.or(thaw).unwrap_or(until),
        failed: span.until.is_none() && report.ending.is_some(),
    });
    Row { label: mount_point.to_owned(), bars: with_hold(bars, hold) }
}

/// A length of time as people read it.
pub fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        format!("{:.2} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests;
