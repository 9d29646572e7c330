//! PostgreSQL with its data, its write-ahead log and a tablespace on three volumes. A row is written to a table here and
//! to one in the tablespace, in one transaction.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::super::Fallible;
use super::super::judge::{Canary, Database, Table};
use super::super::load::Insert;
use super::recovery::{Archive, has_used_label};
use super::{Application, ByHand, folder, note, rows, token};
use crate::servers::{Postgres, PostgresBuild, PostgresOptions};
use crate::volumes::{Bed, Fs, MIB, Volume};

/// Checkpoints follow each other closely, and files of the log are used again at once: what a busy server does in an
/// hour happens between two snapshots.
const SETTINGS: [&str; 4] =
    ["max_wal_size = 2MB", "min_wal_size = 2MB", "checkpoint_completion_target = 0.5", "autovacuum = on"];

const SCHEMA: &str = "
    CREATE TABLE near (client int, n bigint, filling text, PRIMARY KEY (client, n));
    CREATE TABLE far (client int, n bigint, filling text,
        PRIMARY KEY (client, n) USING INDEX TABLESPACE far) TABLESPACE far;
    CREATE TABLE canary_near AS SELECT 0::bigint AS token;
    CREATE TABLE canary_far TABLESPACE far AS SELECT 0::bigint AS token";

/// A cluster under load.
pub(crate) struct PostgresApplication {
    cluster: Cluster,
    build: PostgresBuild,
    mode: &'static str,
    volumes: [Volume; 3],
    /// Only when copies are recovered from the label of backup mode.
    archive: Option<Archive>,
}

impl PostgresApplication {
    /// Makes it, held in the mode `flush` or `backup`.
    pub(crate) fn new(bed: &Bed, build: PostgresBuild, mode: &'static str) -> Fallible<Self> {
        let data = bed.volume("data", Fs::Ext4, 512 * MIB)?;
        let log = bed.volume("log", Fs::Xfs, 512 * MIB)?;
        let space = bed.volume("space", Fs::Ext4, 256 * MIB)?;
        let server = Postgres::new(&PostgresOptions {
            build,
            data: Some(folder(&data, "main", "postgres")?),
            wal: Some(folder(&log, "wal", "postgres")?),
            settings: SETTINGS.to_vec(),
            wal_segment: Some(1),
        })?;
        note(bed, server.pid())?;
        let location = folder(&space, "far", "postgres")?;
        server.sql(&format!("CREATE TABLESPACE far LOCATION '{}'", location.display()))?;
        server.sql(SCHEMA)?;
        server.sql("CREATE DATABASE shop")?;
        server.sql_in("shop", "CREATE TABLE canary AS SELECT 0::bigint AS token")?;
        Ok(Self { cluster: Cluster(server), build, mode, volumes: [data, log, space], archive: None })
    }

    /// Makes it, held in the mode `backup`; a copy is recovered with the label, from an archive of the log.
    pub(crate) fn with_label(bed: &Bed, build: PostgresBuild) -> Fallible<Self> {
        let mut application = Self::new(bed, build, "backup")?;
        let server = &mut application.cluster.0;
        application.archive = Some(Archive::begin(bed, server)?);
        note(bed, server.pid())?;
        Ok(application)
    }
}

impl Application for PostgresApplication {
    fn database(&self) -> &dyn Database {
        &self.cluster
    }

    fn hook(&self) -> String {
        let socket = self.cluster.0.socket();
        format!(
            "[hook.orders.postgresql]\nhost = {socket:?}\nuser = \"postgres\"\nmode = \"{}\"\n",
            self.mode
        )
    }

    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn is_atomic(&self) -> bool {
        self.mode == "flush"
    }

    fn apart(&self) -> u64 {
        0
    }

    fn client(&self, client: usize) -> (Command, Insert) {
        let insert = move |row| {
            format!(
                "WITH here AS (INSERT INTO near VALUES ({client}, {row}, repeat('x', 800)) RETURNING n) \
                 INSERT INTO far SELECT {client}, n, repeat('y', 800) FROM here RETURNING n;"
            )
        };
        (self.cluster.0.client("postgres"), Box::new(insert))
    }

    fn by_hand(&self) -> ByHand {
        let (quiesce, resume): (&[&str], &[&str]) = if self.mode == "flush" {
            (&["CHECKPOINT;"], &[])
        } else {
            (
                &[
                    "SELECT pg_create_physical_replication_slot('by_hand', true, true);",
                    "SELECT pg_backup_start('by hand', true);",
                ],
                &["SELECT pg_backup_stop(false);", "SELECT pg_drop_replication_slot('by_hand');"],
            )
        };
        let client = self.cluster.0.client("postgres");
        ByHand { client, prepare: &["CHECKPOINT;"], quiesce, resume, say_done: r"\echo done" }
    }

    fn write_canaries(&self, token: u64) -> Fallible<()> {
        let server = &self.cluster.0;
        server
            .sql(&format!("UPDATE canary_near SET token = {token}; UPDATE canary_far SET token = {token}"))?;
        server.sql_in("shop", &format!("UPDATE canary SET token = {token}"))?;
        Ok(())
    }

    /// The links of a copy lead to the living server's volumes, so they are made anew.
    fn restore(&self, bed: &Bed, copies: &[Volume], record: Option<&Path>) -> Fallible<Box<dyn Database>> {
        let [data, log, space] = copies else { return Err("these are not three volumes".into()) };
        let main = data.mount_point.join("main");
        relink(&main.join("pg_wal"), &log.mount_point.join("wal"))?;
        for link in fs::read_dir(main.join("pg_tblspc"))? {
            relink(&link?.path(), &space.mount_point.join("far"))?;
        }
        if let Some(archive) = &self.archive {
            archive.until_complete(&self.cluster.0)?;
            let record = record.ok_or("the agent has kept no label")?;
            archive.recover(&main, record, &self.volumes[2].mount_point, &space.mount_point)?;
        }
        let copy = Postgres::restored(self.build, &main)?;
        note(bed, copy.pid())?;
        if self.archive.is_some() && !has_used_label(&main) {
            return Err("the server has not begun at the label".into());
        }
        Ok(Box::new(Cluster(copy)))
    }
}

fn relink(link: &Path, target: &Path) -> std::io::Result<()> {
    fs::remove_file(link)?;
    symlink(target, link)
}

/// A running server, the living one or that of a copy.
struct Cluster(Postgres);

impl Database for Cluster {
    fn canaries(&self) -> Fallible<Vec<Canary>> {
        let ask = |statement| self.0.sql(statement);
        let near = token(&ask("SELECT token FROM canary_near")?)?;
        let far = token(&ask("SELECT token FROM canary_far")?)?;
        let shop = token(&self.0.sql_in("shop", "SELECT token FROM canary")?)?;
        let log = token(&ask("SELECT pg_current_wal_flush_lsn() - '0/0'")?)?;
        Ok(vec![
            Canary { place: "database postgres", token: near },
            Canary { place: "tablespace far", token: far },
            Canary { place: "database shop", token: shop },
            Canary { place: "the write-ahead log", token: log },
        ])
    }

    fn tables(&self) -> Fallible<Vec<Table>> {
        let of = |name| -> Fallible<Table> {
            let counted = format!("SELECT client, count(*), max(n) FROM {name} GROUP BY client");
            Ok(Table { name, clients: rows(&self.0.sql(&counted)?)? })
        };
        Ok(vec![of("near")?, of("far")?])
    }

    fn check(&self) -> Fallible<()> {
        let log = self.0.log();
        if let Some(line) = log.lines().find(|line| line.contains("PANIC") || line.contains("invalid page")) {
            return Err(line.into());
        }
        Ok(self.0.check()?)
    }
}
