//! `mysql`: a MySQL server, 5.7 and later, also as Percona builds it.
//!
//! | mode | quiesce | who waits | verify |
//! | --- | --- | --- | --- |
//! | `flush` | backup lock, engines' logs are flushed | definitions | same connection, its lock is listed |
//! | `lock` | backup lock, global read lock, engines' logs are flushed | every change | also: nothing was committed |
//!
//! `auto`, the default, is `flush` where that is exact. InnoDB's files are a consistent whole at every moment, if they are
//! all frozen at once, and a commit that was acknowledged is in them: as with a crash, so the freeze is the hold, and the
//! backup lock keeps definitions from changing meanwhile. Tables without transactions have no such log; they are in order
//! only while nobody writes and everything has been written out, and that is what the read lock is for.
//!
//! FLUSH TABLES WITH READ LOCK waits for every statement that uses a table, and everybody waits behind it
//! (<https://dev.mysql.com/doc/refman/9.7/en/flush.html#flush-tables-with-read-lock>). So it is asked for only when no
//! statement has run for long, it is given up soon, and then also what it leaves behind (`hold.rs`).
//!
//! The locks belong to a connection, so they end with the agent. An agent that is stopped without being ended loses it
//! when the server's own limit for an idle connection is over, a little after the lease. Only a replica's applier outlives
//! it, which is stopped for the read lock: that is journaled (`replica.rs`).

mod error;
mod facts;
mod hold;
mod plain;
mod position;
mod processes;
mod replica;
mod rights;
pub mod settings;

use async_trait::async_trait;
use quiesced_core::proof::Positions;

pub use error::MysqlError;
pub use replica::StoppedChannels;

use crate::error::HookError;
use crate::hook::{DataPath, Hook, Inspection, Proof, StepContext};
use crate::mysql_client::{ClientError, Place, Product, Server, Session, data_paths, lost};
use crate::server::IfUnavailable;
use crate::undo::Undo;
use facts::Facts;
use hold::Held;
use settings::MysqlSettings;

/// Each place beside the data directory in which it keeps data, as far as it has one. Temporary ones are none.
const PLACES: [Place; 8] = [
    Place::folder("InnoDB's tablespaces", "innodb_data_home_dir"),
    Place::folder("InnoDB's redo log", "innodb_log_group_home_dir"),
    Place::folder("InnoDB's undo logs", "innodb_undo_directory"),
    Place::folder("InnoDB's doublewrite files", "innodb_doublewrite_dir"),
    Place::file("binary log", "log_bin_basename"),
    Place::file("binary log", "log_bin_index"),
    Place::file("relay log", "relay_log_basename"),
    Place::file("relay log", "relay_log_index"),
];

/// Asks for tablespaces that are not below the data directory.
const TABLESPACES: &str = "SELECT DISTINCT FILE_NAME FROM information_schema.FILES \
     WHERE FILE_TYPE IN ('TABLESPACE', 'UNDO LOG') AND FILE_NAME NOT LIKE './%'";

/// A hook over one server.
pub(crate) struct MysqlHook {
    settings: MysqlSettings,
    /// Why there is nothing to do this time.
    skipped: Option<String>,
    held: Option<Held>,
}

impl MysqlHook {
    pub(crate) const fn new(settings: MysqlSettings) -> Self {
        Self { settings, skipped: None, held: None }
    }

    async fn look(&mut self) -> Result<Inspection, MysqlError> {
        let mut session = Session::open(Product::Mysql, &self.settings.server).await?;
        let facts = Facts::ask(&mut session, &self.settings).await?;
        self.skipped = self.settings.server.when.skips(facts.is_replica);
        let mut paths = Vec::new();
        if self.skipped.is_none() {
            paths = data_paths(&mut session, &PLACES).await?;
            paths.extend(tablespaces(&mut session, &facts).await?);
            facts.hold(self.settings.mode).await?;
        }
        session.end().await;
        Ok(Inspection { data_paths: paths })
    }

    fn held(&mut self) -> Result<&mut Held, MysqlError> {
        let server = Server { product: Product::Mysql, place: self.settings.server.place() };
        self.held.as_mut().ok_or_else(|| lost(&server, "there is no connection").into())
    }
}

/// The directories of tablespaces that were put elsewhere.
async fn tablespaces(session: &mut Session, facts: &Facts) -> Result<Vec<DataPath>, ClientError> {
    let files: Vec<String> = session.list("SELECT", TABLESPACES).await?;
    let mut found: Vec<DataPath> = Vec::new();
    for file in files {
        let path = facts.data_directory.join(file);
        let Some(parent) = path.parent().filter(|parent| !parent.starts_with(&facts.data_directory)) else {
            continue;
        };
        let data = DataPath { what: "tablespaces".to_owned(), path: parent.to_owned() };
        if !found.contains(&data) {
            found.push(data);
        }
    }
    let server = session.server.clone();
    let elsewhere = |(path, source)| ClientError::Elsewhere { server, path, source };
    crate::server::exist(found).await.map_err(elsewhere)
}

#[async_trait]
impl Hook for MysqlHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        let may_skip = self.settings.server.if_unavailable == IfUnavailable::Skip;
        match self.look().await {
            Err(error) if error.is_unavailable() && may_skip => {
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

    fn undo(&self, _step: &StepContext) -> Option<Undo> {
        let stopped = self.held.as_ref()?.to_undo()?;
        Some(Undo::MysqlApply(Box::new(stopped)))
    }

    fn positions(&self) -> Positions {
        self.held.as_ref().map(|held| held.position.named()).unwrap_or_default()
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError> {
        if self.skipped.is_some() {
            return Ok(());
        }
        Ok(self.held()?.quiesce(step).await?)
    }

    async fn verify(&mut self, _step: &StepContext) -> Result<Proof, HookError> {
        if let Some(why) = &self.skipped {
            return Ok(Proof::Claimed { why: why.clone() });
        }
        Ok(self.held()?.verify().await?)
    }

    async fn resume(&mut self, _step: &StepContext) -> Result<(), HookError> {
        match self.held.take() {
            Some(held) => Ok(held.release().await?),
            None => Ok(()),
        }
    }

    async fn close(&mut self) {
        if let Some(held) = self.held.take()
            && let Err(error) = held.release().await
        {
            tracing::warn!(%error, "a server could not be let go of");
        }
    }
}

#[cfg(test)]
mod tests;
