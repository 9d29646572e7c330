//! The systemd unit, judged by systemd itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn unit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("packaging/systemd/quiesced.service")).unwrap()
}

/// A root directory with the unit and what it executes.
fn staged(unit: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    for program in ["usr/bin/quiesced", "bin/sh"] {
        let path = root.path().join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let directory = root.path().join("etc/systemd/system");
    fs::create_dir_all(&directory).unwrap();
    // `verify` wants the targets that it orders against; those are the installed systemd's.
    let targets = root.path().join("usr/lib/systemd");
    fs::create_dir_all(&targets).unwrap();
    std::os::unix::fs::symlink("/usr/lib/systemd/system", targets.join("system")).unwrap();
    let path = directory.join("quiesced.service");
    fs::write(&path, unit).unwrap();
    (root, path)
}

/// What `systemd-analyze verify` complains about; it exits with 0 over unknown keys, so its words count.
fn complaints(unit: &str) -> String {
    let (root, _) = staged(unit);
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(format!("--root={}", root.path().display()))
        .args(["--man=no", "quiesced.service"])
        .output()
        .expect("systemd-analyze is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| line.contains("quiesced")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn systemd_has_nothing_to_complain_about() {
    assert_eq!(complaints(&unit()), "");
}

#[test]
fn systemd_would_have_complained() {
    let broken = unit().replace("WatchdogSec=", "WatchdogSecs=");
    assert!(complaints(&broken).contains("WatchdogSecs"));
}

/// Exposure in tenths, as systemd counts it: what is left is argued in the unit.
#[test]
fn the_unit_exposes_no_more_than_it_says() {
    let exposed = |unit: &str| {
        let (_root, path) = staged(unit);
        let line = ["security", "--offline=true", "--no-pager", "--threshold=38"];
        let output = Command::new("systemd-analyze").args(line).arg(path).output();
        output.expect("systemd-analyze is installed").status.code()
    };
    assert_eq!(exposed(&unit()), Some(0));
    assert_eq!(exposed(&unit().replace("RestrictNamespaces=yes", "")), Some(1), "the threshold can be lower");
}

#[test]
fn the_unit_releases_what_an_agent_leaves_and_takes_longer_to_stop_than_a_lease() {
    let unit = unit();
    let value =
        |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
    assert_eq!(value("Type="), "notify");
    assert_eq!(value("ExecStopPost="), "/usr/bin/quiesced recover");
    assert_eq!(value("RuntimeDirectoryPreserve="), "yes", "the journal must outlive the agent");
    assert_eq!(value("KillMode="), "process", "the guardian must outlive the agent");
    let seconds = |key: &str| value(key).trim_end_matches('s').parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec=") > quiesced::config::Settings::default().agent.lease.as_secs());
    assert!(seconds("WatchdogSec=") > 0);
}
