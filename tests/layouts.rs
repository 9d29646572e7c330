//! Mounts as hosts have them: frozen in the right order, once, or refused with the reason.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{ExecHook, expect, freezing, frozen, id, last, start};
use quiesced_bed::agent::AgentOptions;
use quiesced_bed::volumes::Place;
use quiesced_bed::{Bed, Fs, MIB, VolumeSpec, require_root};
use serde_json::Value;

/// What was frozen, in the order in which it was.
fn frozen_in_order(report: &Value) -> Vec<String> {
    let mut steps: Vec<&Value> =
        report["steps"].as_array().unwrap().iter().filter(|step| step["step"] == "freeze").collect();
    steps.sort_by_key(|step| step["began"].as_u64());
    steps.iter().map(|step| step["subject"].as_str().unwrap().to_owned()).collect()
}

/// Runs one whole session, which must succeed, and returns its report.
fn session(config: &str, held: &[&Path]) -> Value {
    let agent = start(AgentOptions::configured(config));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    assert!(held.iter().all(|path| frozen(path)));
    expect(0, &agent.post_script(&id(1)).unwrap());
    assert!(!held.iter().any(|path| frozen(path)));
    last(&agent)
}

#[test]
fn a_mount_with_a_space_in_its_name_is_frozen() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("two words", Fs::Ext4, 64 * MIB).unwrap();
    let report = session(&freezing(&[&volume.mount_point]), &[&volume.mount_point]);
    assert_eq!(frozen_in_order(&report), [volume.mount_point.display().to_string()]);
}

#[test]
fn a_filesystem_that_is_mounted_twice_is_frozen_once() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let second = bed.bind(&volume.mount_point, "again").unwrap();
    let report = session(&freezing(&[&volume.mount_point, &second]), &[&volume.mount_point, &second]);
    assert_eq!(frozen_in_order(&report).len(), 1);
}

#[test]
fn two_hooks_on_one_filesystem_freeze_it_once() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Xfs, 320 * MIB).unwrap();
    let hooks = ExecHook::new();
    let data = format!("data = [{:?}]", volume.mount_point);
    let config = format!("{}{}", hooks.table("one", "exit 0", &data), hooks.table("two", "exit 0", &data));
    let report = session(&config, &[&volume.mount_point]);
    assert_eq!(frozen_in_order(&report), [volume.mount_point.display().to_string()]);
    assert_eq!(report["verdict"], "application-consistent");
    assert_eq!(hooks.resumed(), 2);
}

#[test]
fn a_mount_inside_another_one_is_frozen_first_and_thawed_last() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let outer = bed.host_volume("outer", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let inside = outer.join("inside");
    std::fs::create_dir(&inside).unwrap();
    let spec = VolumeSpec::new("inner", Fs::Ext4, 64 * MIB).place(Place::Host).mounted_at(&inside);
    let inner = bed.make(&spec).unwrap().mount_point;
    let report = session(&freezing(&[&outer, &inner]), &[&outer, &inner]);
    let [outer, inner] = [outer, inner].map(|path| path.display().to_string());
    assert_eq!(frozen_in_order(&report), [inner.clone(), outer.clone()]);
    let thawed: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["step"] == "thaw")
        .map(|step| step["subject"].as_str().unwrap())
        .collect();
    assert_eq!(thawed, [outer, inner]);
}

#[test]
fn data_behind_a_symbolic_link_lies_where_the_link_leads() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let hook = ExecHook::new();
    let link = hook.directory().join("link");
    std::os::unix::fs::symlink(&volume.mount_point, &link).unwrap();
    let report =
        session(&hook.table("queue", "exit 0", &format!("data = [{link:?}]")), &[&volume.mount_point]);
    assert_eq!(report["verdict"], "application-consistent");
}

#[test]
fn a_filesystem_that_cannot_be_frozen_is_refused_by_name_with_the_reason() {
    if !require_root("mounts") {
        return;
    }
    let bed = Bed::new().unwrap();
    let base = bed.host_volume("base", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let overlay = bed.overlay(&base, "overlay").unwrap();
    let tmpfs = bed.tmpfs("memory").unwrap();
    for (mount_point, kind) in
        [(overlay.as_path(), "overlay"), (tmpfs.as_path(), "tmpfs"), (Path::new("/"), "root")]
    {
        let agent = start(AgentOptions::configured(&freezing(&[mount_point])));
        let refused = agent.pre_script(&id(1)).unwrap();
        expect(206, &refused);
        assert!(refused.stdout.contains(kind) && refused.stdout.contains("hint: "), "{}", refused.stdout);
    }
}

#[test]
fn data_where_nothing_can_be_frozen_is_quiesced_and_the_verdict_says_so() {
    if !require_root("mounts") {
        return;
    }
    let bed = Bed::new().unwrap();
    let tmpfs = bed.tmpfs("memory").unwrap();
    let hook = ExecHook::new();
    let report = session(&hook.table("queue", "exit 0", &format!("data = [{tmpfs:?}]")), &[]);
    assert_eq!(report["verdict"], "crash-consistent");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("hook queue stores") && reasons.contains("tmpfs"), "{reasons}");
    assert_eq!(hook.resumed(), 1);
}

#[test]
fn subvolumes_of_one_btrfs_are_one_filesystem() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("pool", Fs::Btrfs, 256 * MIB).unwrap().mount_point;
    let tool = |arguments: &[&str]| {
        let status =
            std::process::Command::new("btrfs").args(arguments).stdout(std::process::Stdio::null()).status();
        assert!(status.unwrap().success());
    };
    let (first, second) = (volume.join("first"), volume.join("second"));
    tool(&["subvolume", "create", first.to_str().unwrap()]);
    tool(&["subvolume", "create", second.to_str().unwrap()]);
    let mounts = [bed.bind(&first, "first").unwrap(), bed.bind(&second, "second").unwrap()];
    let report = session(&freezing(&[&mounts[0], &mounts[1]]), &[&mounts[0], &mounts[1], &volume]);
    assert_eq!(frozen_in_order(&report).len(), 1);
}
