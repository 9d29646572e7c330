//! What cannot be held fails the pre-script cleanly: everything else is thawed, and every hook is resumed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{ExecHook, SOON, expect, freezing, frozen, id, is_idle, start, status, wait_until_idle};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};

struct Scene {
    agent: Agent,
    hook: ExecHook,
    mounts: Vec<PathBuf>,
    bed: Bed,
}

impl Scene {
    /// Two volumes of which the first one carries a hook's data; `quiesce` is the hook's command.
    fn new(quiesce: &str, more: &str) -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
        let logs = bed.host_volume("logs", Fs::Xfs, 320 * MIB).unwrap().mount_point;
        let hook = ExecHook::new();
        let table = hook.table("queue", quiesce, &format!("data = [{data:?}]\n{more}"));
        let agent = start(AgentOptions::configured(&format!("{table}\n{}", freezing(&[&data, &logs]))));
        Self { agent, hook, mounts: vec![data, logs], bed }
    }

    fn assert_released(&self) {
        wait_until_idle(&self.agent);
        assert!(!self.mounts.iter().any(|mount| frozen(mount)), "something of ours is left frozen");
    }

    fn data(&self) -> &Path {
        &self.mounts[0]
    }

    fn logs(&self) -> &Path {
        &self.mounts[1]
    }
}

#[test]
fn a_target_that_somebody_else_has_frozen_is_204_and_theirs_stays_frozen() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0", "");
    quiesced_bed::volumes::freeze(scene.logs()).unwrap();
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(204, &pre);
    wait_until_idle(&scene.agent);
    assert!(!frozen(scene.data()), "ours is thawed");
    assert!(frozen(scene.logs()), "theirs is not");
    assert_eq!(scene.hook.resumed(), 0, "it is noticed before anything is asked of the hook");
    quiesced_bed::volumes::thaw(scene.logs()).unwrap();
    expect(0, &scene.agent.pre_script(&id(2)).unwrap());
    expect(0, &scene.agent.post_script(&id(2)).unwrap());
}

#[test]
fn a_database_on_a_filesystem_that_somebody_else_has_frozen_does_not_hang_the_agent() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let ledger = data.join("ledger.db");
    let connection = rusqlite::Connection::open(&ledger).unwrap();
    connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER)").unwrap();
    drop(connection);
    let agent = start(AgentOptions::configured(&format!("[hook.ledger.sqlite]\ndatabases = [{ledger:?}]\n")));
    quiesced_bed::volumes::freeze(&data).unwrap();
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(204, &pre);
    assert!(pre.stdout.contains("takes no writes: somebody has frozen it"), "{}", pre.stdout);
    quiesced_bed::volumes::thaw(&data).unwrap();
    expect(0, &agent.pre_script(&id(2)).unwrap());
    expect(0, &agent.post_script(&id(2)).unwrap());
}

#[test]
fn a_target_that_somebody_else_thaws_in_the_window_is_203() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0", "");
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    quiesced_bed::volumes::thaw(scene.logs()).unwrap();
    std::fs::write(scene.logs().join("written"), "since the thaw").unwrap();
    quiesced_bed::tool::Tool::new("sync").arg("-f").arg(scene.logs()).run().unwrap();
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(203, &post);
    assert!(post.stdout.contains("somebody else thawed"), "{}", post.stdout);
    assert!(
        !post.stdout.contains("sector(s)"),
        "what was written then was written with good reason:\n{}",
        post.stdout
    );
    scene.assert_released();
}

#[test]
fn what_is_written_past_a_frozen_filesystem_to_its_device_is_203() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let agent = start(AgentOptions::configured(&freezing(&[&volume.mount_point])));
    for (number, is_disturbed) in [(1, false), (2, true)] {
        expect(0, &agent.pre_script(&id(number)).unwrap());
        if is_disturbed {
            rewrite_first_block(&volume.device);
        }
        let post = agent.post_script(&id(number)).unwrap();
        expect(if is_disturbed { 203 } else { 0 }, &post);
        let reason = format!("8 sector(s) were written to the device of {}", volume.mount_point.display());
        assert_eq!(post.stdout.contains(&reason), is_disturbed, "{}", post.stdout);
    }
}

/// Writes what is there already: the boot sector, which ext4 leaves alone.
fn rewrite_first_block(device: &Path) {
    let file = std::fs::File::options().read(true).write(true).open(device).unwrap();
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, 0).unwrap();
    file.write_all_at(&block, 0).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_read_only_target_is_206_and_nothing_is_asked_of_the_hooks() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0", "");
    scene.bed.remount_read_only(scene.logs()).unwrap();
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(206, &pre);
    assert!(pre.stdout.contains("read-only"), "{}", pre.stdout);
    assert!(is_idle(&scene.agent) && !frozen(scene.data()));
    assert_eq!(scene.hook.resumed(), 0);
}

#[test]
fn a_target_that_is_not_mounted_is_206_and_the_parent_is_not_frozen_in_its_place() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0", "");
    scene.bed.unmount(scene.logs()).unwrap();
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(206, &pre);
    assert!(pre.stdout.contains("is not a mount point"), "{}", pre.stdout);
    assert!(is_idle(&scene.agent) && !frozen(scene.data()));
}

#[test]
fn an_open_session_keeps_its_targets_mounted() {
    if !require_root("a freeze") {
        return;
    }
    // The hook tries to unmount a target after it was opened, and before it is frozen.
    let scene = Scene::new("umount \"$(cat \"${0%/*}/logs\")\" 2>\"${0%/*}/umount\"; exit 0", "");
    std::fs::write(scene.hook.directory().join("logs"), scene.logs().display().to_string()).unwrap();
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    let refused = std::fs::read_to_string(scene.hook.directory().join("umount")).unwrap();
    assert!(refused.contains("busy"), "{refused}");
    assert!(frozen(scene.logs()));
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn a_filesystem_that_is_hidden_after_it_was_opened_is_frozen_all_the_same() {
    if !require_root("a freeze") {
        return;
    }
    // A lazy unmount hides it: what the path leads to now is the parent, which must not be frozen.
    let scene = Scene::new("umount --lazy \"$(cat \"${0%/*}/logs\")\"", "");
    let filesystem = std::fs::metadata(scene.logs()).unwrap().dev();
    std::fs::write(scene.hook.directory().join("logs"), scene.logs().display().to_string()).unwrap();
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    assert!(!frozen(scene.logs()), "the parent shows through, and it is not ours");
    assert!(frozen(scene.data()));
    let hidden = opened_by(scene.agent.guardian().unwrap(), filesystem);
    assert!(frozen(&hidden), "no path leads to it any more, and it was planned");
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
    scene.assert_released();
}

/// A way through /proc to the directory of a filesystem that a process has open.
fn opened_by(pid: i32, filesystem: u64) -> PathBuf {
    let opened = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut opened = opened.map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| found.is_dir() && found.dev() == filesystem)
    };
    opened.find(is_it).expect("the process has it open")
}

/// Hooks that misbehave, each in its own way; what they leave running ends by itself.
const BAD_HOOKS: [(&str, &str); 8] = [
    ("fails", "exit 3"),
    ("hangs", "sleep 20"),
    ("ignores SIGTERM", "trap '' TERM; i=0; while [ $i -lt 20 ]; do sleep 1; i=$((i+1)); done"),
    ("floods its output", "head -c 100000000 /dev/zero; exit 1"),
    ("exits with 0 after its timeout", "trap 'exit 0' TERM; while :; do sleep 0.05; done"),
    ("kills itself", "kill -9 $$"),
    ("fails and leaves a child behind", "sleep 20 & exit 1"),
    ("hangs in a child that has left its group", "setsid sleep 20"),
];

#[test]
fn a_hook_that_misbehaves_is_201_and_its_resume_is_run() {
    if !require_root("a freeze") {
        return;
    }
    for (what, quiesce) in BAD_HOOKS {
        let scene = Scene::new(quiesce, "timeout = \"1s\"");
        let pre = scene.agent.pre_script(&id(1)).unwrap();
        assert_eq!(pre.code, Some(201), "{what}: {}", pre.stdout);
        scene.assert_released();
        assert_eq!(scene.hook.resumed(), 1, "{what}");
        assert!(pre.stdout.contains("hook queue could not quiesce"), "{what}: {}", pre.stdout);
        assert!(status(&scene.agent)["residue"].as_array().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn a_hook_that_leaves_a_child_with_its_output_holds_nothing_up() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("sleep 20 & exit 0", "");
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(0, &pre);
    assert!(pre.took < Duration::from_secs(10), "it was waited for");
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
    scene.assert_released();
    assert_eq!(scene.hook.resumed(), 1);
}

#[test]
fn a_target_that_somebody_freezes_after_it_was_planned_is_204_too() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("fsfreeze --freeze \"$(cat \"${0%/*}/logs\")\"", "");
    std::fs::write(scene.hook.directory().join("logs"), scene.logs().display().to_string()).unwrap();
    expect(204, &scene.agent.pre_script(&id(1)).unwrap());
    wait_until_idle(&scene.agent);
    assert!(!frozen(scene.data()) && frozen(scene.logs()), "only ours is thawed");
    assert_eq!(scene.hook.resumed(), 1);
}

#[test]
fn one_hook_that_fails_calls_the_others_off_and_all_that_were_started_are_resumed() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("sleep 20", "");
    let failing = scene.hook.table("broken", "sleep 0.5; exit 1", "");
    let later = scene.hook.table("later", "exit 0", "after = [\"queue\"]");
    scene.agent.write_fragment("60-more.toml", &format!("{failing}\n{later}")).unwrap();
    scene.agent.signal(quiesced_bed::agent::Signal::SIGHUP);
    wait_until("the configuration is read again", SOON, || scene.agent.log().contains("read again")).unwrap();
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    assert!(pre.took < Duration::from_secs(4), "the hook that hangs was not called off");
    scene.assert_released();
    assert_eq!(scene.hook.resumed(), 2, "the third was never started");
}
