//! MariaDB with its data and its binary log on two volumes. A row is written to a table with transactions, and then to
//! one without.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::Fallible;
use super::super::judge::{Canary, Database, Table};
use super::super::load::Insert;
use super::{Application, ByHand, folder, note, rows, token};
use crate::servers::Mariadb;
use crate::volumes::{Bed, Fs, MIB, Volume};

const SCHEMA: &str = "
    CREATE DATABASE d; CREATE DATABASE shop;
    CREATE TABLE d.t (client INT, n BIGINT, filling TEXT, PRIMARY KEY (client, n)) ENGINE = InnoDB;
    CREATE TABLE d.m (client INT, n BIGINT, filling TEXT, PRIMARY KEY (client, n)) ENGINE = MyISAM;
    CREATE TABLE d.canary_t ENGINE = InnoDB AS SELECT 0 AS token;
    CREATE TABLE d.canary_m ENGINE = MyISAM AS SELECT 0 AS token;
    CREATE TABLE shop.canary ENGINE = InnoDB AS SELECT 0 AS token";

/// The number of the last transaction in the binary log; a position is `domain-server-number`.
const POSITION: &str = "SELECT SUBSTRING_INDEX(@@gtid_binlog_pos, '-', -1)";

/// A server under load.
pub(crate) struct MariadbApplication {
    server: Running,
    volumes: [Volume; 2],
}

fn binary_log(volume: &Volume) -> String {
    format!("--log-bin={}", volume.mount_point.join("binlog/log").display())
}

impl MariadbApplication {
    /// Makes it.
    pub(crate) fn new(bed: &Bed) -> Fallible<Self> {
        let data = bed.volume("data", Fs::Ext4, 768 * MIB)?;
        let log = bed.volume("log", Fs::Xfs, 512 * MIB)?;
        folder(&log, "binlog", "mysql")?;
        let main = folder(&data, "main", "mysql")?;
        let server = Mariadb::new(Some(&main), &[&binary_log(&log), "--sync-binlog=1"])?;
        note(bed, server.pid())?;
        server.sql(SCHEMA)?;
        Ok(Self { server: Running(server), volumes: [data, log] })
    }
}

impl Application for MariadbApplication {
    fn database(&self) -> &dyn Database {
        &self.server
    }

    fn hook(&self) -> String {
        format!("[hook.orders.mariadb]\nhost = {:?}\nuser = \"root\"\n", self.server.0.socket())
    }

    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn is_read_while_held(&self) -> bool {
        true
    }

    fn client(&self, client: usize) -> (Command, Insert) {
        let insert = move |row| {
            let values = format!("VALUES ({client}, {row}, REPEAT('x', 400))");
            format!("INSERT INTO d.t {values}; INSERT INTO d.m {values}; SELECT {row};")
        };
        (self.server.0.client(), Box::new(insert))
    }

    fn by_hand(&self) -> ByHand {
        ByHand {
            client: self.server.0.client(),
            prepare: &["FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS;"],
            quiesce: &[
                "BACKUP STAGE START;",
                "BACKUP STAGE BLOCK_COMMIT;",
                "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS;",
            ],
            resume: &["BACKUP STAGE END;"],
            say_done: "SELECT 'done';",
        }
    }

    fn write_canaries(&self, token: u64) -> Fallible<()> {
        let update = |table| format!("UPDATE {table} SET token = {token};");
        self.server.0.sql(&["d.canary_t", "d.canary_m", "shop.canary"].map(update).concat())?;
        Ok(())
    }

    /// The index of the log names its files by where they were.
    fn restore(&self, bed: &Bed, copies: &[Volume], _record: Option<&Path>) -> Fallible<Box<dyn Database>> {
        let ([data, log], [_, living]) = (copies, &self.volumes) else {
            return Err("these are not two volumes".into());
        };
        let index = log.mount_point.join("binlog/log.index");
        rename(&index, &living.mount_point, &log.mount_point)?;
        let copy = Mariadb::restored(&data.mount_point.join("main"), &[&binary_log(log)])?;
        note(bed, copy.pid())?;
        Ok(Box::new(Running(copy)))
    }
}

fn rename(index: &Path, old: &Path, new: &Path) -> std::io::Result<()> {
    let text = fs::read_to_string(index)?;
    fs::write(index, text.replace(&old.display().to_string(), &new.display().to_string()))
}

/// A running server, the living one or that of a copy.
struct Running(Mariadb);

impl Database for Running {
    fn canaries(&self) -> Fallible<Vec<Canary>> {
        let read = |place, statement| -> Fallible<Canary> {
            Ok(Canary { place, token: token(&self.0.sql(statement)?)? })
        };
        Ok(vec![
            read("database d, InnoDB", "SELECT token FROM d.canary_t")?,
            read("database d, MyISAM", "SELECT token FROM d.canary_m")?,
            read("database shop", "SELECT token FROM shop.canary")?,
            read("the binary log", POSITION)?,
        ])
    }

    fn tables(&self) -> Fallible<Vec<Table>> {
        let of = |name| -> Fallible<Table> {
            let counted = format!("SELECT client, COUNT(*), MAX(n) FROM {name} GROUP BY client");
            Ok(Table { name, clients: rows(&self.0.sql(&counted)?)? })
        };
        Ok(vec![of("d.t")?, of("d.m")?])
    }

    fn check(&self) -> Fallible<()> {
        Ok(self.0.check()?)
    }

    /// What was committed and not flushed is found as prepared, and is committed only with the help of the binary log.
    fn trace_of_a_crash(&self) -> Option<String> {
        let log = self.0.log();
        let prepared = |line: &&str| line.replace("non-prepared", "").contains("prepared transaction");
        log.lines().find(prepared).map(str::to_owned)
    }
}
