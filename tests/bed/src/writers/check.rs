//! What a restored pair is worth.

use std::fs;

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::record::{self, SIZE};
use super::{Pair, WriterError};

/// What was found on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairReport {
    /// The number of the last row.
    pub rows: u64,
    /// The number of the last record.
    pub records: u64,
    /// Numbers that are missing, or out of order, on either side.
    pub gaps: u64,
    /// Rows and records whose content does not fit their number.
    pub damaged: u64,
    /// What `PRAGMA integrity_check` answered: `ok`, or what is broken.
    pub integrity: String,
}

impl PairReport {
    /// Whether each side is whole.
    pub fn is_sound(&self) -> bool {
        self.gaps == 0 && self.damaged == 0 && self.integrity == "ok"
    }

    /// Whether both sides are whole and end with the same number.
    pub fn agrees(&self) -> bool {
        self.is_sound() && self.rows == self.records
    }
}

/// The numbers of one side, one after another.
#[derive(Default)]
struct Side {
    last: u64,
    gaps: u64,
    damaged: u64,
}

impl Side {
    fn saw(&mut self, number: Option<u64>) {
        match number {
            None => self.damaged += 1,
            Some(number) => {
                self.gaps += u64::from(number != self.last + 1);
                self.last = number;
            }
        }
    }
}

/// Reads both sides of a pair that nobody writes. The ledger is opened for writing: its WAL must be replayed.
///
/// # Errors
/// When a side cannot be read at all; damage is reported, not an error.
pub fn check_pair(pair: &Pair) -> Result<PairReport, WriterError> {
    let (rows, integrity) = check_ledger(pair).map_err(|source| pair.ledger_error(source))?;
    let records = check_records(pair).map_err(|source| pair.records_error(source))?;
    Ok(PairReport {
        rows: rows.last,
        records: records.last,
        gaps: rows.gaps + records.gaps,
        damaged: rows.damaged + records.damaged,
        integrity,
    })
}

fn check_ledger(pair: &Pair) -> rusqlite::Result<(Side, String)> {
    let ledger = Connection::open_with_flags(&pair.ledger, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let integrity = ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    let integrity = match integrity {
        Err(error) if is_damage(&error) => return Ok((Side::default(), error.to_string())),
        other => other?,
    };
    let mut side = Side::default();
    let mut statement = ledger.prepare("SELECT number, filling, sum FROM entry ORDER BY number")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number = u64::try_from(row.get::<_, i64>(0)?).ok();
        let (filling, sum): (Vec<u8>, u32) = (row.get(1)?, row.get(2)?);
        let whole = |&number: &u64| filling == record::filling(number) && sum == crc32fast::hash(&filling);
        side.saw(number.filter(whole));
    }
    Ok((side, integrity))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn check_records(pair: &Pair) -> std::io::Result<Side> {
    let mut side = Side::default();
    for bytes in fs::read(&pair.records)?.chunks(SIZE) {
        side.saw(record::number(bytes));
    }
    Ok(side)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::super::pair::PairWriter;
    use super::*;

    fn written(count: u64) -> (tempfile::TempDir, Pair) {
        let directory = tempfile::tempdir().unwrap();
        let pair = Pair::on(directory.path(), directory.path());
        let mut writer = PairWriter::open(pair.clone()).unwrap();
        for _ in 0..count {
            writer.write_next().unwrap();
        }
        (directory, pair)
    }

    #[test]
    fn an_untouched_pair_agrees() {
        let (_directory, pair) = written(20);
        let report = check_pair(&pair).unwrap();
        assert!(report.agrees(), "{report:?}");
        assert_eq!((report.rows, report.records), (20, 20));
    }

    #[test]
    fn a_record_without_its_row_is_sound_but_does_not_agree() {
        let (_directory, pair) = written(5);
        let mut file = File::options().append(true).open(&pair.records).unwrap();
        file.write_all(&record::record(6)).unwrap();
        let report = check_pair(&pair).unwrap();
        assert!(report.is_sound() && !report.agrees(), "{report:?}");
    }

    #[test]
    fn a_missing_row_is_a_gap() {
        let (_directory, pair) = written(5);
        Connection::open(&pair.ledger).unwrap().execute("DELETE FROM entry WHERE number = 3", []).unwrap();
        assert_eq!(check_pair(&pair).unwrap().gaps, 1);
    }

    #[test]
    fn a_changed_row_is_damage() {
        let (_directory, pair) = written(5);
        let ledger = Connection::open(&pair.ledger).unwrap();
        ledger.execute("UPDATE entry SET filling = zeroblob(116) WHERE number = 3", []).unwrap();
        assert_eq!(check_pair(&pair).unwrap().damaged, 1);
    }

    #[test]
    fn a_cut_record_is_damage() {
        let (_directory, pair) = written(5);
        File::options().write(true).open(&pair.records).unwrap().set_len(5 * 128 - 1).unwrap();
        assert_eq!(check_pair(&pair).unwrap().damaged, 1);
    }

    #[test]
    fn a_ledger_of_zeros_is_reported_as_broken() {
        let (_directory, pair) = written(5);
        fs::write(&pair.ledger, vec![0; 8192]).unwrap();
        for suffix in ["-wal", "-shm"] {
            let mut path = pair.ledger.clone().into_os_string();
            path.push(suffix);
            let _ = fs::remove_file(path);
        }
        let report = check_pair(&pair).unwrap();
        assert!(!report.is_sound(), "{report:?}");
    }

    #[test]
    fn a_pair_is_taken_up_after_the_last_committed_row() {
        let (_directory, pair) = written(5);
        let mut file = File::options().append(true).open(&pair.records).unwrap();
        file.write_all(&record::record(6)).unwrap();
        PairWriter::open(pair.clone()).unwrap().write_next().unwrap();
        let report = check_pair(&pair).unwrap();
        assert!(report.agrees() && report.rows == 6, "{report:?}");
    }
}
