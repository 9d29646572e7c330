//! Statements that other sessions run: which of them keep a lock waiting, and which may be ended for it.

use std::time::Duration;

use mysql_async::Row;
use quiesced_core::time::BootTime;

use super::error::MysqlError;
use crate::clock;
use crate::mysql_client::{ClientError, Session, field};

/// How often the server is asked whether a statement has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// How often readers are freed that begin to wait while others are freed.
const ROUNDS: usize = 5;

/// A session that runs a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) id: u64,
    pub(super) user: String,
    /// In whole seconds, as the server counts.
    pub(super) seconds: u64,
    state: String,
    is_select: bool,
}

impl Running {
    /// What a row of the list tells of a client's statement; none of a session that runs none, and of a server's own.
    fn of(row: &Row) -> Option<Self> {
        let text = |name| field::<String>(row, name).unwrap_or_default();
        let command = text("Command");
        let user = text("User");
        // A replica's own threads end their statement when they are told to stop.
        let counts = ["Query", "Execute"].contains(&command.as_str()) && user != "system user";
        let seconds: i64 = field(row, "Time").unwrap_or_default();
        counts.then(|| Self {
            id: field(row, "Id").unwrap_or_default(),
            user,
            seconds: u64::try_from(seconds).unwrap_or_default(),
            state: text("State"),
            is_select: is_select(&text("Info")),
        })
    }

    /// Whether it waits itself, for a table that is to be closed first.
    fn waits_for_flush(&self) -> bool {
        self.state == "Waiting for table flush"
    }

    fn too_long(&self, session: &Session) -> MysqlError {
        let Self { id, user, seconds, is_select, .. } = self.clone();
        MysqlError::LongStatement { server: session.server.clone(), user, id, seconds, is_select }
    }
}

/// Whether a statement only reads, whatever comment stands before it.
fn is_select(statement: &str) -> bool {
    let mut rest = statement.trim_start();
    while let Some((_, after)) = rest.strip_prefix("/*").and_then(|comment| comment.split_once("*/")) {
        rest = after.trim_start();
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    word.eq_ignore_ascii_case("SELECT")
}

/// All statements but those of connections of our own.
async fn running(session: &mut Session, own: u32) -> Result<Vec<Running>, ClientError> {
    let rows: Vec<Row> = session.list("SHOW PROCESSLIST", "SHOW PROCESSLIST").await?;
    let ours = [u64::from(session.id()), u64::from(own)];
    Ok(rows.iter().filter_map(Running::of).filter(|one| !ours.contains(&one.id)).collect())
}

/// Waits until no statement has run for `longest` seconds. With `kill`, SELECTs that have are ended.
pub(super) async fn until_all_are_short(
    session: &mut Session,
    own: u32,
    longest: u64,
    kill: bool,
    until: BootTime,
) -> Result<(), MysqlError> {
    loop {
        let all = running(session, own).await?;
        let long: Vec<&Running> = all.iter().filter(|one| one.seconds >= longest).collect();
        let Some(first) = long.first() else { return Ok(()) };
        if clock::now() >= until {
            return Err(first.too_long(session));
        }
        if kill {
            for one in long.iter().filter(|one| one.is_select) {
                end(session, one).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// After a read lock that was not to be had: readers of a table that a statement still uses wait until it ends, also when
/// nobody asks for the lock any more. With `kill`, SELECTs that began before it was asked for are ended.
/// The connection that still keeps them waiting is given back.
pub(super) async fn free_readers(
    session: &mut Session,
    own: u32,
    longest: u64,
    kill: bool,
) -> Result<Option<u64>, ClientError> {
    let mut in_the_way = None;
    for _ in 0..ROUNDS {
        let all = running(session, own).await?;
        if !all.iter().any(Running::waits_for_flush) {
            return Ok(None);
        }
        let oldest = all.iter().filter(|one| !one.waits_for_flush()).max_by_key(|one| one.seconds);
        in_the_way = oldest.map(|one| one.id);
        if kill {
            let older = all.iter().filter(|one| one.seconds >= longest && !one.waits_for_flush());
            for one in older.filter(|one| one.is_select) {
                end(session, one).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(in_the_way)
}

/// Ends a statement, not its session.
async fn end(session: &mut Session, one: &Running) {
    let (id, user, seconds) = (one.id, &one.user, one.seconds);
    match session.attempt(&format!("KILL QUERY {id}")).await {
        Ok(()) => tracing::warn!(id, user, seconds, "a SELECT was ended so that the lock could be had"),
        // It may have ended by itself.
        Err(error) => tracing::info!(id, %error, "a SELECT could not be ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_with_select_is_ever_ended() {
        for reads in ["SELECT 1", "  select * FROM t", "/* app:orders */ SELECT 1", "/*a*/ /*b*/Select\n1"] {
            assert!(is_select(reads), "{reads}");
        }
        for other in
            ["UPDATE t SET n = 1", "WITH x AS (SELECT 1) DELETE FROM t", "", "SELECTED", "/* SELECT 1"]
        {
            assert!(!is_select(other), "{other}");
        }
    }
}
