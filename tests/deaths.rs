//! Whatever dies in the window, everything is thawed within two seconds, no lock is left, and nobody claims success.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{
    ExecHook, SOON, expect, freezing, frozen, id, is_idle, last, start, status, wait_until_idle,
    wait_until_thawed,
};
use quiesced_bed::agent::{Agent, AgentOptions, RunningCli, Signal};
use quiesced_bed::{Bed, Fs, MIB, Volume, require_root, wait_until};

/// Two volumes, a database on the first, an exec hook, and an agent that holds all of them.
struct Scene {
    // Dropped first: an agent that has gone holds nothing on the bed.
    agent: Agent,
    hook: ExecHook,
    mounts: [PathBuf; 2],
    volumes: [Volume; 2],
    database: PathBuf,
    bed: Bed,
}

impl Scene {
    fn new(more: &str) -> Self {
        let bed = Bed::new().unwrap();
        let volumes = [("data", Fs::Ext4, 100 * MIB), ("logs", Fs::Xfs, 320 * MIB)]
            .map(|(name, fs, size)| bed.host_volume(name, fs, size).unwrap());
        let [data, logs] = volumes.clone().map(|volume| volume.mount_point);
        let database = data.join("ledger.db");
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER)").unwrap();
        drop(connection);
        let hook = ExecHook::new();
        let config = format!(
            "{more}\n[hook.ledger.sqlite]\ndatabases = [{database:?}]\n{}\n{}",
            hook.table("queue", "exit 0", &format!("data = [{logs:?}]")),
            freezing(&[&data, &logs])
        );
        let agent = start(AgentOptions::configured(&config));
        Self { agent, hook, mounts: [data, logs], volumes, database, bed }
    }

    fn hold(&self, digit: u8) {
        expect(0, &self.agent.pre_script(&id(digit)).unwrap());
        assert!(self.mounts.iter().all(|mount| frozen(mount)), "pre-script claims what is not so");
    }

    /// Makes the idle agent read one more file.
    fn reconfigure(&self, text: &str) {
        self.agent.write_fragment("60-more.toml", text).unwrap();
        self.agent.signal(Signal::SIGHUP);
        let read = || self.agent.log().contains("was read again");
        wait_until("the configuration is read again", SOON, read).unwrap();
    }

    /// A pre-script that is under way: its hooks are being quiesced.
    fn start_pre(&self, digit: u8) -> RunningCli {
        let pre = self.agent.start_cli(["pre-script", "--execution-id", &id(digit)]).unwrap();
        let quiescing = || status(&self.agent)["session"]["phase"] == "quiescing";
        wait_until("its hooks are being quiesced", SOON, quiescing).unwrap();
        pre
    }

    fn wait_until_thawed(&self) {
        wait_until_thawed(&[&self.mounts[0], &self.mounts[1]]);
    }

    /// Another process can write to the database: no lock of ours is left.
    fn assert_unlocked(&self) {
        let written = || {
            let command = "PRAGMA busy_timeout = 1000; INSERT INTO t VALUES (1)";
            let status = std::process::Command::new("sqlite3").arg(&self.database).arg(command).status();
            status.expect("sqlite3 is installed").success()
        };
        wait_until("the database is unlocked", SOON, written).unwrap();
    }
}

#[test]
fn when_the_agent_is_killed_everything_is_thawed_and_post_is_203() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    scene.hold(1);
    scene.agent.kill();
    scene.wait_until_thawed();
    scene.assert_unlocked();
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    assert_eq!(scene.hook.resumed(), 1, "what outlived the agent is undone");
    scene.agent.restart().unwrap();
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
    scene.hold(2);
    expect(0, &scene.agent.post_script(&id(2)).unwrap());
}

#[test]
fn when_the_guardian_is_killed_the_agent_thaws_at_once_and_post_is_203() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.hold(1);
    kill(scene.agent.guardian().unwrap(), Signal::SIGKILL);
    scene.wait_until_thawed();
    wait_until_idle(&scene.agent);
    scene.assert_unlocked();
    assert_eq!(scene.hook.resumed(), 1);
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
    assert_eq!(last(&scene.agent)["verdict"], "crash-consistent");
    scene.hold(2);
    expect(0, &scene.agent.post_script(&id(2)).unwrap());
}

#[test]
fn a_command_that_outlives_the_agent_cannot_quiesce_after_the_application_was_resumed() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    let pid_file = scene.hook.directory().join("pid");
    let quiesce = format!("echo $$ > {}; sleep 60; echo quiesced", pid_file.display());
    scene.reconfigure(&scene.hook.table("queue", &quiesce, ""));
    let pre = scene.start_pre(1);
    let pid = || std::fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
    wait_until("its command runs", SOON, || !pid().is_empty()).unwrap();
    scene.agent.kill();
    assert_ne!(pre.wait().unwrap().code, Some(0));
    let runs = || std::path::Path::new("/proc").join(pid()).exists();
    assert!(runs(), "nothing is shown by a command that has ended");
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    assert_eq!(scene.hook.resumed(), 1);
    wait_until("the command has ended", SOON, || !runs()).unwrap();
    scene.assert_unlocked();
}

#[test]
fn when_both_are_killed_recover_thaws_what_the_journal_lists_and_nothing_else() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    let foreign = scene.bed.host_volume("foreign", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    quiesced_bed::volumes::freeze(&foreign).unwrap();
    scene.hold(1);
    let guardian = scene.agent.guardian().unwrap();
    // Stopped first, so that it cannot thaw between the two kills.
    kill(guardian, Signal::SIGSTOP);
    scene.agent.kill();
    kill(guardian, Signal::SIGKILL);
    assert!(
        frozen(&scene.mounts[0]) && frozen(&scene.mounts[1]),
        "somebody was quicker, so nothing is shown"
    );
    let recovered = scene.agent.cli(["recover"]).unwrap();
    expect(0, &recovered);
    assert!(!frozen(&scene.mounts[0]) && !frozen(&scene.mounts[1]), "{}", recovered.stdout);
    assert!(frozen(&foreign), "what somebody else has frozen is not ours to thaw");
    scene.assert_unlocked();
    assert_eq!(scene.hook.resumed(), 1);
    let again = scene.agent.cli(["recover"]).unwrap();
    assert_eq!(again.stdout, "nothing was held\n");
    quiesced_bed::volumes::thaw(&foreign).unwrap();
}

#[test]
fn a_frozen_filesystem_that_was_unmounted_is_not_called_released() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    // Without a probe, which would sleep on the filesystem and keep it busy.
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    let guardian = scene.agent.guardian().unwrap();
    kill(guardian, Signal::SIGSTOP);
    scene.agent.kill();
    kill(guardian, Signal::SIGKILL);
    let device = scene.volumes[1].device.clone();
    let unmount = || scene.bed.unmount(&scene.mounts[1]).is_ok();
    wait_until("the dead have let go of it", SOON, unmount).unwrap();
    let recovered = scene.agent.cli(["recover"]).unwrap();
    expect(1, &recovered);
    assert!(recovered.stdout.contains("cannot be reached"), "{}", recovered.stdout);
    assert!(!frozen(&scene.mounts[0]), "the other one is thawed all the same");
    let mounted = std::process::Command::new("mount").args([&device, &scene.mounts[1]]).status().unwrap();
    assert!(mounted.success());
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    assert!(!frozen(&scene.mounts[1]));
}

#[test]
fn the_start_of_an_agent_releases_what_another_one_left() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    scene.hold(1);
    let guardian = scene.agent.guardian().unwrap();
    kill(guardian, Signal::SIGSTOP);
    scene.agent.kill();
    kill(guardian, Signal::SIGKILL);
    scene.agent.restart().unwrap();
    assert!(!frozen(&scene.mounts[0]) && !frozen(&scene.mounts[1]));
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn when_the_lease_ends_everything_is_released_and_post_is_203_for_good() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("[agent]\nlease = \"6s\"\npre_script_budget = \"5s\"");
    scene.hold(1);
    quiesced_bed::wait_until("the lease has ended", Duration::from_secs(12), || is_idle(&scene.agent))
        .unwrap();
    scene.wait_until_thawed();
    scene.assert_unlocked();
    assert_eq!(scene.hook.resumed(), 1);
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn when_the_agent_is_stopped_the_guardian_ends_the_lease() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("[agent]\nlease = \"6s\"\npre_script_budget = \"5s\"");
    scene.hold(1);
    scene.agent.signal(Signal::SIGSTOP);
    let thawed = || !scene.mounts.iter().any(|mount| frozen(mount));
    wait_until("the guardian thaws", Duration::from_secs(12), thawed).unwrap();
    scene.agent.signal(Signal::SIGCONT);
    wait_until_idle(&scene.agent);
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn when_the_guardian_is_stopped_the_agent_thaws_beside_it() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.hold(1);
    let guardian = scene.agent.guardian().unwrap();
    kill(guardian, Signal::SIGSTOP);
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
    scene.wait_until_thawed();
}

#[test]
fn what_somebody_else_thawed_is_not_taken_for_our_own_thaw_beside_a_stopped_guardian() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.hold(1);
    kill(scene.agent.guardian().unwrap(), Signal::SIGSTOP);
    quiesced_bed::volumes::thaw(&scene.mounts[0]).unwrap();
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(203, &post);
    let reason = format!("somebody else thawed {} inside the window", scene.mounts[0].display());
    assert!(post.stdout.contains(&reason), "{}", post.stdout);
    assert!(!post.stdout.contains("could not be released"), "{}", post.stdout);
    scene.wait_until_thawed();
    assert_eq!(status(&scene.agent)["residue"], serde_json::json!([]));
}

#[test]
fn sigterm_releases_everything_and_then_ends_the_agent_with_0() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    scene.hold(1);
    scene.agent.signal(Signal::SIGTERM);
    let ended = scene.agent.wait_exit(SOON).expect("it ends");
    assert_eq!(ended.code(), Some(0));
    assert!(!frozen(&scene.mounts[0]) && !frozen(&scene.mounts[1]));
    assert_eq!(scene.hook.resumed(), 1);
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn sigterm_in_the_middle_of_a_pre_script_unwinds_it_and_it_has_failed() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    scene.reconfigure(&scene.hook.table("queue", "sleep 4", ""));
    let pre = scene.start_pre(1);
    scene.agent.signal(Signal::SIGTERM);
    expect(201, &pre.wait().unwrap());
    assert_eq!(scene.agent.wait_exit(SOON).expect("it ends").code(), Some(0));
    assert_eq!(scene.hook.resumed(), 1);
    scene.assert_unlocked();
}

#[test]
fn a_configuration_with_errors_changes_nothing() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.agent.write_fragment("60-typo.toml", "[agent]\nleese = \"5s\"\n").unwrap();
    scene.agent.signal(Signal::SIGHUP);
    wait_until("it is refused", SOON, || scene.agent.log().contains("stays in force")).unwrap();
    scene.hold(1);
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
}

#[test]
fn a_client_that_is_killed_has_given_up_and_its_pre_script_unwinds() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.reconfigure(&scene.hook.table("queue", "sleep 4", ""));
    scene.start_pre(1).kill();
    wait_until_idle(&scene.agent);
    assert_eq!(scene.hook.resumed(), 1);
    assert_eq!(last(&scene.agent)["ending"], "client-gone");
    scene.assert_unlocked();
}

#[test]
fn the_emergency_exit_works_with_the_agent_and_without() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new("");
    scene.hold(1);
    expect(0, &scene.agent.cli(["thaw", "--all"]).unwrap());
    assert!(!frozen(&scene.mounts[0]) && !frozen(&scene.mounts[1]));
    expect(203, &scene.agent.post_script(&id(1)).unwrap());
    scene.hold(2);
    let guardian = scene.agent.guardian().unwrap();
    kill(guardian, Signal::SIGSTOP);
    scene.agent.kill();
    kill(guardian, Signal::SIGKILL);
    expect(0, &scene.agent.cli(["thaw", "--all"]).unwrap());
    assert!(!frozen(&scene.mounts[0]) && !frozen(&scene.mounts[1]));
}

#[test]
fn the_configuration_is_read_again_only_when_the_session_has_ended() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("");
    scene.hold(1);
    scene.agent.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(300));
    expect(0, &scene.agent.post_script(&id(1)).unwrap());
    assert!(scene.agent.log().contains("not read again while a session is open"), "{}", scene.agent.log());
    let read = || scene.agent.log().contains("the configuration was read again");
    wait_until("it is read when the session has ended", SOON, read).unwrap();
}

fn kill(pid: i32, signal: Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    // SIGSTOP takes effect a moment later.
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn a_command_does_not_wait_for_ever_for_an_agent_that_is_stopped() {
    let agent = start(AgentOptions::configured(""));
    agent.signal(Signal::SIGSTOP);
    let status = agent.cli(["status"]).unwrap();
    agent.signal(Signal::SIGCONT);
    expect(1, &status);
    assert!(status.stderr.contains("has not answered within 10 s"), "{}", status.stderr);
}
