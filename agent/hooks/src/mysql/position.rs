//! How far a server has come: its binary log, and the transactions that it has executed.

use std::fmt;

use quiesced_core::proof::Positions;

use super::facts::Version;
use crate::mysql_client::{ClientError, Session, field};

/// One read of everything at one moment
/// (<https://dev.mysql.com/doc/refman/9.7/en/performance-schema-log-status-table.html>).
const LOG_STATUS: &str = "SELECT LOCAL->>'$.binary_log_file', LOCAL->>'$.binary_log_position', \
     LOCAL->>'$.gtid_executed', STORAGE_ENGINES->>'$.InnoDB.LSN' FROM performance_schema.log_status";

/// A position; a server without a binary log has only an LSN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// File and offset.
    log: Option<(String, String)>,
    transactions: String,
    lsn: Option<String>,
}

type LogStatus = (Option<String>, Option<String>, Option<String>, Option<String>);

impl Position {
    /// Asks for it.
    pub(super) async fn ask(session: &mut Session, version: &Version) -> Result<Self, ClientError> {
        if version.has_backup_lock() {
            let status: Option<LogStatus> = session.ask(LOG_STATUS).await?;
            let (file, offset, transactions, lsn) = status.unwrap_or_default();
            return Ok(Self { log: file.zip(offset), transactions: flat(transactions), lsn });
        }
        // 8.4 has no such statement any more, but log_status.
        let status: Option<mysql_async::Row> = session.ask("SHOW MASTER STATUS").await?;
        let Some(row) = status else { return Ok(Self::default()) };
        let text = |name| field::<String>(&row, name);
        let offset = field::<u64>(&row, "Position").map(|offset| offset.to_string());
        Ok(Self { log: text("File").zip(offset), transactions: flat(text("Executed_Gtid_Set")), lsn: None })
    }

    /// Its parts by name.
    pub(super) fn named(&self) -> Positions {
        let mut parts = Positions::new();
        parts.extend(
            self.log.as_ref().map(|(file, offset)| ("binary log".to_owned(), format!("{file}:{offset}"))),
        );
        if !self.transactions.is_empty() {
            parts.insert("GTID".to_owned(), self.transactions.clone());
        }
        parts.extend(self.lsn.as_ref().map(|lsn| ("InnoDB LSN".to_owned(), lsn.clone())));
        parts
    }

    /// Whether changes were made since. Where transactions have names these count: the binary log's file also changes
    /// when somebody asks for a new one.
    pub(super) fn has_moved(&self, now: &Self) -> bool {
        self.transactions != now.transactions || (self.transactions.is_empty() && self.log != now.log)
    }
}

/// A set of transactions has line ends between servers.
fn flat(transactions: Option<String>) -> String {
    transactions.unwrap_or_default().replace('\n', "")
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.log.as_ref().map(|(file, offset)| format!("{file}:{offset}")));
        if !self.transactions.is_empty() {
            parts.push(format!("GTID {}", self.transactions));
        }
        parts.extend(self.lsn.as_ref().map(|lsn| format!("LSN {lsn}")));
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, offset: &str, transactions: &str) -> Position {
        let log = Some((file.to_owned(), offset.to_owned()));
        Position { log, transactions: transactions.to_owned(), lsn: Some("17".to_owned()) }
    }

    #[test]
    fn a_position_has_moved_when_something_was_committed() {
        assert!(at("b.1", "158", "").has_moved(&at("b.1", "159", "")));
        assert!(at("b.1", "158", "u:1-4").has_moved(&at("b.1", "158", "u:1-5")));
        assert!(!at("b.1", "158", "u:1-4").has_moved(&at("b.2", "158", "u:1-4")), "a new file is no change");
        assert!(!Position::default().has_moved(&Position { lsn: Some("18".into()), ..Position::default() }));
    }

    #[test]
    fn a_position_names_what_a_restore_needs() {
        assert_eq!(at("b.1", "158", "u:1-4").to_string(), "b.1:158, GTID u:1-4, LSN 17");
        assert_eq!(at("b.1", "158", "u:1-4").named()["binary log"], "b.1:158");
        assert_eq!(Position::default().named(), Positions::new());
        assert_eq!(flat(Some("a:1,\nb:2".to_owned())), "a:1,b:2");
    }
}
