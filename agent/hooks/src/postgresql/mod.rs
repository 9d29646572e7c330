//! `postgresql`: a PostgreSQL server, 12 to 18.
//!
//! | mode | prepare | quiesce | verify | resume |
//! | --- | --- | --- | --- | --- |
//! | `flush` | checkpoint | a short checkpoint | same server, same session, same role | disconnect |
//! | `backup` | checkpoint | replication slot, backup mode | ends backup mode, keeps the label | disconnect |
//!
//! Nobody is locked out in either mode. What the disks hold while they are frozen recovers as after a crash: every
//! commit that was acknowledged before the freeze is in it, because the server had waited for its WAL
//! (<https://www.postgresql.org/docs/current/wal-reliability.html>). So the hold is the freeze, and what the hook has to
//! prove is that one server was behind it all along.
//!
//! Slot and backup mode belong to the session, and the session to the agent's process: nothing outlives it, and
//! nothing is journaled.

mod backup;
mod error;
mod facts;
mod session;
pub mod settings;

use async_trait::async_trait;
use quiesced_core::proof::Positions;

pub use error::PostgresError;

use crate::error::HookError;
use crate::hook::{Hook, Inspection, Proof, StepContext};
use crate::server::IfUnavailable;
use facts::Facts;
use session::Session;
use settings::{PostgresMode, PostgresSettings};

/// On a standby the WAL comes from elsewhere, so it is where it was replayed to that counts.
const POSITION: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
     ELSE pg_current_wal_flush_lsn() END::text";

/// A hook over one server.
pub(crate) struct PostgresHook {
    settings: PostgresSettings,
    /// Why there is nothing to do this time.
    skipped: Option<String>,
    held: Option<Held>,
}

/// The session, and what was learned when it was opened.
struct Held {
    session: Session,
    facts: Facts,
    /// How far the WAL was written when the server was prepared, and then when it was quiesced.
    position: Option<String>,
}

impl PostgresHook {
    pub(crate) const fn new(settings: PostgresSettings) -> Self {
        Self { settings, skipped: None, held: None }
    }

    async fn look(&mut self, step: &StepContext) -> Result<Inspection, PostgresError> {
        let mut session = Session::open(&self.settings, step.remaining()).await?;
        let facts = Facts::ask(&mut session).await?;
        self.skipped = self.settings.when.skips(facts.is_standby);
        let data_paths = if self.skipped.is_some() {
            Vec::new()
        } else {
            facts.check(&mut session, &self.settings).await?;
            facts.check_place(&session.server).await?;
            facts.data_paths(&mut session).await?
        };
        session.end().await;
        Ok(Inspection { data_paths })
    }

    fn held(&mut self) -> Result<&mut Held, PostgresError> {
        let settings = &self.settings;
        let lost = || PostgresError::Lost {
            server: format!("{}:{}", settings.host, settings.port),
            why: "there is no session".to_owned(),
        };
        self.held.as_mut().ok_or_else(lost)
    }
}

impl Held {
    async fn open(settings: &PostgresSettings, step: &StepContext) -> Result<Self, PostgresError> {
        let mut session = Session::open(settings, step.remaining()).await?;
        // Whatever the role or the database sets, this session waits for us.
        let limits =
            "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        session.execute("for a session without limits", limits).await?;
        let facts = Facts::ask(&mut session).await?;
        session.execute("for a checkpoint", "CHECKPOINT").await?;
        let position = session.ask("how far its WAL is written", POSITION).await?.get(0);
        Ok(Self { session, facts, position })
    }

    async fn quiesce(&mut self, mode: PostgresMode, step: &StepContext) -> Result<(), PostgresError> {
        let position = match mode {
            PostgresMode::Flush => {
                self.session.execute("for a checkpoint", "CHECKPOINT").await?;
                self.session.ask("how far its WAL is written", POSITION).await?.get(0)
            }
            PostgresMode::Backup => backup::start(&mut self.session, &self.facts, step.lease).await?,
        };
        self.position = Some(position);
        Ok(())
    }

    async fn verify(&mut self, mode: PostgresMode, step: &StepContext) -> Result<Proof, PostgresError> {
        let now = Facts::ask(&mut self.session).await?;
        if let Some(why) = self.facts.differs(&now) {
            return Err(PostgresError::Lost { server: self.session.server.clone(), why });
        }
        let position = self.position.clone().unwrap_or_default();
        let Facts { backend, started, .. } = &now;
        let how = match mode {
            PostgresMode::Flush => {
                format!(
                    "the server has run since {started}, session {backend} still holds, and its WAL was on disk up to {position}"
                )
            }
            PostgresMode::Backup => {
                let label = backup::stop(&mut self.session, &now).await?;
                let stop = label.stopped_at.clone();
                let kept = label.keep(step).await?;
                format!("backup mode lasted from {position} to {stop}; the label is in {}", kept.display())
            }
        };
        Ok(Proof::Proved { how })
    }
}

#[async_trait]
impl Hook for PostgresHook {
    async fn inspect(&mut self, step: &StepContext) -> Result<Inspection, HookError> {
        match self.look(step).await {
            Err(error) if error.is_unavailable() && self.settings.if_unavailable == IfUnavailable::Skip => {
                self.skipped = Some(format!("skipped: {error}"));
                Ok(Inspection::default())
            }
            looked => Ok(looked?),
        }
    }

    async fn prepare(&mut self, step: &StepContext) -> Result<(), HookError> {
        if self.skipped.is_none() {
            self.held = Some(Held::open(&self.settings, step).await?);
        }
        Ok(())
    }

    fn positions(&self) -> Positions {
        let position = self.held.as_ref().and_then(|held| held.position.clone());
        position.into_iter().map(|lsn| ("WAL LSN".to_owned(), lsn)).collect()
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError> {
        if self.skipped.is_some() {
            return Ok(());
        }
        let mode = self.settings.mode;
        Ok(self.held()?.quiesce(mode, step).await?)
    }

    async fn verify(&mut self, step: &StepContext) -> Result<Proof, HookError> {
        if let Some(why) = &self.skipped {
            return Ok(Proof::Claimed { why: why.clone() });
        }
        let mode = self.settings.mode;
        Ok(self.held()?.verify(mode, step).await?)
    }

    /// The server ends backup mode and slot together with the session.
    async fn resume(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.close().await;
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(held) = self.held.take() {
            held.session.end().await;
        }
    }
}

#[cfg(test)]
mod tests;
