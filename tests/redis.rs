//! Redis and Valkey under load, when the agent dies. What is restored of them is looked at in `cycles.rs`.
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
    _load: Load,
    server: Redis,
    data: Volume,
    _bed: Bed,
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
        Self { agent, _load: load, server, data, _bed: bed }
    }

    fn counter(&self) -> u64 {
        self.server.ask(&["GET", "counter"]).unwrap().parse().unwrap_or_default()
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
