//! What the agent's own report of a session tells about its speed.

use std::time::Duration;

use serde_json::Value;

/// From when to when, in nanoseconds of the boot clock.
type Span = (u64, u64);

/// The window without holding, and without every moment in which the kernel or a hook was at work: what is left is
/// the agent's own doing.
pub(super) fn own_share(session: &Value) -> Duration {
    let steps: Vec<Span> = list(session, "steps").map(span).collect();
    let phases = list(session, "phases")
        .filter(|phase| !matches!(phase["phase"].as_str(), Some("preparing" | "held")))
        .map(span);
    let own = phases.map(|phase| (phase.1 - phase.0) - covered(phase, &steps));
    Duration::from_nanos(own.sum())
}

/// From the begin of the first freeze to the end of the last one.
pub(super) fn freezes(session: &Value) -> Duration {
    let spans: Vec<Span> = list(session, "steps").filter(|step| step["step"] == "freeze").map(span).collect();
    let first = spans.iter().map(|span| span.0).min().unwrap_or_default();
    let last = spans.iter().map(|span| span.1).max().unwrap_or_default();
    Duration::from_nanos(last - first)
}

/// How much of `phase` at least one of `steps` lasted.
fn covered(phase: Span, steps: &[Span]) -> u64 {
    let clipped = steps.iter().map(|step| (step.0.max(phase.0), step.1.min(phase.1)));
    let mut inside: Vec<Span> = clipped.filter(|step| step.0 < step.1).collect();
    inside.sort_unstable();
    let mut until = phase.0;
    let mut sum = 0;
    for (began, ended) in inside {
        sum += ended.saturating_sub(began.max(until));
        until = until.max(ended);
    }
    sum
}

fn list<'a>(session: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    session[name].as_array().into_iter().flatten()
}

fn span(value: &Value) -> Span {
    let began = value["began"].as_u64().unwrap_or_default();
    (began, value["ended"].as_u64().unwrap_or(began).max(began))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session() -> Value {
        json!({
            "phases": [
                {"phase": "preparing", "began": 0, "ended": 100},
                {"phase": "freezing", "began": 100, "ended": 200},
                {"phase": "held", "began": 200, "ended": 900},
                {"phase": "thawing", "began": 900, "ended": 1000},
            ],
            "steps": [
                {"step": "prepare", "began": 10, "ended": 90},
                {"step": "freeze", "began": 110, "ended": 150},
                {"step": "freeze", "began": 120, "ended": 140},
                {"step": "freeze", "began": 160, "ended": 190},
                {"step": "thaw", "began": 890, "ended": 990},
            ],
        })
    }

    #[test]
    fn what_overlaps_is_counted_once_and_gaps_are_the_agents_own() {
        // 10 before, 10 between and 10 after the freezes; 10 after the thaw, which began while everything was held.
        assert_eq!(own_share(&session()), Duration::from_nanos(40));
    }

    #[test]
    fn freezes_last_from_the_first_to_the_last() {
        assert_eq!(freezes(&session()), Duration::from_nanos(80));
    }

    #[test]
    fn a_session_that_froze_nothing_has_no_freezes() {
        assert_eq!(freezes(&json!({"steps": []})), Duration::ZERO);
    }
}
