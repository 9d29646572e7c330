//! What many cycles come to.

use std::time::Duration;

use comfy_table::{Table, presets};

use super::{Case, CycleResult, Outcome};

/// All cycles of one case.
#[derive(Debug)]
pub struct Row {
    /// What was snapshotted, and how.
    pub case: Case,
    /// Each cycle.
    pub cycles: Vec<CycleResult>,
}

impl Row {
    /// Whether every snapshot was vouched for, and is good.
    pub fn is_kept(&self) -> bool {
        self.cycles.iter().all(|cycle| cycle.is_vouched_for() && cycle.outcome == Outcome::Good)
    }

    /// What went wrong first, for people.
    pub fn first_fault(&self) -> Option<String> {
        self.cycles.iter().find_map(|cycle| match &cycle.outcome {
            Outcome::Torn(fault) | Outcome::Refused(fault) => Some(fault.clone()),
            Outcome::Good if !cycle.is_vouched_for() => {
                Some(format!("it is good, and nobody vouches for it: {}", cycle.session))
            }
            Outcome::Good => None,
        })
    }

    fn count(&self, is_counted: impl Fn(&CycleResult) -> bool) -> String {
        self.cycles.iter().filter(|cycle| is_counted(cycle)).count().to_string()
    }
}

/// The table of all cases.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "engine",
        "mode and snapshots",
        "cycles",
        "vouched\nfor",
        "good",
        "torn or\nlost",
        "refused\nto start",
        "longest stall\nmedian / max",
        "window\nmedian / max",
    ]);
    for row in rows {
        table.add_row([
            row.case.engine().to_owned(),
            row.case.mode().to_owned(),
            row.cycles.len().to_string(),
            row.count(CycleResult::is_vouched_for),
            row.count(|cycle| cycle.outcome == Outcome::Good),
            row.count(|cycle| matches!(cycle.outcome, Outcome::Torn(_))),
            row.count(|cycle| matches!(cycle.outcome, Outcome::Refused(_))),
            spread(row.cycles.iter().map(|cycle| cycle.stall).collect()),
            spread(row.cycles.iter().filter_map(CycleResult::window).collect()),
        ]);
    }
    table.to_string()
}

/// Median and maximum, in ms.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let millis = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    match times.last() {
        Some(&longest) => format!("{} / {}", millis(times[times.len() / 2]), millis(longest)),
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cycle(outcome: Outcome, verdict: &str) -> CycleResult {
        let session = json!({
            "verdict": verdict,
            "phases": [
                {"phase": "preparing", "began": 0, "ended": 50_000_000},
                {"phase": "quiescing", "began": 50_000_000, "ended": 60_000_000},
                {"phase": "resuming", "began": 90_000_000, "ended": 95_000_000},
            ],
        });
        CycleResult { outcome, stall: Duration::from_millis(60), session }
    }

    fn row(cycles: Vec<CycleResult>) -> Row {
        Row { case: Case::Sqlite, cycles }
    }

    #[test]
    fn a_row_is_kept_when_every_cycle_was_vouched_for_and_is_good() {
        let good = || cycle(Outcome::Good, "application-consistent");
        assert!(row(vec![good(), good()]).is_kept());
        assert!(!row(vec![good(), cycle(Outcome::Good, "crash-consistent")]).is_kept());
        let torn = row(vec![good(), cycle(Outcome::Torn("lost".to_owned()), "application-consistent")]);
        assert!(!torn.is_kept());
        assert_eq!(torn.first_fault().as_deref(), Some("lost"));
    }

    #[test]
    fn the_window_is_everything_but_the_preparation() {
        assert_eq!(cycle(Outcome::Good, "").window(), Some(Duration::from_millis(45)));
        assert_eq!(CycleResult { session: Value::Null, ..cycle(Outcome::Good, "") }.window(), None);
    }

    #[test]
    fn times_are_told_by_their_median_and_their_maximum() {
        let times = [3, 900, 5].map(Duration::from_millis);
        assert_eq!(spread(times.into()), "5 / 900");
        assert_eq!(spread(Vec::new()), "–");
    }
}
