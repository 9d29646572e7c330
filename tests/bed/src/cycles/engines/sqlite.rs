//! Two SQLite databases on two volumes. A row is written to one of them, and then to the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::Fallible;
use super::super::judge::{Canary, Database, Table};
use super::super::load::Insert;
use super::{Application, ByHand, rows, token};
use crate::tool::{Tool, ToolError};
use crate::volumes::{Bed, Fs, MIB, Volume};

const SCHEMA: &str = "
    PRAGMA journal_mode = wal;
    CREATE TABLE entry (client INTEGER, n INTEGER, filling TEXT, PRIMARY KEY (client, n));
    CREATE TABLE canary (token INTEGER);
    INSERT INTO canary VALUES (0)";

/// Longer than any lease: writers wait for the hook's lock.
const BUSY: &str = ".timeout 120000";

/// Both databases under load.
pub(crate) struct SqliteApplication {
    files: Files,
    volumes: [Volume; 2],
}

impl SqliteApplication {
    /// Makes it.
    pub(crate) fn new(bed: &Bed) -> Fallible<Self> {
        let volumes = [bed.volume("first", Fs::Ext4, 256 * MIB)?, bed.volume("second", Fs::Xfs, 320 * MIB)?];
        let files = Files::on(&volumes)?;
        for file in &files.0 {
            Tool::new("sqlite3").arg(file).arg(SCHEMA).run()?;
        }
        Ok(Self { files, volumes })
    }
}

impl Application for SqliteApplication {
    fn database(&self) -> &dyn Database {
        &self.files
    }

    fn hook(&self) -> String {
        format!("[hook.ledger.sqlite]\ndatabases = {:?}\n", self.files.0)
    }

    fn volumes(&self) -> &[Volume] {
        &self.volumes
    }

    fn client(&self, client: usize) -> (Command, Insert) {
        let insert = move |row| {
            let values = format!("VALUES ({client}, {row}, hex(zeroblob(200)))");
            format!("INSERT INTO main.entry {values}; INSERT INTO second.entry {values}; SELECT {row};")
        };
        (self.files.client(), Box::new(insert))
    }

    fn by_hand(&self) -> ByHand {
        ByHand {
            client: self.files.client(),
            prepare: &["PRAGMA main.wal_checkpoint(PASSIVE);", "PRAGMA second.wal_checkpoint(PASSIVE);"],
            // Of all attached databases.
            quiesce: &["BEGIN IMMEDIATE;"],
            resume: &["ROLLBACK;"],
            say_done: "SELECT 'done';",
        }
    }

    fn write_canaries(&self, token: u64) -> Fallible<()> {
        for file in &self.files.0 {
            let update = format!("UPDATE canary SET token = {token}");
            Tool::new("sqlite3").args(["-bail", "-cmd", BUSY]).arg(file).arg(update).run()?;
        }
        Ok(())
    }

    fn restore(&self, _bed: &Bed, copies: &[Volume], _record: Option<&Path>) -> Fallible<Box<dyn Database>> {
        let files = Files::on(copies)?;
        for at in 0..2 {
            files.ask(at, "SELECT count(*) FROM sqlite_schema")?;
        }
        Ok(Box::new(files))
    }
}

/// The living databases, or copies of them.
struct Files([PathBuf; 2]);

impl Files {
    fn on(volumes: &[Volume]) -> Fallible<Self> {
        let [first, second] = volumes else { return Err("these are not two volumes".into()) };
        Ok(Self([first, second].map(|volume| volume.mount_point.join("ledger.db"))))
    }

    /// A client of the first, to which the second is attached.
    fn client(&self) -> Command {
        let [first, second] = &self.0;
        let mut command = Command::new("sqlite3");
        command.args(["-batch", "-bail", "-cmd", BUSY, "-cmd"]);
        command.arg(format!("ATTACH '{}' AS second", second.display())).arg(first);
        command
    }

    fn ask(&self, at: usize, statement: &str) -> Result<String, ToolError> {
        Tool::new("sqlite3").args(["-bail", "-cmd", BUSY]).arg(&self.0[at]).arg(statement).run()
    }
}

/// What each of the two is called.
const NAMES: [&str; 2] = ["the first database", "the second database"];

impl Database for Files {
    fn canaries(&self) -> Fallible<Vec<Canary>> {
        let read = |at: usize| -> Fallible<Canary> {
            Ok(Canary { place: NAMES[at], token: token(&self.ask(at, "SELECT token FROM canary")?)? })
        };
        (0..2).map(read).collect()
    }

    fn tables(&self) -> Fallible<Vec<Table>> {
        let counted = "SELECT client, count(*), max(n) FROM entry GROUP BY client";
        let of = |at: usize| -> Fallible<Table> {
            Ok(Table { name: NAMES[at], clients: rows(&self.ask(at, counted)?)? })
        };
        (0..2).map(of).collect()
    }

    fn check(&self) -> Fallible<()> {
        for (at, name) in NAMES.iter().enumerate() {
            let said = self.ask(at, "PRAGMA integrity_check")?;
            if said != "ok" {
                return Err(format!("{name}: {said}").into());
            }
        }
        Ok(())
    }
}
