//! Several engines on one host, in one session.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{SOON, expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::servers::{Mariadb, Postgres, PostgresOptions, Redis};
use quiesced_bed::tool::Tool;
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};

/// PostgreSQL, MariaDB, Redis and SQLite on one volume. The locks that keep writers waiting come after the checkpoint.
struct Scene {
    agent: Agent,
    postgres: Postgres,
    mariadb: Mariadb,
    redis: Redis,
    ledger: PathBuf,
    _bed: Bed,
}

impl Scene {
    fn new() -> Self {
        let bed = Bed::new().unwrap();
        let mount = bed.host_volume("data", Fs::Xfs, 1_024 * MIB).unwrap().mount_point;
        let folder = |name: &str, owner: &str| {
            let path = mount.join(name);
            std::fs::create_dir(&path).unwrap();
            Tool::new("chown").arg(owner).arg(&path).run().unwrap();
            path
        };
        let data = Some(folder("postgres", "postgres:"));
        let postgres = Postgres::new(&PostgresOptions { data, ..PostgresOptions::default() }).unwrap();
        postgres.sql("CREATE TABLE t (n int)").unwrap();
        let mariadb = Mariadb::new(Some(&folder("mariadb", "mysql:")), &[]).unwrap();
        mariadb.sql("CREATE DATABASE d; CREATE TABLE d.t (n INT) ENGINE = InnoDB").unwrap();
        let redis = Redis::new(Some(&folder("redis", "root:")), &["--appendonly", "yes"]).unwrap();
        let ledger = mount.join("ledger.db");
        let connection = rusqlite::Connection::open(&ledger).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER)").unwrap();
        drop(connection);
        let config = format!(
            "[hook.orders.postgresql]\nhost = {:?}\nuser = \"postgres\"\n\n\
             [hook.shop.mariadb]\nhost = {:?}\nuser = \"root\"\nafter = [\"orders\"]\ntimeout = \"3s\"\n\n\
             [hook.queue.redis]\nhost = {:?}\nafter = [\"orders\"]\n\n\
             [hook.ledger.sqlite]\ndatabases = [{ledger:?}]\nafter = [\"orders\"]\n",
            postgres.socket(),
            mariadb.socket(),
            redis.socket(),
        );
        let agent = start(AgentOptions::configured(&config));
        Self { agent, postgres, mariadb, redis, ledger, _bed: bed }
    }

    /// Every engine takes a write.
    fn assert_all_write(&self) {
        self.postgres.sql("INSERT INTO t VALUES (1)").unwrap();
        self.mariadb.sql("SET lock_wait_timeout = 5; INSERT INTO d.t VALUES (1)").unwrap();
        assert_eq!(self.redis.ask(&["SET", "key", "1"]).unwrap(), "OK");
        let connection = rusqlite::Connection::open(&self.ledger).unwrap();
        connection.execute_batch("PRAGMA busy_timeout = 5000; INSERT INTO t VALUES (1)").unwrap();
    }
}

/// Another backup, which has what the hook wants.
struct OtherBackup(Child);

impl OtherBackup {
    fn begin(server: &Mariadb) -> Self {
        let mut client = Command::new("mariadb");
        client.arg("--no-defaults").arg(format!("--socket={}", server.socket().display())).arg("--user=root");
        client.args(["-e", "BACKUP STAGE START; SELECT SLEEP(60)"]);
        let other = Self(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        let held = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(60)'";
        wait_until("another backup holds", SOON, || server.sql(held).is_ok_and(|count| count == "1"))
            .unwrap();
        other
    }

    /// A server does not notice the death of a client that waits for it to sleep.
    fn end(self, server: &Mariadb) {
        let id = server
            .sql("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO = 'SELECT SLEEP(60)'")
            .unwrap();
        server.sql(&format!("KILL {id}")).unwrap();
    }
}

impl Drop for OtherBackup {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn all_are_held_together_and_released_in_reverse() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new();
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
    scene.assert_all_write();
    let report = last(&scene.agent);
    let steps = |kind: &str| -> Vec<String> {
        let all = report["steps"].as_array().unwrap().iter().filter(|step| step["step"] == kind);
        all.map(|step| step["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(steps("quiesce").first().unwrap(), "orders", "what keeps nobody waiting comes first");
    assert_eq!(steps("resume").last().unwrap(), "orders");
    let proved = report["steps"].as_array().unwrap().iter().filter(|step| step["step"] == "verify");
    assert!(proved.clone().all(|step| step["note"].as_str().unwrap().starts_with("proved: ")));
    assert_eq!(proved.count(), 4);
}

#[test]
fn the_failure_of_one_releases_the_others() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new();
    let other = OtherBackup::begin(&scene.mariadb);
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    assert!(pre.stdout.contains("hook shop could not quiesce its application"), "{}", pre.stdout);
    other.end(&scene.mariadb);
    scene.assert_all_write();
    expect(0, &scene.agent.pre_script(&id(2)).unwrap());
    expect(0, &scene.agent.post_script(&id(2)).unwrap());
}

#[test]
fn when_the_agent_is_killed_none_is_held_any_more() {
    if !require_root("a freeze") {
        return;
    }
    let mut scene = Scene::new();
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    scene.agent.kill();
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    scene.assert_all_write();
}
