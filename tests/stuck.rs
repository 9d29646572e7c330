//! A FIFREEZE that sleeps: the case in which others hang. It is had for real, with a filesystem in a file on another one
//! that a hook freezes first.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};

use common::{ExecHook, SOON, expect, freezing, frozen, id, start, status, wait_until_idle};
use quiesced_bed::agent::{Agent, AgentOptions, Signal};
use quiesced_bed::volumes::{Place, VolumeSpec, thaw};
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};
use serde_json::json;

struct Scene {
    agent: Agent,
    hook: ExecHook,
    /// Carries `inner`, and is frozen by the hook unless the file `spare` is there.
    outer: PathBuf,
    inner: PathBuf,
    data: PathBuf,
    _bed: Bed,
}

impl Scene {
    fn new() -> Self {
        let bed = Bed::new().unwrap();
        let volume = |name, place: Place| {
            bed.make(&VolumeSpec::new(name, Fs::Ext4, 100 * MIB).place(place)).unwrap().mount_point
        };
        let (outer, data) = (volume("outer", Place::Host), volume("data", Place::Host));
        let inner = volume("inner", Place::Inside(outer.clone()));
        let hook = ExecHook::new();
        let spare = hook.directory().join("spare");
        let quiesce = format!("test -e {spare:?} || fsfreeze --freeze {outer:?}");
        let more = format!("data = [{data:?}]");
        let config = format!(
            "[agent]\npre_script_budget = \"3s\"\n{}\n{}",
            hook.table("outer", &quiesce, &more),
            freezing(&[&inner, &data])
        );
        let agent = start(AgentOptions::configured(&config));
        Self { agent, hook, outer, inner, data, _bed: bed }
    }

    /// Other filesystems are frozen, and this one is not: its freeze is under way.
    fn wait_until_freezing(&self) {
        let freezing = || status(&self.agent)["session"]["phase"] == "freezing";
        wait_until("the filesystems are being frozen", SOON, freezing).unwrap();
    }

    fn assert_works_again(&self) {
        std::fs::write(self.hook.directory().join("spare"), "").unwrap();
        expect(0, &self.agent.pre_script(&id(9)).unwrap());
        expect(0, &self.agent.post_script(&id(9)).unwrap());
    }
}

fn kill(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

fn write_to(mount_point: &Path) {
    std::fs::write(mount_point.join("written"), "after the thaw").unwrap();
}

#[test]
fn a_freeze_that_sleeps_holds_nobody_else_and_is_thawed_as_soon_as_it_returns() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new();
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    assert!(pre.stdout.contains("a freeze of it is still under way"), "{}", pre.stdout);
    assert!(!frozen(&scene.data));
    assert_eq!(scene.hook.resumed(), 1);
    let left = status(&scene.agent)["residue"].clone();
    assert_eq!(left[0]["name"], json!(scene.inner));
    assert_eq!(left.as_array().unwrap().len(), 1);
    expect(206, &scene.agent.pre_script(&id(2)).unwrap());
    thaw(&scene.outer).unwrap();
    let cleared = || status(&scene.agent)["residue"] == json!([]);
    wait_until("the late freeze is thawed", SOON, cleared).unwrap();
    write_to(&scene.inner);
    scene.assert_works_again();
}

#[test]
fn a_freeze_that_returns_after_the_death_of_the_agent_is_thawed_and_hooks_do_not_wait_for_it() {
    if !require_root("a freeze") {
        return;
    }
    for with_guardian in [false, true] {
        let mut scene = Scene::new();
        let pre = scene.agent.start_cli(["pre-script", "--execution-id", &id(1)]).unwrap();
        scene.wait_until_freezing();
        let guardian = scene.agent.guardian().unwrap();
        scene.agent.kill();
        if with_guardian {
            kill(guardian, Signal::SIGKILL);
        }
        assert_ne!(pre.wait().unwrap().code, Some(0));
        let recover = scene.agent.start_cli(["recover"]).unwrap();
        wait_until("the hook is undone", SOON, || scene.hook.resumed() == 1).unwrap();
        assert!(frozen(&scene.outer), "so the freeze still sleeps");
        assert!(!frozen(&scene.data));
        thaw(&scene.outer).unwrap();
        expect(0, &recover.wait().unwrap());
        write_to(&scene.inner);
        scene.agent.restart().unwrap();
        wait_until_idle(&scene.agent);
        expect(203, &scene.agent.post_script(&id(1)).unwrap());
        scene.assert_works_again();
    }
}

#[test]
fn what_an_agent_held_is_released_though_a_thread_of_the_dead_agent_sleeps_on() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new();
    let groups = format!(
        "[group.stuck]\nhooks = []\nfilesystems = [{:?}]\n[group.sound]\nfilesystems = [{:?}]\n",
        scene.inner, scene.data
    );
    scene.agent.write_fragment("60-groups.toml", &groups).unwrap();
    scene.agent.signal(Signal::SIGHUP);
    let read = || scene.agent.log().contains("was read again");
    wait_until("the groups are read", SOON, read).unwrap();
    std::fs::write(scene.hook.directory().join("spare"), "").unwrap();
    std::fs::write(scene.inner.join("dirty"), vec![1; 1 << 20]).unwrap();
    quiesced_bed::volumes::freeze(&scene.outer).unwrap();
    expect(201, &scene.agent.cli(["pre-script", "--group", "stuck"]).unwrap());
    let pid = scene.agent.pid();
    expect(0, &scene.agent.cli(["pre-script", "--execution-id", &id(1), "--group", "sound"]).unwrap());
    kill(pid, Signal::SIGKILL);
    let is_zombie = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    wait_until("the agent is dead", SOON, is_zombie).unwrap();
    assert!(std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count() > 1, "a thread of it sleeps");
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    assert!(!frozen(&scene.data));
    assert_eq!(scene.hook.resumed(), 1);
    thaw(&scene.outer).unwrap();
    scene.agent.kill();
    scene.agent.restart().unwrap();
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
}
