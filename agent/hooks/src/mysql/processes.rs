//! Statements that other sessions run: which of them keep a lock waiting, and which may be ended for it.

use std::time::Duration;

use mysql_async::Row;
use quiesced_core::time::BootTime;

use super::error::MysqlError;
use crate::clock;
use crate::mysql_client::{ClientError, Session, field};

/// How often the server is asked whether a statement has ended.
const PAUSE: Duration = Duration::from_millis(100);

/// How often SELECTs are looked for that have not ended yet.
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

/// Asks for an idle session that keeps tables locked (LOCK TABLES).
const LOCKER: &str = "SELECT PROCESSLIST_ID, PROCESSLIST_USER FROM performance_schema.table_handles \
     JOIN performance_schema.threads ON THREAD_ID = OWNER_THREAD_ID \
     WHERE EXTERNAL_LOCK IS NOT NULL AND PROCESSLIST_COMMAND = 'Sleep' LIMIT 1";

/// Keeps the global read lock from waiting for others, and others from waiting for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// The connection that is to have the lock.
    pub(super) holder: u32,
    /// A statement that has run for so many seconds is long.
    pub(super) longest: u64,
    /// Long SELECTs may be ended.
    pub(super) kill: bool,
}

impl Guard {
    /// Waits until nobody does what the lock would have to wait for.
    pub(super) async fn wait(self, session: &mut Session, until: BootTime) -> Result<(), MysqlError> {
        loop {
            let long = self.long(session).await?;
            let locker: Option<(u64, String)> = session.ask(LOCKER).await?;
            let late = clock::now() >= until;
            match (long.first(), locker) {
                (None, None) => return Ok(()),
                (Some(first), _) if late => return Err(first.too_long(session)),
                (None, Some((id, user))) if late => {
                    return Err(MysqlError::TablesLocked { server: session.server.clone(), user, id });
                }
                _ => self.end(session, &long).await,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// After a read lock that was not to be had. Readers of a table that was to be closed wait until the statement ends that
    /// uses it, also when nobody asks for the lock any more, so SELECTs that began before the request are ended, if they
    /// may be. What is left of such statements is given back.
    pub(super) async fn free_readers(self, session: &mut Session) -> Result<Option<Running>, ClientError> {
        for _ in 0..ROUNDS {
            let long = self.long(session).await?;
            if !self.kill || !long.iter().any(|one| one.is_select) {
                break;
            }
            self.end(session, &long).await;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(self.long(session).await?.into_iter().max_by_key(|one| one.seconds))
    }

    /// The long statements of others.
    async fn long(self, session: &mut Session) -> Result<Vec<Running>, ClientError> {
        let rows: Vec<Row> = session.list("SHOW PROCESSLIST", "SHOW PROCESSLIST").await?;
        let ours = [u64::from(session.id()), u64::from(self.holder)];
        let is_long = |one: &Running| one.seconds >= self.longest && !one.waits_for_flush();
        Ok(rows
            .iter()
            .filter_map(Running::of)
            .filter(|one| is_long(one) && !ours.contains(&one.id))
            .collect())
    }

    async fn end(self, session: &mut Session, long: &[Running]) {
        for one in long.iter().filter(|one| self.kill && one.is_select) {
            end(session, one).await;
        }
    }
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
