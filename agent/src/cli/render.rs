//! Text for people. The most important line comes first: of what SSM keeps, a reader often sees only the beginning.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{Table, presets};

use quiesced_core::exit::ExitCode as Code;
use quiesced_core::finding::{Finding, Severity};
use quiesced_core::plan::Plan;
use quiesced_core::report::{Ending, SessionReport, StepReport};

use crate::api::wire::{Reply, StatusReply};
use crate::daemon::recovery::Recovered;
use crate::error::{write_problem, write_warning};
use crate::preflight::Checked;
use crate::timeline::seconds;

/// More would hide the timeline.
const MOST_PROBLEMS: usize = 8;

/// How many characters of a command's output SSM shows where it lists the commands of an instance.
const SHOWN_BY_SSM: usize = 2_500;

/// Writing to a `String` does not fail.
macro_rules! line {
    ($text:expr, $($arguments:tt)*) => {
        writeln!($text, $($arguments)*).unwrap_or_default()
    };
}

pub(super) fn reply(reply: &Reply) -> String {
    let mut text = String::new();
    let was_held = |code: &u8| {
        ![Code::PreScriptFailed, Code::AlreadyFrozen, Code::NotReady].map(Code::number).contains(code)
    };
    // What was never held is no snapshot's worth.
    let held = reply.report.as_ref().filter(|_| was_held(&reply.code));
    let verdict = held.and_then(|report| report.verdict);
    match verdict {
        Some(verdict) => line!(text, "{verdict}: {} (exit {}: {})", reply.why, reply.code, reply.meaning),
        None => line!(text, "{}: {} (exit {})", reply.meaning, reply.why, reply.code),
    }
    if let Some(report) = &reply.report {
        report.reasons.iter().for_each(|reason| line!(text, "  because {reason}"));
        if let Some(host) =
            report.host.as_ref().filter(|_| report.ending.is_some_and(|ending| ending != Ending::Post))
        {
            line!(text, "  the session was opened at {}", host.opened_at);
        }
    }
    if let Some(hint) = &reply.hint {
        line!(text, "  hint: {hint}");
    }
    for problem in reply.problems.iter().take(MOST_PROBLEMS) {
        write_problem(&mut text, problem).unwrap_or_default();
    }
    if reply.problems.len() > MOST_PROBLEMS {
        line!(text, "and {} more: quiesced status --json", reply.problems.len() - MOST_PROBLEMS);
    }
    for warning in &reply.warnings {
        write_warning(&mut text, warning).unwrap_or_default();
    }
    if let Some(report) = &reply.report {
        text.push_str(&self::report(report));
    }
    if let Some(plan) = &reply.plan {
        line!(text, "{}", extent(plan));
    }
    let everything = if reply.report.is_some() { "quiesced status" } else { "quiesced check" };
    fitted(text, &format!("…\nthe rest is shown by: {everything}\n"))
}

/// Cuts a text to what SSM shows, and ends it with where to find the rest: SSM itself does not say that it has cut.
fn fitted(text: String, rest: &str) -> String {
    if text.chars().count() <= SHOWN_BY_SSM {
        return text;
    }
    let kept = SHOWN_BY_SSM - rest.chars().count();
    text.chars().take(kept).chain(rest.chars()).collect()
}

pub(super) fn status(status: &StatusReply, warnings: &[Finding]) -> String {
    let mut text = String::new();
    match &status.session {
        Some(open) => {
            line!(text, "{}: {} of group {}", open.phase.name(), open.execution_id.session(), open.group);
            if let Some(left) = open.lease_left_ms {
                line!(text, "the lease ends in {}", seconds(Duration::from_millis(left)));
            }
            text.push_str(&report(&open.report));
        }
        None if status.stopping => line!(text, "stopping"),
        None => line!(text, "idle"),
    }
    for left in &status.residue {
        line!(text, "left behind: {} ({})", left.name, left.problem);
    }
    if let Some(last) = &status.last {
        text.push_str("last was ");
        text.push_str(&ended(last));
    }
    warnings.iter().for_each(|found| write_warning(&mut text, &found.problem).unwrap_or_default());
    line!(text, "quiesced {}, process {}", status.version, status.pid);
    text
}

/// A session that has ended.
pub(super) fn ended(session: &SessionReport) -> String {
    let mut text = String::new();
    let verdict = session.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
    let opened =
        session.host.as_ref().map(|host| format!(", opened at {}", host.opened_at)).unwrap_or_default();
    let code = session.code.map(|code| format!(" (exit {})", code.number())).unwrap_or_default();
    line!(text, "{}{opened}: {verdict}{code}", session.execution_id.session());
    session.reasons.iter().for_each(|reason| line!(text, "  because {reason}"));
    for problem in &session.problems {
        write_problem(&mut text, problem).unwrap_or_default();
    }
    text.push_str(&report(session));
    text
}

/// What a check came to.
pub(super) fn checked(group: &str, checked: &Checked) -> String {
    let mut text = String::new();
    let errors = checked.of(Severity::Error);
    match &checked.plan {
        Some(plan) if errors.is_empty() => {
            line!(text, "group {group} is ready: {}", extent(plan));
        }
        _ => line!(text, "group {group} is not ready"),
    }
    errors.iter().for_each(|problem| write_problem(&mut text, problem).unwrap_or_default());
    let warnings = checked.of(Severity::Warning);
    warnings.iter().for_each(|problem| write_warning(&mut text, problem).unwrap_or_default());
    text
}

pub(super) fn extent(plan: &Plan) -> String {
    format!("{} hook(s) and {} filesystem(s) would be held", plan.hooks.len(), plan.filesystems.len())
}

pub(super) fn recovered(recovered: &Recovered) -> String {
    let mut text = String::new();
    let Some(id) = &recovered.execution_id else { return "nothing was held\n".to_owned() };
    let all = if recovered.is_clean() { "nothing is held any more" } else { "something may still be held" };
    line!(text, "{all}: {} was left by an agent that has ended", id.session());
    for thing in &recovered.things {
        line!(text, "  {}: {}", thing.name, thing.outcome);
    }
    text
}

/// What was learned in a session, and how long everything took.
fn report(report: &SessionReport) -> String {
    let mut text = String::new();
    for step in &report.steps {
        if let Some(note) = &step.note {
            line!(text, "{}: {note}", named(step));
        }
    }
    text.push_str(&timeline(report));
    if let Some(window) = report.window() {
        line!(text, "window {}", seconds(window));
    }
    text
}

fn named(step: &StepReport) -> String {
    format!("{} {}", step.step.name(), step.subject)
}

/// The phases of a session, and under each the steps that ended in it.
fn timeline(report: &SessionReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for span in &report.phases {
        let took = span.ended.map_or_else(|| "…".to_owned(), |ended| seconds(ended - span.began));
        table.add_row([span.phase.name().to_owned(), took, String::new()]);
        let within = |step: &&StepReport| {
            step.ended >= span.began && span.ended.is_none_or(|ended| step.ended < ended)
        };
        for step in report.steps.iter().filter(within) {
            let end = if step.failure.is_some() { "failed" } else { "" };
            table.add_row([format!("  {}", named(step)), seconds(step.ended - step.began), end.to_owned()]);
        }
    }
    // A table fills its cells with spaces, and SSM shows only so many characters.
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
