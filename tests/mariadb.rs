//! MariaDB with its data and its binary log on different volumes, under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Client, expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::servers::Mariadb;
use quiesced_bed::tool::Tool;
use quiesced_bed::{Bed, Fs, MIB, Volume, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

struct Scene {
    agent: Agent,
    load: Client,
    server: Mariadb,
    data: Volume,
    log: Volume,
    bed: Bed,
}

fn folder(volume: &Volume, name: &str) -> PathBuf {
    let path = volume.mount_point.join(name);
    std::fs::create_dir(&path).unwrap();
    Tool::new("chown").arg("mysql:").arg(&path).run().unwrap();
    path
}

fn binary_log(log: &Path) -> String {
    format!("--log-bin={}", log.join("binlog/log").display())
}

impl Scene {
    fn new() -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.volume("data", Fs::Ext4, 768 * MIB).unwrap();
        let log = bed.volume("log", Fs::Xfs, 512 * MIB).unwrap();
        folder(&log, "binlog");
        let main = folder(&data, "main");
        let options = [&binary_log(&log.mount_point), "--sync-binlog=1"];
        let server = Mariadb::new(Some(&main), &options).unwrap_or_else(|error| panic!("{error}"));
        server
            .sql("CREATE DATABASE d; CREATE TABLE d.t (n INT AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB; CREATE TABLE d.m (n INT AUTO_INCREMENT PRIMARY KEY) ENGINE = MyISAM")
            .unwrap();
        let load = load(&server, bed.directory());
        let config = format!("[hook.orders.mariadb]\nhost = {:?}\nuser = \"root\"\n", server.socket());
        let agent = start(AgentOptions::configured(&config));
        Self { agent, load, server, data, log, bed }
    }
}

fn rows(server: &Mariadb) -> [u64; 2] {
    ["d.t", "d.m"].map(|table| server.sql(&format!("SELECT COUNT(*) FROM {table}")).unwrap().parse().unwrap())
}

/// A client that writes one row after the other into a table with transactions and one without.
fn load(server: &Mariadb, directory: &Path) -> Client {
    let script = directory.join("load.sql");
    std::fs::write(&script, "INSERT INTO d.t VALUES (); INSERT INTO d.m VALUES ();\n".repeat(200_000))
        .unwrap();
    let mut client = Command::new("mariadb");
    client.arg("--no-defaults").arg(format!("--socket={}", server.socket().display())).arg("--user=root");
    Client::start(client.stdin(std::fs::File::open(script).unwrap()))
}

#[test]
fn what_is_restored_from_staggered_snapshots_is_exactly_what_was_held() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new();
    wait_until("there is load", LIMIT, || rows(&scene.server)[0] > 300).unwrap();
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    let held = rows(&scene.server);
    let data = scene.bed.snapshot_volume(&scene.data).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let log = scene.bed.snapshot_volume(&scene.log).unwrap();
    assert_eq!(rows(&scene.server), held, "readers go on, and writers wait");
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
    assert_eq!(last(&scene.agent)["plan"]["filesystems"].as_array().unwrap().len(), 2);
    wait_until("the load goes on", LIMIT, || rows(&scene.server)[0] > held[0] + 100).unwrap();
    drop(scene.load);
    let (data, log) = (scene.bed.restore(&data).unwrap(), scene.bed.restore(&log).unwrap());
    let main = data.mount_point.join("main");
    let index = log.mount_point.join("binlog/log.index");
    // It names the files by where they were.
    let (old, new) = (scene.log.mount_point.display().to_string(), log.mount_point.display().to_string());
    std::fs::write(&index, std::fs::read_to_string(&index).unwrap().replace(&old, &new)).unwrap();
    let copy =
        Mariadb::restored(&main, &[&binary_log(&log.mount_point)]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rows(&copy), held);
    copy.check().unwrap();
    // What was committed and not flushed would be found as prepared; what was rolled back had never been committed.
    assert!(!copy.log().replace("non-prepared", "").contains("prepared transaction"), "{}", copy.log());
}
