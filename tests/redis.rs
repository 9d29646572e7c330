//! Redis and Valkey with its append-only file on a volume, under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{expect, id, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::servers::{Redis, RedisBuild};
use quiesced_bed::{Bed, Fs, MIB, Volume, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

struct Scene {
    agent: Agent,
    load: Load,
    server: Redis,
    data: Volume,
    bed: Bed,
}

/// A client that counts up without pause.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn new(build: RedisBuild) -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.volume("data", Fs::Xfs, 512 * MIB).unwrap();
        let server = Redis::of(
            build,
            Some(&data.mount_point),
            &["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""],
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(server.socket()).args(["-r", "-1", "INCR", "counter"]);
        let load = Load(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let config = format!("[hook.queue.redis]\nhost = {:?}\n", server.socket());
        let agent = start(AgentOptions::configured(&config));
        Self { agent, load, server, data, bed }
    }

    fn counter(&self) -> u64 {
        counter(&self.server)
    }
}

fn counter(server: &Redis) -> u64 {
    server.ask(&["GET", "counter"]).unwrap().parse().unwrap_or_default()
}

#[test]
fn what_is_restored_is_exactly_what_was_there_while_everything_was_held() {
    if !require_root("a freeze") {
        return;
    }
    for build in RedisBuild::ALL.into_iter().filter(|build| build.is_there()) {
        let scene = Scene::new(build);
        wait_until("there is load", LIMIT, || scene.counter() > 1_000).unwrap();
        expect(0, &scene.agent.pre_script(&id(1)).unwrap());
        let held = scene.counter();
        let snapshot = scene.bed.snapshot_volume(&scene.data).unwrap();
        assert_eq!(scene.counter(), held, "readers go on, and writers wait");
        let post = scene.agent.post_script(&id(1)).unwrap();
        expect(0, &post);
        assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
        wait_until("the load goes on", LIMIT, || scene.counter() > held + 100).unwrap();
        drop(scene.load);
        let restored = scene.bed.restore(&snapshot).unwrap();
        let strict = ["--appendonly", "yes", "--save", "", "--aof-load-truncated", "no"];
        let copy =
            Redis::of(build, Some(&restored.mount_point), &strict).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(counter(&copy), held);
    }
}

#[test]
fn when_the_agent_is_killed_the_pause_is_ended_by_recover() {
    if !require_root("a freeze") {
        return;
    }
    for build in RedisBuild::ALL.into_iter().filter(|build| build.is_there()) {
        let mut scene = Scene::new(build);
        wait_until("there is load", LIMIT, || scene.counter() > 1_000).unwrap();
        expect(0, &scene.agent.pre_script(&id(1)).unwrap());
        scene.agent.kill();
        common::wait_until_thawed(&[&scene.data.mount_point]);
        let held = scene.counter();
        expect(0, &scene.agent.cli(["recover"]).unwrap());
        wait_until("the load goes on", common::SOON, || scene.counter() > held + 100).unwrap();
    }
}
