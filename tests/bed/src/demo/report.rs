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
    for phase in session["phases"].as_array().into_iter().flatten() {
        let [began, ended] = [&phase["began"], &phase["ended"]].map(|time| time.as_u64().unwrap_or_default());
        let took = Duration::from_nanos(ended.saturating_sub(began));
        let name = match phase["phase"].as_str() {
            Some("preparing") => "prepare",
            Some("quiescing") => "quiesce",
            Some("freezing") => "freeze",
            Some("thawing") => "thaw",
            Some("resuming") => "resume",
            other => other.unwrap_or("?"),
        };
        println!("{name:<12} {:>12.2} ms", took.as_secs_f64() * 1e3);
    }
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
    table.set_header(["cycle", "snapshot", "longest stall", "last row", "last record", "restored pair"]);
    for row in rows {
        table.add_row([
            row.title.to_owned(),
            if row.fallback { "fallback".to_owned() } else { verdict(row).to_owned() },
            format!("{:.0} ms", row.stall.as_secs_f64() * 1e3),
            row.pair.rows.to_string(),
            row.pair.records.to_string(),
            if row.pair.agrees() { "agrees".to_owned() } else { "TORN".to_owned() },
        ]);
    }
    table.to_string()
}
