//! PostgreSQL with its data and its write-ahead log on different volumes, under load: what is restored from snapshots that
//! were taken one after the other has every row that was acknowledged before.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::servers::{Postgres, PostgresBuild, PostgresOptions};
use quiesced_bed::tool::Tool;
use quiesced_bed::{Bed, Fs, MIB, Volume, require_root, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

struct Scene {
    agent: Agent,
    load: Load,
    server: Postgres,
    data: Volume,
    log: Volume,
    bed: Bed,
}

/// Clients that write without pause; each row has a number of its own.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn folder(volume: &Volume, name: &str) -> std::path::PathBuf {
    let path = volume.mount_point.join(name);
    std::fs::create_dir(&path).unwrap();
    Tool::new("chown").arg("postgres:").arg(&path).run().unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    path
}

impl Scene {
    fn new(build: PostgresBuild, mode: &str) -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.volume("data", Fs::Ext4, 512 * MIB).unwrap();
        let log = bed.volume("log", Fs::Xfs, 512 * MIB).unwrap();
        let options = PostgresOptions {
            build,
            data: Some(folder(&data, "main")),
            wal: Some(folder(&log, "wal")),
            settings: vec!["max_wal_size = 64MB", "min_wal_size = 32MB"],
        };
        let server = Postgres::new(&options).unwrap();
        server.sql("CREATE TABLE ledger (n bigserial PRIMARY KEY, filling text)").unwrap();
        let load = load(&server, bed.directory());
        let config = format!(
            "[hook.orders.postgresql]\nhost = {:?}\nuser = \"postgres\"\nmode = \"{mode}\"\n",
            server.socket()
        );
        let agent = start(AgentOptions::configured(&config));
        Self { agent, load, server, data, log, bed }
    }

    fn rows(&self) -> u64 {
        count(&self.server)
    }
}

fn count(server: &Postgres) -> u64 {
    server.sql("SELECT count(*) FROM ledger").unwrap().parse().unwrap()
}

fn load(server: &Postgres, directory: &Path) -> Load {
    let script = directory.join("load.sql");
    std::fs::write(&script, "INSERT INTO ledger (filling) VALUES (repeat('x', 500));\n").unwrap();
    let mut pgbench = Command::new("pgbench");
    pgbench.args(["-n", "-c", "4", "-T", "300", "-U", "postgres", "-h"]).arg(server.socket());
    pgbench.arg("-f").arg(script).arg("postgres");
    Load(pgbench.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A server on the two clones. Its link to the log leads to the living one, so it is made anew.
fn restored(bed: &Bed, build: PostgresBuild, data: &Volume, log: &Volume) -> Postgres {
    let main = data.mount_point.join("main");
    std::fs::remove_file(main.join("pg_wal")).unwrap();
    std::os::unix::fs::symlink(log.mount_point.join("wal"), main.join("pg_wal")).unwrap();
    assert!(main.starts_with(bed.directory()));
    Postgres::restored(build, &main).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn what_is_restored_from_staggered_snapshots_has_every_row_that_was_acknowledged() {
    has_every_row(PostgresBuild::Debian);
}

#[test]
fn what_is_restored_from_staggered_snapshots_has_every_row_that_was_acknowledged_by_version_18() {
    has_every_row(PostgresBuild::V18);
}

fn has_every_row(build: PostgresBuild) {
    if !require_root("a freeze") || !build.is_there() {
        return;
    }
    for mode in ["flush", "backup"] {
        let scene = Scene::new(build, mode);
        wait_until("there is load", LIMIT, || scene.rows() > 500).unwrap();
        let acknowledged = scene.rows();
        expect(0, &scene.agent.pre_script(&id(1)).unwrap());
        let data = scene.bed.snapshot_volume(&scene.data).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let log = scene.bed.snapshot_volume(&scene.log).unwrap();
        let post = scene.agent.post_script(&id(1)).unwrap();
        expect(0, &post);
        assert!(post.stdout.starts_with("application-consistent"), "{}", post.stdout);
        let frozen = last(&scene.agent)["plan"]["filesystems"].as_array().unwrap().len();
        assert_eq!(frozen, 2, "data and write-ahead log");
        let held = scene.rows();
        wait_until("the load goes on", LIMIT, || scene.rows() > held + 100).unwrap();
        drop(scene.load);
        let (data, log) = (scene.bed.restore(&data).unwrap(), scene.bed.restore(&log).unwrap());
        let copy = restored(&scene.bed, build, &data, &log);
        let found = count(&copy);
        assert!(found >= acknowledged, "{mode}: {found} of {acknowledged} rows");
        let log = copy.log();
        assert!(!log.contains("PANIC") && !log.contains("invalid page"), "{log}");
        copy.check().unwrap();
    }
}
