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
fn a_mount_whose_name_the_kernel_must_escape_is_frozen() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    for name in ["two words", r"not\040escaped", "tab\tand\nline"] {
        let volume = bed.host_volume(name, Fs::Ext4, 64 * MIB).unwrap();
        let report = session(&freezing(&[&volume.mount_point]), &[&volume.mount_point]);
        assert_eq!(frozen_in_order(&report), [volume.mount_point.display().to_string()]);
    }
}

#[test]
fn a_filesystem_that_is_mounted_several_times_is_frozen_once() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let first = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let second = bed.bind(&first, "again").unwrap();
    std::fs::create_dir(first.join("folder")).unwrap();
    let part = bed.bind(&first.join("folder"), "part").unwrap();
    for named in [&[&first, &second, &part][..], &[&part]] {
        let named: Vec<&Path> = named.iter().map(|path| path.as_path()).collect();
        let report = session(&freezing(&named), &[&first, &second, &part]);
        assert_eq!(frozen_in_order(&report).len(), 1);
    }
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
fn a_filesystem_in_a_file_is_frozen_before_the_one_that_holds_the_file() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    // By their names and mount points alone, the outer one would come first.
    let outer = bed.host_volume("a-outer", Fs::Xfs, 320 * MIB).unwrap();
    let inside = Place::Inside(outer.mount_point.clone());
    let inner = bed.make(&VolumeSpec::new("inner", Fs::Ext4, 64 * MIB).place(inside)).unwrap();
    std::fs::write(inner.mount_point.join("dirty"), vec![1; 8 * 1024 * 1024]).unwrap();
    let both = [outer.mount_point.as_path(), inner.mount_point.as_path()];
    let report = session(&freezing(&both), &both);
    assert_eq!(
        frozen_in_order(&report),
        [&inner, &outer].map(|volume| volume.mount_point.display().to_string())
    );
}

#[test]
fn a_report_names_the_devices_that_the_kernel_shows_below_a_filesystem() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    // In a file on the bed's pool, which is a btrfs in a file itself.
    let volume = bed.volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let report = session(&freezing(&[&volume.mount_point]), &[&volume.mount_point]);
    let devices = report["plan"]["filesystems"][0]["devices"].as_array().unwrap();
    let upper = &devices[0];
    assert_eq!(Path::new("/dev").join(upper["name"].as_str().unwrap()), volume.device);
    assert_eq!(upper["file"].as_str().unwrap(), volume.image.to_str().unwrap());
    let pool = &devices[1];
    assert_eq!(upper["below"], serde_json::json!([pool["name"]]));
    assert_eq!(pool["file"].as_str().unwrap(), bed.directory().join("pool.img").to_str().unwrap());
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
    let base = bed.host_volume("base", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    for (place, kind) in
        [(bed.tmpfs("memory").unwrap(), "tmpfs"), (bed.overlay(&base, "layers").unwrap(), "overlay")]
    {
        let hook = ExecHook::new();
        let report = session(&hook.table("queue", "exit 0", &format!("data = [{place:?}]")), &[]);
        assert_eq!(report["verdict"], "crash-consistent");
        assert!(frozen_in_order(&report).is_empty());
        let reasons = report["reasons"].to_string();
        assert!(reasons.contains("hook queue stores") && reasons.contains(kind), "{reasons}");
        assert_eq!(hook.resumed(), 1);
    }
}

#[test]
fn what_lies_outside_does_not_keep_the_rest_from_being_frozen() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let tmpfs = bed.tmpfs("memory").unwrap();
    let hook = ExecHook::new();
    let report =
        session(&hook.table("queue", "exit 0", &format!("data = [{volume:?}, {tmpfs:?}]")), &[&volume]);
    assert_eq!(frozen_in_order(&report), [volume.display().to_string()]);
    assert_ne!(report["verdict"], "application-consistent");
}

#[test]
fn subvolumes_of_one_btrfs_are_one_filesystem() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("pool", Fs::Btrfs, 256 * MIB).unwrap();
    let mounts = ["first", "second"].map(|name| {
        let mount_point = bed.mount_point(name);
        std::fs::create_dir(&mount_point).unwrap();
        run("btrfs", &[Path::new("subvolume"), Path::new("create"), &volume.mount_point.join(name)]);
        let options = format!("subvol={name}");
        run("mount", &[Path::new("-o"), Path::new(&options), &volume.device, &mount_point]);
        mount_point
    });
    // Every subvolume has an st_dev of its own, which is none of the table of mounts.
    assert_ne!(device(&mounts[0]), device(&mounts[1]));
    let held = [&*mounts[0], &*mounts[1], &*volume.mount_point];
    assert_eq!(frozen_in_order(&session(&freezing(&held[..2]), &held)).len(), 1);

    let hook = ExecHook::new();
    let data = format!("data = [{:?}, {:?}]", mounts[0], volume.mount_point.join("second"));
    let report = session(&hook.table("queue", "exit 0", &data), &held);
    assert_eq!(frozen_in_order(&report).len(), 1);
    assert_eq!(report["verdict"], "application-consistent");
}

fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap())
}

fn run(program: &str, arguments: &[&Path]) {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_writer_in_another_mount_namespace_is_held_too() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let elsewhere = tempfile::tempdir().unwrap();
    let script = "mount --bind \"$1\" \"$2\" && umount \"$1\" && cd \"$2\" && echo there && read go && echo told > told";
    let mut writer = std::process::Command::new("unshare");
    writer.args(["--mount", "sh", "-c", script, "sh"]).arg(&data).arg(elsewhere.path());
    let mut writer =
        writer.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut there = [0; 6];
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut there).unwrap();
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    std::io::Write::write_all(writer.stdin.as_mut().unwrap(), b"go\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!data.join("told").exists(), "it waits");
    expect(0, &agent.post_script(&id(1)).unwrap());
    assert!(writer.wait().unwrap().success());
    assert_eq!(std::fs::read_to_string(data.join("told")).unwrap(), "told\n");
}
