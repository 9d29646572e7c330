//! What the demo prints.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::dlm::{Cycle, Script, Tag};
use crate::writers::PairReport;

/// One cycle, in the end.
#[derive(Debug)]
pub struct Row {
    /// Which cycle.
    pub title: &'static str,
    /// Whether the snapshot was the fallback.
    pub fallback: bool,
    /// The longest write of the application during the cycle.
    pub stall: Duration,
    /// The agent's report; null without an agent.
    pub session: Value,
    /// What the restored snapshot is worth.
    pub pair: PairReport,
}

impl Row {
    /// Whether the agent promised an application-consistent snapshot, and the restored one is.
    pub(super) fn is_kept(&self) -> bool {
        !self.fallback && self.session["verdict"] == "application-consistent" && self.pair.agrees()
    }
}

pub(super) fn scripts<S>(cycle: &Cycle<S>) {
    for script in cycle.pre.iter().chain(&cycle.post) {
        println!("{:<12} {}", script.edge.command(), answer(script));
    }
    let tag = |tag| match tag {
        Some(Tag::Success) => "SUCCESS",
        Some(Tag::Failed) => "FAILED",
        None => "(not run)",
    };
    println!(
        "tags         aws:dlm:pre-script={} aws:dlm:post-script={}",
        tag(cycle.pre_tag),
        tag(cycle.post_tag)
    );
    if cycle.crash_consistent_fallback {
        println!("fallback     the lifecycle manager takes crash-consistent snapshots");
    }
}

fn answer(script: &Script) -> String {
    let Some(invocation) = &script.invocation else { return "no answer in time".to_owned() };
    let first = invocation.stdout.lines().chain(invocation.stderr.lines()).next().unwrap_or_default();
    format!("{:<4} {:>7.1} ms  {first}", invocation.code, invocation.took.as_secs_f64() * 1e3)
}

pub(super) fn timeline(session: &Value) {
    for phase in phases(session) {
        let name = match phase["phase"].as_str() {
            Some("preparing") => "prepare",
            Some("quiescing") => "quiesce",
            Some("freezing") => "freeze",
            Some("thawing") => "thaw",
            Some("resuming") => "resume",
            other => other.unwrap_or("?"),
        };
        println!("{name:<12} {:>12.2} ms", took(phase).as_secs_f64() * 1e3);
    }
}

fn phases(session: &Value) -> impl Iterator<Item = &Value> {
    session["phases"].as_array().into_iter().flatten()
}

fn took(phase: &Value) -> Duration {
    let [began, ended] = [&phase["began"], &phase["ended"]].map(|time| time.as_u64().unwrap_or_default());
    Duration::from_nanos(ended.saturating_sub(began))
}

/// How long the hold lasted, if there was one.
fn held(session: &Value) -> Option<Duration> {
    phases(session).find(|phase| phase["phase"] == "held").map(took)
}

pub(super) fn judgement(row: &Row) {
    println!("writers      longest stall {:.0} ms", row.stall.as_secs_f64() * 1e3);
    println!("verdict      {}", verdict(row));
    println!("restored     {}", restored(&row.pair));
}

fn verdict(row: &Row) -> &str {
    row.session["verdict"].as_str().unwrap_or("none: no agent vouches for it")
}

fn restored(pair: &PairReport) -> String {
    let PairReport { rows, records, gaps, damaged, integrity } = pair;
    let agree = if pair.agrees() { "both agree" } else { "they DO NOT agree" };
    format!(
        "integrity_check {integrity}, {gaps} gaps, {damaged} damaged; row {rows}, record {records}: {agree}"
    )
}

pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "cycle",
        "snapshot",
        "longest stall",
        "held",
        "last row",
        "last record",
        "restored pair",
    ]);
    for row in rows {
        table.add_row([
            row.title.to_owned(),
            if row.fallback { "fallback".to_owned() } else { verdict(row).to_owned() },
            format!("{:.0} ms", row.stall.as_secs_f64() * 1e3),
            held(&row.session)
                .map_or_else(|| "–".to_owned(), |held| format!("{:.0} ms", held.as_secs_f64() * 1e3)),
            row.pair.rows.to_string(),
            row.pair.records.to_string(),
            if row.pair.agrees() { "agrees".to_owned() } else { "TORN".to_owned() },
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(verdict: &str, fallback: bool, records: u64) -> Row {
        let integrity = "ok".to_owned();
        Row {
            title: "a cycle",
            fallback,
            stall: Duration::ZERO,
            session: json!({"verdict": verdict, "phases": [{"phase": "held", "began": 5, "ended": 25}]}),
            pair: PairReport { rows: 7, records, gaps: 0, damaged: 0, integrity },
        }
    }

    #[test]
    fn a_promise_is_kept_only_when_it_was_given_and_the_restored_pair_agrees() {
        assert!(row("application-consistent", false, 7).is_kept());
        assert!(!row("application-consistent", false, 8).is_kept());
        assert!(!row("application-consistent", true, 7).is_kept());
        assert!(!row("crash-consistent", false, 7).is_kept());
    }

    #[test]
    fn the_table_names_a_torn_pair_and_a_cycle_without_a_hold() {
        let without_hold = Row { session: Value::Null, ..row("", true, 8) };
        assert_eq!(held(&row("", true, 8).session), Some(Duration::from_nanos(20)));
        let table = table(&[without_hold]);
        assert!(table.contains("TORN") && table.contains('–') && table.contains("fallback"), "{table}");
    }
}
