//! Times that cannot fit.

use std::time::Duration;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

use crate::config::{GroupSettings, Settings};

pub(super) fn look(settings: &Settings, group: &GroupSettings) -> Vec<Finding> {
    let budget = settings.agent.pre_script_budget;
    let hooks = settings.hooks_of(group);
    let mut findings: Vec<Finding> =
        hooks.filter_map(|(name, hook)| too_long(name, hook.common().timeout, budget)).collect();
    let slowest = settings.hooks_of(group).map(|(_, hook)| hook.common().timeout).max().unwrap_or_default();
    findings.extend(cut_short("pre_script_budget", budget, settings.agent.script_timeout));
    findings.extend(cut_short("timeout", slowest, settings.agent.script_timeout));
    findings
}

/// For SSM to start the command and to fetch its answer.
const MARGIN: Duration = Duration::from_secs(1);

/// What may take longer than the lifecycle manager waits for a script: pre-script by its budget, post-script by the time
/// that a hook may take to resume.
fn cut_short(key: &str, takes: Duration, script_timeout: Duration) -> Option<Finding> {
    let message = || {
        format!(
            "`{key}` lets a script take {}, and the policy's script timeout of {} ends it before its answer is there",
            humantime::format_duration(takes),
            humantime::format_duration(script_timeout)
        )
    };
    let hint =
        "lower it, or raise the policy's script timeout and say so in `script_timeout` in the [agent] table";
    (takes + MARGIN > script_timeout).then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

fn too_long(hook: &str, timeout: Duration, budget: Duration) -> Option<Finding> {
    let message = || {
        format!(
            "hook {hook} may take {}, but pre-script is given up after {}",
            humantime::format_duration(timeout),
            humantime::format_duration(budget)
        )
    };
    let hint = "lower its `timeout`, or raise `pre_script_budget` and the policy's script timeout";
    (timeout > budget).then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_would_cut_short_is_told() {
        let policy = Duration::from_secs(10);
        assert_eq!(cut_short("timeout", Duration::from_secs(9), policy), None);
        assert!(cut_short("timeout", Duration::from_millis(9_001), policy).is_some());
    }

    #[test]
    fn a_timeout_that_can_never_be_used_is_told() {
        let budget = Duration::from_secs(8);
        assert_eq!(too_long("queue", budget, budget), None);
        assert!(too_long("queue", Duration::from_secs(9), budget).is_some());
    }
}
