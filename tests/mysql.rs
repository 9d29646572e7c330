//! MySQL with its data on one volume, its redo log and its binary log on another, under load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{Client, SOON, expect, frozen, id, last, start, wait_until_idle, wait_until_thawed};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::servers::{Mysql, require_mysql};
use quiesced_bed::tool::Tool;
use quiesced_bed::{Bed, Fs, MIB, Volume, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A row that was there before, in each table.
const CANARY: &str = "1000000";

/// What keeps a session with a statement.
const LONG: &str = "SELECT SLEEP(60) FROM d.t LIMIT 1";

struct Scene {
    // Dropped first: an agent that has gone holds nothing on the bed.
    agent: Agent,
    clients: Vec<Client>,
    tables: Vec<&'static str>,
    server: Mysql,
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

fn options(log: &Volume) -> [String; 3] {
    let at = log.mount_point.display();
    [
        format!("--log-bin={at}/binlog/log"),
        format!("--innodb-log-group-home-dir={at}/redo"),
        "--server-id=2".to_owned(),
    ]
}

/// A hook's own keys, after those of the server.
fn config(server: &Mysql, more: &str) -> String {
    format!("[hook.orders.mysql]\nhost = {:?}\nuser = \"root\"\n{more}", server.socket())
}

impl Scene {
    /// With tables of these engines, `t` and `m`, and a client that writes into them.
    fn new(engines: &[&str], more: &str) -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.volume("data", Fs::Ext4, 768 * MIB).unwrap();
        let log = bed.volume("log", Fs::Xfs, 512 * MIB).unwrap();
        folder(&log, "binlog");
        folder(&log, "redo");
        let main = folder(&data, "main");
        let server = Mysql::new(Some(&main), &options(&log).each_ref().map(String::as_str))
            .unwrap_or_else(|error| panic!("{error}"));
        server.sql("CREATE DATABASE d").unwrap();
        let tables: Vec<&str> = ["d.t", "d.m"][..engines.len()].to_vec();
        for (table, engine) in tables.iter().zip(engines) {
            let define = format!(
                "CREATE TABLE {table} (n INT AUTO_INCREMENT PRIMARY KEY, word CHAR(8) DEFAULT 'load') ENGINE = {engine}; \
                 INSERT INTO {table} VALUES ({CANARY}, 'canary'); ALTER TABLE {table} AUTO_INCREMENT = 1000001"
            );
            server.sql(&define).unwrap();
        }
        let agent = start(AgentOptions::configured(&config(&server, more)));
        let mut scene = Self { agent, clients: Vec::new(), tables, server, data, log, bed };
        scene.load();
        scene
    }

    /// Begins to write one row after the other into each table.
    fn load(&mut self) {
        let line: String =
            self.tables.iter().map(|table| format!("INSERT INTO {table} () VALUES ();")).collect();
        let script = self.bed.directory().join("load.sql");
        std::fs::write(&script, format!("{line}\n").repeat(200_000)).unwrap();
        let mut client = self.server.client("mysql");
        self.clients.push(Client::start(client.stdin(std::fs::File::open(script).unwrap())));
        wait_until("there is load", LIMIT, || self.rows()[0] > 200).unwrap();
    }

    /// Begins a statement.
    fn begin(&mut self, statement: &str) {
        let mut client = self.server.client("mysql");
        self.clients.push(Client::start(client.args(["-e", statement]).stdin(Stdio::null())));
    }

    fn rows(&self) -> Vec<u64> {
        rows(&self.server, &self.tables)
    }

    /// The clients go on to write.
    fn wait_for_writers(&self) {
        let before = self.rows()[0];
        wait_until("the load goes on", SOON, || self.rows()[0] > before + 20).unwrap();
    }

    fn mounts(&self) -> [&Path; 2] {
        [&self.data.mount_point, &self.log.mount_point]
    }

    fn hold(&self) {
        expect(0, &self.agent.pre_script(&id(1)).unwrap());
        assert!(self.mounts().into_iter().all(frozen));
    }

    /// Snapshots of the two volumes, one after the other.
    fn staggered(&self) -> [Volume; 2] {
        let data = self.bed.snapshot_volume(&self.data).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let log = self.bed.snapshot_volume(&self.log).unwrap();
        [data, log].map(|image| self.bed.restore(&image).unwrap())
    }

    /// A server on clones of the two volumes, and everything in it is in order.
    fn restored(&self, [data, log]: &[Volume; 2]) -> Mysql {
        let index = log.mount_point.join("binlog/log.index");
        // It names the files by where they were.
        let (old, new) = (self.log.mount_point.display().to_string(), log.mount_point.display().to_string());
        std::fs::write(&index, std::fs::read_to_string(&index).unwrap().replace(&old, &new)).unwrap();
        let main = data.mount_point.join("main");
        let copy = Mysql::restored(&main, &options(log).each_ref().map(String::as_str));
        let copy = copy.unwrap_or_else(|error| panic!("{error}"));
        assert!(!copy.log().contains("[ERROR]"), "{}", copy.log());
        copy.check().unwrap();
        for table in &self.tables {
            let found = copy.sql(&format!("SELECT word FROM {table} WHERE n = {CANARY}")).unwrap();
            assert_eq!(found, "canary", "{table}");
        }
        copy
    }
}

fn rows(server: &Mysql, tables: &[&str]) -> Vec<u64> {
    let count = |table: &&str| server.sql(&format!("SELECT COUNT(*) FROM {table}")).unwrap().parse().unwrap();
    tables.iter().map(count).collect()
}

#[test]
fn what_is_restored_from_staggered_snapshots_is_exactly_what_was_held() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    let scene = Scene::new(&["InnoDB", "MyISAM"], "");
    scene.hold();
    let held = scene.rows();
    let clones = scene.staggered();
    assert_eq!(scene.rows(), held, "readers go on, and writers wait");
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
    let report = last(&scene.agent);
    assert_eq!(report["plan"]["filesystems"].as_array().unwrap().len(), 2);
    let steps = report["steps"].as_array().unwrap();
    let proof = steps.iter().find(|step| step["step"] == "verify").unwrap()["note"].as_str().unwrap();
    assert!(proof.contains("BACKUP LOCK, COMMIT, GLOBAL") && proof.contains("taken at log.0000"), "{proof}");
    scene.wait_for_writers();
    let copy = scene.restored(&clones);
    assert_eq!(rows(&copy, &scene.tables), held);
}

#[test]
fn without_a_read_lock_every_row_that_was_acknowledged_is_restored_from_staggered_snapshots() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    let scene = Scene::new(&["InnoDB"], "");
    scene.hold();
    let held = scene.rows();
    let clones = scene.staggered();
    let post = scene.agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
    scene.wait_for_writers();
    let copy = scene.restored(&clones);
    let found = rows(&copy, &scene.tables)[0];
    // One more may have been on its way.
    assert!(found >= held[0] && found <= held[0] + 1, "{found} of {}", held[0]);
}

#[test]
fn when_the_lease_ends_or_the_agent_is_killed_writers_go_on_and_post_is_203() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    for is_killed in [false, true] {
        let mut scene = Scene::new(
            &["InnoDB", "MyISAM"],
            "timeout = \"4s\"\n[agent]\nlease = \"5s\"\npre_script_budget = \"4s\"\n",
        );
        scene.hold();
        if is_killed {
            scene.agent.kill();
        }
        wait_until_thawed(&scene.mounts());
        scene.wait_for_writers();
        expect(203, &scene.agent.post_script(&id(1)).unwrap());
    }
}

#[test]
fn when_its_connection_is_ended_in_the_window_post_is_203() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    for engines in [&["InnoDB"][..], &["InnoDB", "MyISAM"]] {
        let scene = Scene::new(engines, "");
        scene.hold();
        let holder = "SELECT DISTINCT PROCESSLIST_ID FROM performance_schema.metadata_locks JOIN performance_schema.threads \
                      ON THREAD_ID = OWNER_THREAD_ID WHERE OBJECT_TYPE = 'BACKUP LOCK' AND LOCK_DURATION = 'EXPLICIT'";
        let holder = scene.server.sql(holder).unwrap();
        scene.server.sql(&format!("KILL {holder}")).unwrap();
        let post = scene.agent.post_script(&id(1)).unwrap();
        expect(203, &post);
        assert!(post.stdout.contains("was not held"), "{}", post.stdout);
        scene.wait_for_writers();
    }
}

#[test]
fn a_statement_of_a_minute_makes_pre_fail_and_keeps_nobody_waiting() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    let mut scene = Scene::new(&["InnoDB", "MyISAM"], "timeout = \"4s\"\n");
    scene.begin(LONG);
    std::thread::sleep(Duration::from_secs(3));
    let pre = scene.agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    let told = format!("{}{}", pre.stdout, pre.stderr);
    assert!(told.contains("has run a statement of user root") && told.contains("KILL QUERY"), "{told}");
    wait_until_idle(&scene.agent);
    scene.wait_for_writers();
    scene.agent.write_fragment("60-more.toml", "[hook.orders.mysql]\nkill_selects = true\n").unwrap();
    scene.agent.signal(quiesced_bed::agent::Signal::SIGHUP);
    wait_until("it is read again", SOON, || scene.agent.log().contains("was read again")).unwrap();
    expect(0, &scene.agent.pre_script(&id(2)).unwrap());
    expect(0, &scene.agent.post_script(&id(2)).unwrap());
    scene.wait_for_writers();
}

#[test]
fn a_wrong_password_is_206_with_what_mends_it_and_is_never_shown() {
    if !require_mysql("a server of another user") {
        return;
    }
    let server = Mysql::new(None, &[]).unwrap_or_else(|error| panic!("{error}"));
    server.sql("CREATE USER quiesced@localhost IDENTIFIED BY 'r1ght-one'").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let write = |word: &str| {
        std::fs::write(&file, word).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("wr0ng-one");
    let config = format!(
        "[hook.orders.mysql]\nhost = {:?}\npassword = {{ file = {file:?} }}\n[group.default]\nfilesystems = []\n",
        server.socket()
    );
    let agent = start(AgentOptions::configured(&config));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(206, &pre);
    let told = format!("{}{}", pre.stdout, pre.stderr);
    assert!(told.contains("ALTER USER quiesced IDENTIFIED BY"), "{told}");
    write("r1ght-one");
    let pre = agent.pre_script(&id(2)).unwrap();
    expect(206, &pre);
    let told = format!("{told}{}{}", pre.stdout, pre.stderr);
    assert!(told.contains("GRANT RELOAD, PROCESS, BACKUP_ADMIN ON *.* TO 'quiesced'@'localhost'"), "{told}");
    let told = told + &agent.log();
    assert!(!told.contains("wr0ng-one") && !told.contains("r1ght-one"), "{told}");
}

#[test]
fn when_the_agent_is_killed_recover_lets_a_replica_apply_again() {
    if !require_mysql("a freeze of a server") {
        return;
    }
    let mut scene = Scene::new(&["InnoDB"], "mode = \"lock\"\n");
    scene
        .server
        .sql(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'u'; \
             START REPLICA SQL_THREAD",
        )
        .unwrap();
    let applies = |scene: &Scene| {
        scene.server.sql("SELECT SERVICE_STATE FROM performance_schema.replication_applier_status").unwrap()
    };
    scene.hold();
    assert_eq!(applies(&scene), "OFF");
    scene.agent.kill();
    wait_until_thawed(&scene.mounts());
    scene.wait_for_writers();
    assert_eq!(applies(&scene), "OFF");
    expect(0, &scene.agent.cli(["recover"]).unwrap());
    assert_eq!(applies(&scene), "ON");
}
