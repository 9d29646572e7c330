//! The ledger and its records.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior, params};

use super::WriterError;
use super::record::{self, SIZE};

/// Where the two sides of the pair are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The SQLite database.
    pub ledger: PathBuf,
    /// The file of records.
    pub records: PathBuf,
}

impl Pair {
    /// `ledger.db` on one mount, `records.log` on the other.
    pub fn on(ledger: &Path, records: &Path) -> Self {
        Self { ledger: ledger.join("ledger.db"), records: records.join("records.log") }
    }

    pub(super) fn ledger_error(&self, source: rusqlite::Error) -> WriterError {
        WriterError::Ledger { path: self.ledger.clone(), source }
    }

    pub(super) fn records_error(&self, source: std::io::Error) -> WriterError {
        WriterError::File { path: self.records.clone(), source }
    }
}

/// An open pair; it goes on after the last row that was committed.
#[derive(Debug)]
pub(super) struct PairWriter {
    pair: Pair,
    ledger: Connection,
    records: File,
    last: u64,
}

impl PairWriter {
    pub(super) fn open(pair: Pair) -> Result<Self, WriterError> {
        let ledger = open_ledger(&pair.ledger).map_err(|source| pair.ledger_error(source))?;
        let last = ledger.query_row("SELECT coalesce(max(number), 0) FROM entry", [], |row| row.get(0));
        let last: i64 = last.map_err(|source| pair.ledger_error(source))?;
        let last = u64::try_from(last).unwrap_or(0);
        let records = open_records(&pair.records, last).map_err(|source| pair.records_error(source))?;
        Ok(Self { pair, ledger, records, last })
    }

    pub(super) fn write_next(&mut self) -> Result<(), WriterError> {
        let number = self.last + 1;
        let failed = |source| WriterError::Ledger { path: self.pair.ledger.clone(), source };
        let row = i64::try_from(number).unwrap_or(i64::MAX);
        let filling = record::filling(number);
        let sum = crc32fast::hash(&filling);
        let transaction =
            self.ledger.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        transaction
            .execute("INSERT INTO entry VALUES (?1, ?2, ?3)", params![row, filling, sum])
            .map_err(failed)?;
        self.records
            .write_all(&record::record(number))
            .and_then(|()| self.records.sync_data())
            .map_err(|source| self.pair.records_error(source))?;
        transaction.commit().map_err(failed)?;
        self.last = number;
        Ok(())
    }
}

fn open_ledger(path: &Path) -> rusqlite::Result<Connection> {
    let mut ledger = Connection::open(path)?;
    ledger.busy_handler(Some(wait_a_little))?;
    ledger.pragma_update(None, "journal_mode", "wal")?;
    ledger.pragma_update(None, "synchronous", "full")?;
    ledger.execute_batch(
        "CREATE TABLE IF NOT EXISTS entry (number INTEGER PRIMARY KEY, filling BLOB NOT NULL, sum INTEGER NOT NULL)",
    )?;
    Ok(ledger)
}

/// SQLite's own busy handler sleeps up to 100 ms at a time, which would be measured as the agent's stall.
fn wait_a_little(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    tries < 120_000
}

/// A record without its row was never acknowledged, so it is written again.
fn open_records(path: &Path, last: u64) -> std::io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    let size = u64::try_from(SIZE).unwrap_or(u64::MAX).saturating_mul(last);
    if file.metadata()?.len() > size {
        file.set_len(size)?;
    }
    Ok(file)
}
