//! The packages have what a host needs, and nothing in them is left to chance.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod packages;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::binary;
use packages::{Parts, only, require_nfpm, root, run};
use quiesced::config::{Settings, Sources, load};

fn files_of_deb(deb: &Path) -> BTreeSet<String> {
    let list = run(Command::new("dpkg-deb").arg("--contents").arg(deb));
    // Mode, owner, size, date, time, name.
    let names =
        list.lines().filter(|line| !line.starts_with('d')).filter_map(|line| line.split_whitespace().nth(5));
    names.map(|name| name.trim_start_matches('.').to_owned()).collect()
}

fn files_of_rpm(rpm: &Path) -> BTreeSet<String> {
    let list = run(Command::new("rpm").args(["--query", "--list", "--package"]).arg(rpm));
    list.lines().map(str::to_owned).filter(|name| !name.is_empty()).collect()
}

#[test]
fn both_packages_have_everything_and_linters_find_nothing_that_is_not_argued() {
    if !require_nfpm("a package") {
        return;
    }
    let parts = Parts::new(binary());
    let out = parts.package("out", &[]);
    let (deb, rpm) = (only(&out, ".deb"), only(&out, ".rpm"));
    for (files, name) in [(files_of_deb(&deb), "deb"), (files_of_rpm(&rpm), "rpm")] {
        for file in [
            "/usr/bin/quiesced",
            "/usr/lib/systemd/system/quiesced.service",
            "/usr/lib/tmpfiles.d/quiesced.conf",
            "/etc/quiesced/conf.d/10-agent.toml",
            "/usr/share/man/man8/quiesced-pre-script.8.gz",
            "/usr/share/man/man5/quiesced.toml.5.gz",
            "/usr/share/bash-completion/completions/quiesced",
            "/usr/share/quiesced/ssm/quiesced.yaml",
            "/usr/share/quiesced/hooks/mongodb.sh",
            "/usr/share/doc/quiesced/THIRD-PARTY-LICENSES.gz",
        ] {
            assert!(files.contains(file), "the {name} lacks {file}: {files:#?}");
        }
    }
    // The binary of a release is static; that of a test needs the C library of this host.
    let of_tests = "missing-dependency-on-libc,undeclared-elf-prerequisites";
    run(Command::new("lintian")
        .args(["--fail-on=error,warning", "--allow-root", "--suppress-tags", of_tests])
        .arg(&deb));
    let findings = Command::new("rpmlint")
        .arg("--config")
        .arg(root().join("packaging/package/rpmlint.toml"))
        .arg(&rpm)
        .output()
        .unwrap();
    let findings = String::from_utf8_lossy(&findings.stdout).into_owned();
    assert!(findings.contains(" 0 errors, 0 warnings"), "{findings}");
}

#[test]
fn the_same_sources_make_the_same_packages() {
    if !require_nfpm("a package") {
        return;
    }
    let parts = Parts::new(binary());
    let (first, second) = (parts.package("first", &[]), parts.package("second", &[]));
    for end in [".deb", ".rpm"] {
        assert!(
            fs::read(only(&first, end)).unwrap() == fs::read(only(&second, end)).unwrap(),
            "{end} differs"
        );
    }
}

#[test]
fn a_package_for_another_architecture_says_so() {
    if !require_nfpm("a package") {
        return;
    }
    let parts = Parts::new(binary());
    let out = parts.package("arm", &["--arch", "arm64"]);
    let deb = run(Command::new("dpkg-deb").args(["--field"]).arg(only(&out, ".deb")).arg("Architecture"));
    assert_eq!(deb.trim(), "arm64");
    let query = ["--query", "--queryformat", "%{ARCH}", "--package"];
    assert_eq!(run(Command::new("rpm").args(query).arg(only(&out, ".rpm"))), "aarch64");
}

/// The shipped settings with their comment signs taken off; prose stays a comment.
fn shipped() -> String {
    let text = fs::read_to_string(root().join("packaging/conf.d/10-agent.toml")).unwrap();
    let is_setting = |line: &&str| line.starts_with('[') || line.contains(" = ");
    let lines: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
    lines.join("\n")
}

#[test]
fn the_shipped_settings_are_the_defaults_and_leave_no_key_out() {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf.d");
    fs::create_dir(&conf).unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o755)).unwrap();
    let file = conf.join("10-agent.toml");
    fs::write(&file, shipped()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    load(&Sources::below(directory.path())).unwrap_or_else(|errors| panic!("{errors}"));

    let shipped: toml::Table = shipped().parse().unwrap();
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let schema = quiesced::config::schema();
    let mut compared = 0;
    let tables = [
        ("agent", "AgentSettings"),
        ("log", "LogSettings"),
        ("report", "ReportSettings"),
        ("metrics", "MetricsSettings"),
        ("aws", "AwsSettings"),
    ];
    for (table, definition) in tables {
        for key in schema["$defs"][definition]["properties"].as_object().unwrap().keys() {
            let value = shipped[table].get(key).unwrap_or_else(|| panic!("{table}.{key} is not there"));
            let default = &defaults[table][key];
            if default.is_null() || default.is_object() {
                continue; // There is no default, and an example stands there; or it is a table of its own.
            }
            assert_eq!(&serde_json::to_value(value).unwrap(), default, "{table}.{key}");
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} defaults");
}
