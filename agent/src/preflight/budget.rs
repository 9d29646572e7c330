//! Times that cannot fit: what is configured, and what the host has to write first.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

use crate::config::{GroupSettings, Settings};

/// What a gp3 volume writes in a second when nothing more was paid for: 125 MiB
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html>).
const BASELINE: u64 = 125 * 1024 * 1024;

pub(super) fn look(settings: &Settings, group: &GroupSettings, root: &Path) -> Vec<Finding> {
    let budget = settings.agent.pre_script_budget;
    let hooks = settings.hooks_of(group);
    let mut findings: Vec<Finding> =
        hooks.filter_map(|(name, hook)| too_long(name, hook.common().timeout, budget)).collect();
    let slowest = settings.hooks_of(group).map(|(_, hook)| hook.common().timeout).max().unwrap_or_default();
    findings.extend(cut_short("pre_script_budget", budget, settings.agent.script_timeout));
    findings.extend(cut_short("timeout", slowest, settings.agent.script_timeout));
    // A host without the file is made up; the kernel always has it.
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    findings.extend(too_dirty(unwritten(&meminfo), budget));
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

fn too_dirty(bytes: u64, budget: Duration) -> Option<Finding> {
    let takes = Duration::from_secs(bytes / BASELINE);
    let message = || {
        format!(
            "{} MiB of all filesystems are in memory only: were they the targets', a gp3 volume at its baseline takes {} for that, and pre-script is \
             given up after {}",
            bytes / (1024 * 1024),
            humantime::format_duration(takes),
            humantime::format_duration(budget)
        )
    };
    let hint = "let the kernel write earlier: `sysctl vm.dirty_background_bytes=67108864`";
    (takes > budget).then(|| Finding::warning(Problem::new(message()).with_hint(Some(hint))))
}

/// `Dirty` and `Writeback` of `/proc/meminfo` (proc_meminfo(5)), in bytes.
fn unwritten(meminfo: &str) -> u64 {
    let kilobytes = |line: &str| -> Option<u64> {
        let value = ["Dirty:", "Writeback:"].iter().find_map(|name| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse().ok()
    };
    meminfo.lines().filter_map(kilobytes).fold(0, u64::saturating_add).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dirty_and_what_is_being_written_are_added() {
        let meminfo = "MemTotal: 1 kB\nDirty:   1000 kB\nWriteback:  24 kB\nWritebackTmp: 9 kB\n";
        assert_eq!(unwritten(meminfo), 1024 * 1024);
    }

    #[test]
    fn only_what_a_baseline_volume_cannot_write_in_time_is_told() {
        let budget = Duration::from_secs(8);
        assert_eq!(too_dirty(8 * BASELINE, budget), None);
        let found = too_dirty(9 * BASELINE, budget).unwrap();
        assert!(found.problem.message.starts_with("1125 MiB "), "{found:?}");
    }

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

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "((Dirty:|Writeback:)? *[0-9]* *(kB)?\n)*") {
            let _bytes = unwritten(&text);
        }
    }
}
