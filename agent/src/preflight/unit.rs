//! Limits of the systemd unit that would stop a thaw. The unit that is shipped has none of them; an override may.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use quiesced_core::finding::Finding;
use quiesced_core::problem::Problem;

use crate::config::{GroupSettings, Settings};

/// systemd answers in some ten milliseconds, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The agent pings at half the time; on a busy host a second may pass before it is scheduled.
const SHORTEST_WATCHDOG: Duration = Duration::from_secs(2);

const PROPERTIES: &str = "--property=LoadState,KillMode,TimeoutStopUSec,WatchdogUSec,ExecStopPost";

/// Looks at the unit, where there is a systemd that knows one.
pub(super) async fn look(settings: &Settings, group: &GroupSettings, root: &Path) -> Vec<Finding> {
    // sd_booted(3)
    if !root.join("run/systemd/system").is_dir() {
        return Vec::new();
    }
    let mut command = Command::new("systemctl");
    command.args(["show", "quiesced.service", PROPERTIES]).stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => {
            judge(&properties(&String::from_utf8_lossy(&output.stdout)), &needed(settings, group))
        }
        Ok(Err(error)) => {
            vec![Finding::warning(Problem::from_error(&error).within("systemctl cannot be asked"))]
        }
        Err(_) => vec![Finding::warning(Problem::new("systemctl has not answered within 2 s"))],
    }
}

/// A stop releases what is held: a thaw at once, then hooks one after the other at worst.
fn needed(settings: &Settings, group: &GroupSettings) -> Duration {
    let resumes: Duration = settings.hooks_of(group).map(|(_, hook)| hook.common().timeout).sum();
    settings.agent.lease + resumes
}

fn properties(shown: &str) -> BTreeMap<&str, &str> {
    shown.lines().filter_map(|line| line.split_once('=')).collect()
}

fn judge(properties: &BTreeMap<&str, &str>, needed: &Duration) -> Vec<Finding> {
    let get = |name: &str| properties.get(name).copied().unwrap_or_default();
    if get("LoadState") != "loaded" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut warn = |message: String, hint: String| {
        let hint = format!("`systemctl edit quiesced`, and write {hint}");
        findings.push(Finding::warning(Problem::new(message).with_hint(Some(hint))));
    };
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    if let Some(stop) = duration(get("TimeoutStopUSec")).filter(|stop| stop < needed) {
        let message = format!(
            "systemd kills the agent {} after it was told to stop, and a lease with the resumes of all hooks may take {}",
            shown(stop),
            shown(*needed)
        );
        warn(message, format!("TimeoutStopSec={}s", needed.as_secs() + 1));
    }
    if let Some(watchdog) =
        duration(get("WatchdogUSec")).filter(|time| !time.is_zero() && *time < SHORTEST_WATCHDOG)
    {
        warn(
            format!("the unit's watchdog of {} may end a healthy agent", shown(watchdog)),
            "WatchdogSec=10s".to_owned(),
        );
    }
    if get("KillMode") != "process" {
        let message = format!(
            "with KillMode={} systemd ends the guardian, which is to thaw what a dead agent held",
            get("KillMode")
        );
        warn(message, "KillMode=process".to_owned());
    }
    if !get("ExecStopPost").contains("recover") {
        let message = "the unit runs nothing that releases what an agent leaves when it dies".to_owned();
        warn(message, "ExecStopPost=/usr/bin/quiesced recover".to_owned());
    }
    findings
}

/// A time as systemd shows it: `1min 30s`, `500ms`; none for `infinity`.
fn duration(shown: &str) -> Option<Duration> {
    if shown == "0" { Some(Duration::ZERO) } else { humantime::parse_duration(shown).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = "LoadState=loaded\nKillMode=process\nTimeoutStopUSec=1min\nWatchdogUSec=10s\n\
        ExecStopPost={ path=/usr/bin/quiesced ; argv[]=/usr/bin/quiesced recover ; ignore_errors=no }\n";

    fn judged(text: &str) -> Vec<String> {
        let found = judge(&properties(text), &Duration::from_secs(40));
        found.into_iter().map(|finding| finding.problem.message).collect()
    }

    #[test]
    fn the_unit_that_is_shipped_and_none_at_all_are_good() {
        assert_eq!(judged(SHIPPED), [""; 0]);
        assert_eq!(judged("LoadState=not-found\nKillMode=control-group\n"), [""; 0]);
        assert_eq!(judged(&SHIPPED.replace("1min", "infinity").replace("10s", "0")), [""; 0]);
    }

    #[test]
    fn each_limit_that_would_stop_a_thaw_is_told() {
        for (from, to, told) in [
            ("1min", "39s", "systemd kills the agent 39s after"),
            ("10s", "500ms", "watchdog of 500ms"),
            ("KillMode=process", "KillMode=mixed", "with KillMode=mixed"),
            ("recover", "status", "runs nothing that releases"),
        ] {
            let found = judged(&SHIPPED.replace(from, to));
            assert!(found.len() == 1 && found[0].contains(told), "{from} {to}: {found:?}");
        }
    }
}
