//! What must never be frozen, and the reasons that are given.

use std::path::PathBuf;

use crate::hosts::{host, on, root};
use quiesced_topology::{Denial, OwnPath, Rules, Unfreezable, swap_files};

const SSM: [&str; 2] = ["/var/lib/amazon/ssm", "/var/log/amazon/ssm"];

fn own(path: &str) -> Vec<OwnPath> {
    vec![OwnPath { what: "state".into(), path: path.into() }]
}

/// The sentence that refuses the filesystem of `path`.
fn refusal(rules: &Rules, name: &str, path: &str) -> Option<String> {
    let mounts = host(name);
    rules.denial(&mounts, on(&mounts, path)).map(|denial| denial.to_string())
}

#[test]
fn a_data_volume_may_be_frozen() {
    let rules = Rules {
        ssm_directories: SSM.map(PathBuf::from).to_vec(),
        own_paths: own("/var/lib/quiesced"),
        ..Rules::default()
    };
    for (name, path) in [("al2023", "/data"), ("database", "/srv/db/wal"), ("btrfs", "/srv/ledger")] {
        assert_eq!(refusal(&rules, name, path), None, "{path}");
    }
}

#[test]
fn the_root_filesystem_is_refused_wherever_it_is_mounted() {
    let reason =
        "is the root filesystem: with it frozen, nothing on this host is sure to run the post-script";
    for (name, path) in [("al2023", "/"), ("database", "/srv/export"), ("btrfs", "/home")] {
        assert_eq!(refusal(&Rules::default(), name, path), Some(format!("{path} {reason}")));
    }
}

#[test]
fn the_root_filesystem_is_allowed_when_asked_for() {
    let rules = Rules { allow_root: true, ..Rules::default() };
    assert_eq!(refusal(&rules, "al2023", "/"), None);
}

#[test]
fn an_installed_ssm_agent_refuses_the_root_filesystem_even_when_it_is_allowed() {
    let ssm_directories = SSM.map(PathBuf::from).to_vec();
    let rules = Rules { allow_root: true, ssm_directories, ..Rules::default() };
    let expected =
        "/ carries /var/lib/amazon/ssm of the SSM agent, which could neither report nor run the post-script";
    assert_eq!(refusal(&rules, "al2023", "/").as_deref(), Some(expected));
}

#[test]
fn a_volume_that_carries_a_directory_of_the_ssm_agent_is_refused() {
    for (directory, denied) in [(SSM[0], true), (SSM[1], false)] {
        let rules = Rules { ssm_directories: vec![directory.into()], ..Rules::default() };
        assert_eq!(refusal(&rules, "database", "/var/lib/amazon").is_some(), denied, "{directory}");
    }
}

#[test]
fn a_volume_that_carries_the_agents_own_state_is_refused() {
    let rules = Rules { own_paths: own("/data/quiesced/state"), ..Rules::default() };
    let expected = "/data carries the agent's own state (/data/quiesced/state)";
    assert_eq!(refusal(&rules, "al2023", "/data").as_deref(), Some(expected));
}

#[test]
fn own_paths_are_found_through_bind_mounts_of_the_same_filesystem() {
    let rules = Rules { own_paths: own("/archive/quiesced"), ..Rules::default() };
    assert!(refusal(&rules, "database", "/mnt/order archive\t\\old").is_some());
}

#[test]
fn an_own_path_that_cannot_be_placed_may_lie_anywhere() {
    let rules = Rules { own_paths: own("relative/state"), ..Rules::default() };
    assert!(refusal(&rules, "al2023", "/data").is_some());
}

#[test]
fn a_volume_with_a_swap_file_is_refused() {
    let rules = Rules { swap_files: swap_files(&root("database")).unwrap(), ..Rules::default() };
    let expected = "/mnt/swap space carries the swap file /mnt/swap space/file, which must stay writable";
    assert_eq!(refusal(&rules, "database", "/mnt/swap space").as_deref(), Some(expected));
    assert_eq!(refusal(&rules, "database", "/srv/db"), None);
}

#[test]
fn a_filesystem_that_turned_read_only_is_refused_but_not_a_read_only_bind_mount() {
    let expected = "/mnt/failed is read-only: there is nothing to hold still, or an error made it so";
    assert_eq!(refusal(&Rules::default(), "database", "/mnt/failed").as_deref(), Some(expected));
    assert_eq!(refusal(&Rules::default(), "database", "/archive"), None);
}

#[test]
fn a_type_that_cannot_be_frozen_is_refused_before_anything_else() {
    for (name, path, expected) in [
        ("database", "/mnt/reports", Unfreezable::Network),
        ("database", "/mnt/bucket", Unfreezable::Fuse),
        ("database", "/mnt/scratch", Unfreezable::Memory),
        ("al2023", "/proc", Unfreezable::Pseudo),
        ("al2023", "/boot/efi", Unfreezable::NoFreeze),
        ("containers", "/var/lib/docker/overlay2/4d1e/merged/etc", Unfreezable::Stacked),
    ] {
        let mounts = host(name);
        let denial = Rules { own_paths: own(path), ..Rules::default() }.denial(&mounts, on(&mounts, path));
        assert!(matches!(denial, Some(Denial::Kind { why, .. }) if why == expected), "{path}: {denial:?}");
    }
}

#[test]
fn a_refusal_of_a_type_names_mount_type_and_reason() {
    let expected =
        "/mnt/bucket is fuse.mountpoint-s3: it is served by a process, which a freeze may block for good";
    assert_eq!(refusal(&Rules::default(), "database", "/mnt/bucket").as_deref(), Some(expected));
}

#[test]
fn every_refusal_says_what_to_do() {
    let rules = Rules { own_paths: own("/data"), ssm_directories: vec![SSM[0].into()], ..Rules::default() };
    for (name, path) in
        [("al2023", "/"), ("al2023", "/data"), ("database", "/var/lib/amazon"), ("al2023", "/sys")]
    {
        let mounts = host(name);
        let denial = rules.denial(&mounts, on(&mounts, path)).unwrap();
        assert!(!denial.hint().is_empty(), "{denial}");
    }
}
