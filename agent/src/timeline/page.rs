//! A session as a page of its own: nothing is loaded from elsewhere, so it can be put into a ticket.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use quiesced_core::proof::{FrozenSpan, HookProof, Standing};
use quiesced_core::report::{SessionReport, StepReport};
use quiesced_core::time::BootTime;
use quiesced_core::verdict::Verdict;

use super::{Bar, Kind, Timeline, longest_stall, seconds};

const STYLE: &str = include_str!("page.css");

/// Pixels of the drawing.
const WIDTH: f64 = 1000.0;
const LABELS: f64 = 190.0;
const ROW: f64 = 30.0;
const AXIS: f64 = 26.0;

/// What took no time that could be seen is drawn as wide as this.
const NARROWEST: f64 = 2.0;

/// The whole page.
pub fn page(report: &SessionReport) -> String {
    let timeline = Timeline::of(report);
    let title = format!("quiesced: {}", report.execution_id.session());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(report))
                h2 { "Timeline" }
                (drawing(&timeline))
                (legend())
                (holds(report))
                h2 { "Steps" }
                (steps(report, timeline.from))
            }
        }
    };
    page.into_string()
}

const fn class(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::ApplicationConsistent) => "good",
        Some(Verdict::FilesystemConsistent) => "fair",
        Some(Verdict::CrashConsistent) | None => "poor",
    }
}

fn head(report: &SessionReport) -> Markup {
    let verdict = report.verdict.map_or_else(|| "not ended".to_owned(), |verdict| verdict.to_string());
    let code = report.code.map(|code| format!("exit {}: {}", code.number(), code.meaning()));
    let known = |time: Option<Duration>| time.map_or_else(|| "–".to_owned(), seconds);
    html! {
        h1 { span class=(class(report.verdict)) { (verdict) } }
        @for reason in &report.reasons { p.reason { "because " (reason) } }
        dl {
            dt { "session" } dd { (report.execution_id.session()) }
            dt { "group" } dd { (report.group) }
            @if let Some(code) = code { dt { "result" } dd { (code) } }
            @if let Some(host) = &report.host {
                dt { "opened" } dd { (host.opened_at) }
                @if let Some(ended) = &host.ended_at { dt { "ended" } dd { (ended) } }
                dt { "agent" } dd { (host.agent_version) ", boot " (host.boot_id) }
            }
            dt { "window" } dd { (known(report.window())) }
            dt { "longest stall" } dd { "at most " (known(longest_stall(report))) }
            dt { "volumes" } dd { (volumes(report)) }
        }
        @for problem in &report.problems {
            p.problem { (problem) @if let Some(hint) = &problem.hint { br; "hint: " (hint) } }
        }
        @for left in &report.residue { p.problem { "left behind: " (left.name) " (" (left.problem) ")" } }
        @for warning in &report.warnings { p.warning { "warning: " (warning) } }
    }
}

fn volumes(report: &SessionReport) -> String {
    let ids = report.plan.volume_ids();
    if ids.is_empty() { "none known".to_owned() } else { ids.join(", ") }
}

/// A moment's distance from the left of the drawing.
fn x(timeline: &Timeline, moment: BootTime) -> f64 {
    timeline.place(moment).mul_add(WIDTH - LABELS, LABELS)
}

fn drawing(timeline: &Timeline) -> Markup {
    let height = timeline.rows.iter().fold(AXIS, |height, _| height + ROW);
    let lease = timeline.lease_ends.filter(|end| *end <= timeline.until);
    let tops = std::iter::successors(Some(AXIS), |top| Some(top + ROW));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="timeline of the session" {
            @for tenth in (0..=10).step_by(2) {
                @let at = f64::from(tenth).mul_add((WIDTH - LABELS) / 10.0, LABELS);
                @let anchor = if tenth == 10 { "end" } else { "middle" };
                line.tick x1=(at) x2=(at) y1=(AXIS - 6.0) y2=(height) {}
                text.axis x=(at) y="14" text-anchor=(anchor) { (seconds(timeline.length() * tenth / 10)) }
            }
            @for (row, top) in timeline.rows.iter().zip(tops) {
                text.label x=(LABELS - 10.0) y=(top + 19.0) text-anchor="end" { (shortened(&row.label)) }
                @for bar in &row.bars { (rectangle(timeline, bar, top)) }
            }
            @if let Some(end) = lease {
                line.lease x1=(x(timeline, end)) x2=(x(timeline, end)) y1=(AXIS - 6.0) y2=(height) {
                    title { "the lease ends" }
                }
            }
        }
        @if let (Some(end), None) = (timeline.lease_ends, lease) {
            p.aside { "The lease would have ended at " (seconds(end - timeline.from)) ", beyond the right edge." }
        }
    }
}

fn rectangle(timeline: &Timeline, bar: &Bar, top: f64) -> Markup {
    let from = x(timeline, bar.from).min(WIDTH - NARROWEST);
    let width = (x(timeline, bar.until) - from).max(NARROWEST);
    let is_hold = matches!(bar.kind, Kind::Quiesced | Kind::Frozen);
    let (inset, height) = if is_hold { (10.0, ROW - 20.0) } else { (5.0, ROW - 10.0) };
    let class = if bar.failed { "failed".to_owned() } else { bar.kind.name().replace(' ', "-") };
    let end = if bar.failed { ", failed" } else { "" };
    html! {
        rect class=(class) x=(from) y=(top + inset) width=(width) height=(height) rx="2" {
            title { (bar.kind.name()) ": " (seconds(bar.took())) ", from " (seconds(bar.from - timeline.from)) (end) }
        }
    }
}

/// The end of a path tells more than its beginning.
fn shortened(label: &str) -> String {
    const MOST: usize = 24;
    let length = label.chars().count();
    if length <= MOST {
        return label.to_owned();
    }
    std::iter::once('…').chain(label.chars().skip(length - MOST + 1)).collect()
}

fn legend() -> Markup {
    let kinds = [
        "prepare", "sync", "quiesce", "quiesced", "freeze", "frozen", "held", "thaw", "verify", "resume",
        "failed",
    ];
    html! {
        p.legend {
            @for kind in kinds { span class=(format!("key {kind}")) {} " " (kind) " " }
            span class="key lease" {} " lease"
        }
    }
}

fn holds(report: &SessionReport) -> Markup {
    html! {
        @if !report.proofs.is_empty() {
            h2 { "Applications" }
            table {
                tr { th { "hook" } th { "hold" } th { "what shows it" } th { "position" } }
                @for proof in &report.proofs { (proof_row(proof)) }
            }
        }
        @if !report.frozen.is_empty() {
            h2 { "Filesystems" }
            table {
                tr { th { "mounted at" } th { "frozen for" } th { "sectors written meanwhile" } th { "volumes" } }
                @for span in &report.frozen { (span_row(report, span)) }
            }
        }
    }
}

fn proof_row(proof: &HookProof) -> Markup {
    let (word, class) = match proof.standing {
        Standing::Proved => ("proved", "good"),
        Standing::Claimed => ("claimed", "fair"),
        Standing::Lost => ("lost", "poor"),
    };
    html! {
        tr {
            td { (proof.hook) }
            td { span class=(class) { (word) } }
            td { (proof.how) }
            td { @for (name, value) in &proof.positions { (name) " " code { (value) } br; } }
        }
    }
}

fn span_row(report: &SessionReport, span: &FrozenSpan) -> Markup {
    let planned = report.plan.filesystems.iter().find(|planned| planned.mount_point == span.mount_point);
    let stack = planned.iter().flat_map(|planned| &planned.stack.volumes);
    let volumes: Vec<_> = stack.filter_map(|volume| volume.ebs_id()).collect();
    let length = span.until.map(|until| seconds(until - span.from));
    html! {
        tr {
            td { (span.mount_point.display()) @if let Some(planned) = planned { " (" (planned.fs_type) ")" } }
            td { (length.unwrap_or_else(|| "not known: its thaw did not find it frozen".to_owned())) }
            td { (span.sectors_written.map_or_else(|| "not counted".to_owned(), |sectors| sectors.to_string())) }
            td { (volumes.join(", ")) }
        }
    }
}

fn steps(report: &SessionReport, from: BootTime) -> Markup {
    let end = |step: &StepReport| match (&step.failure, &step.note) {
        (Some(problem), _) => problem.to_string(),
        (None, note) => note.clone().unwrap_or_default(),
    };
    html! {
        table {
            tr { th { "at" } th { "step" } th { "of" } th { "took" } th { "result" } }
            @for step in &report.steps {
                tr class=[step.failure.as_ref().map(|_| "poor")] {
                    td { (seconds(step.began - from)) }
                    td { (step.step.name()) }
                    td { (step.subject) }
                    td { (seconds(step.ended - step.began)) }
                    td { (end(step)) }
                }
            }
        }
    }
}
