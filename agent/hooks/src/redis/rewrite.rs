//! When a server rewrites its append-only file by itself.
//!
//! It looks ten times a second whether the file has grown enough (server.c, `serverCron`), also while writers are paused.
//! The rewrite begins with a new file, which the one thread opens that serves everybody: on a frozen filesystem the whole
//! server sleeps there until the thaw, readers too. So a rewrite that is due is waited for before anything is frozen. Under
//! the pause the file does not grow: none becomes due then.

use super::error::RedisError;
use super::session::{Info, Session};

/// When a rewrite is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewriting {
    /// By how many percent the file has grown since the last one; 0 for never.
    percentage: u64,
    /// The size in bytes that the file must have in any case.
    min_size: u64,
}

impl Rewriting {
    /// Asks the server.
    pub(super) async fn of(session: &mut Session) -> Result<Self, RedisError> {
        Ok(Self {
            percentage: number(session, "auto-aof-rewrite-percentage").await?,
            min_size: number(session, "auto-aof-rewrite-min-size").await?,
        })
    }

    /// Whether the server will begin one as soon as it looks. The arithmetic is its own.
    pub(super) fn is_due(self, info: &Info) -> bool {
        let (size, base) = (info.number_or_0("aof_current_size"), info.number_or_0("aof_base_size"));
        self.would_rewrite(size, base) && info.number_or_0("aof_enabled") != 0
    }

    fn would_rewrite(self, size: u64, base: u64) -> bool {
        let grown_to = size.saturating_mul(100) / base.max(1);
        self.percentage != 0 && size > self.min_size && grown_to >= self.percentage.saturating_add(100)
    }
}

async fn number(session: &mut Session, name: &'static str) -> Result<u64, RedisError> {
    let text = session.parameter(name).await?;
    text.parse().map_err(|_| RedisError::Silent { server: session.server.clone(), field: name })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLED: Rewriting = Rewriting { percentage: 100, min_size: 1_000 };

    #[test]
    fn a_file_that_has_grown_as_much_as_is_set_is_due() {
        assert!(!DOUBLED.would_rewrite(3_999, 2_000));
        assert!(DOUBLED.would_rewrite(4_000, 2_000));
    }

    #[test]
    fn a_small_file_is_never_due() {
        assert!(!DOUBLED.would_rewrite(1_000, 1));
        assert!(DOUBLED.would_rewrite(1_001, 0));
    }

    #[test]
    fn none_is_due_where_rewriting_is_off() {
        assert!(!Rewriting { percentage: 0, min_size: 0 }.would_rewrite(u64::MAX, 1));
    }
}
