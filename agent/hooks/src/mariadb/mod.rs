//! `mariadb`: a MariaDB server, 10.5 and later.
//!
//! | step | what is asked |
//! | --- | --- |
//! | prepare | two connections: one holds, the other one can end it; engines' logs are flushed |
//! | quiesce | `BACKUP STAGE START`, `BLOCK_COMMIT`, engines' logs are flushed |
//! | verify | the same connection is still in that stage, and no transaction was added |
//! | resume | `BACKUP STAGE END` |
//!
//! Commits wait, and so does every change of tables without transactions; readers go on
//! (<https://mariadb.com/docs/server/reference/sql-statements/administrative-sql-statements/backup-commands/backup-stage>).
//! The flush is not a nicety: without it the copy may refuse to start for want of the binary log. The stage belongs to
//! the connection, so it ends with the agent. An agent that is stopped without being ended loses it when the server's own
//! limit for an idle connection is over, a little after the lease.

pub mod settings;

use async_trait::async_trait;
use quiesced_core::proof::Positions;

use crate::error::HookError;
use crate::hook::{Hook, Inspection, Proof, StepContext};
use crate::mysql_client::{
    ClientError, Place, Product, Server, Session, code, data_paths, lost, numbers, refuse_galera, set_limits,
};
use crate::server::IfUnavailable;
use settings::MariadbSettings;

/// ER_BACKUP_NOT_RUNNING: the connection is in no stage.
const NO_STAGE: u16 = 4146;
/// ER_BACKUP_WRONG_STAGE: the connection is in this stage already.
const IN_STAGE: u16 = 4147;

/// Each place beside the data directory in which it keeps data, as far as it has one.
const PLACES: [Place; 6] = [
    Place::folder("InnoDB's tablespaces", "innodb_data_home_dir"),
    Place::folder("InnoDB's redo log", "innodb_log_group_home_dir"),
    Place::folder("InnoDB's undo logs", "innodb_undo_directory"),
    Place::folder("Aria's log", "aria_log_dir_path"),
    Place::file("binary log", "log_bin_basename"),
    Place::file("relay log", "relay_log_basename"),
];

/// A hook over one server.
pub(crate) struct MariadbHook {
    settings: MariadbSettings,
    /// Why there is nothing to do this time.
    skipped: Option<String>,
    held: Option<Held>,
}

struct Held {
    hold: Session,
    control: Session,
    /// The last transaction in the binary log when the hook was prepared, and then when commits were blocked.
    position: String,
}

impl MariadbHook {
    pub(crate) const fn new(settings: MariadbSettings) -> Self {
        Self { settings, skipped: None, held: None }
    }

    async fn look(&mut self) -> Result<Inspection, ClientError> {
        let mut session = Session::open(Product::Mariadb, &self.settings.server).await?;
        check_server(&mut session).await?;
        if self.settings.server.when != crate::server::When::Any {
            let replica: Option<mysql_async::Row> = session.ask("SHOW REPLICA STATUS").await?;
            self.skipped = self.settings.server.when.skips(replica.is_some());
        }
        let data_paths =
            if self.skipped.is_some() { Vec::new() } else { data_paths(&mut session, &PLACES).await? };
        session.end().await;
        Ok(Inspection { data_paths })
    }

    fn held(&mut self) -> Result<&mut Held, ClientError> {
        let server = Server { product: Product::Mariadb, place: self.settings.server.place() };
        self.held.as_mut().ok_or_else(|| lost(&server, "there is no connection"))
    }
}

/// Whether it is a server that this hook knows, and the user may do what is needed.
async fn check_server(session: &mut Session) -> Result<(), ClientError> {
    let version: Option<String> = session.ask("SELECT VERSION()").await?;
    let version = version.unwrap_or_default();
    if !is_known(&version) {
        return Err(ClientError::OtherServer { server: session.server.clone(), version });
    }
    refuse_galera(session).await?;
    // Asked without a stage it changes nothing, and a user without the right is told so before that.
    match session.attempt("BACKUP STAGE END").await {
        Err(error) if code(&error) == Some(NO_STAGE) => Ok(()),
        Ok(()) => Ok(()),
        Err(source) => Err(session.refused("BACKUP STAGE", source)),
    }
}

/// `10.11.6-MariaDB-0+deb12u1-log`; 10.5 is the first with these privileges' names.
fn is_known(version: &str) -> bool {
    version.contains("MariaDB") && numbers(version) >= [10, 5, 0]
}

impl Held {
    async fn open(settings: &MariadbSettings) -> Result<Self, ClientError> {
        let mut hold = Session::open(Product::Mariadb, &settings.server).await?;
        let control = Session::open(Product::Mariadb, &settings.server).await?;
        hold.execute("FLUSH ENGINE LOGS", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS").await?;
        let position = position(&mut hold).await?;
        Ok(Self { hold, control, position })
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), ClientError> {
        set_limits(&mut self.hold, step).await?;
        self.hold.execute("BACKUP STAGE START", "BACKUP STAGE START").await?;
        self.hold.execute("BACKUP STAGE BLOCK_COMMIT", "BACKUP STAGE BLOCK_COMMIT").await?;
        self.hold.execute("FLUSH ENGINE LOGS", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS").await?;
        self.position = position(&mut self.hold).await?;
        Ok(())
    }

    async fn verify(&mut self) -> Result<Proof, ClientError> {
        let server = self.hold.server.clone();
        let lost = |why: String| lost(&server, why);
        // The server refuses the stage because it is in it, which is as good as an answer.
        match self.hold.attempt("BACKUP STAGE BLOCK_COMMIT").await {
            Err(error) if code(&error) == Some(IN_STAGE) => {}
            Ok(()) => return Err(lost("commits were not blocked any more".to_owned())),
            Err(error) => return Err(lost(error.to_string())),
        }
        let now = position(&mut self.hold).await?;
        if now != self.position {
            return Err(lost(format!("its binary log went on from {} to {now}", self.position)));
        }
        let at = if now.is_empty() { "it has no binary log".to_owned() } else { format!("GTID {now}") };
        Ok(Proof::Proved { how: format!("connection {} still blocks commits; {at}", self.hold.id()) })
    }

    /// Ends the stage; where it cannot be asked, the connection, and the stage with it.
    async fn release(self) {
        let Self { mut hold, mut control, .. } = self;
        if hold.busy {
            control.end_other(&hold).await;
        } else if let Err(error) = hold.attempt("BACKUP STAGE END").await
            && code(&error) != Some(NO_STAGE)
        {
            tracing::warn!(%error, server = %hold.server, "the stage ends with its connection");
        }
        hold.end().await;
        control.end().await;
    }
}

async fn position(session: &mut Session) -> Result<String, ClientError> {
    let position: Option<Option<String>> = session.ask("SELECT @@gtid_binlog_pos").await?;
    Ok(position.flatten().unwrap_or_default())
}

#[async_trait]
impl Hook for MariadbHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        match self.look().await {
            Err(error)
                if error.is_unavailable() && self.settings.server.if_unavailable == IfUnavailable::Skip =>
            {
                self.skipped = Some(format!("skipped: {error}"));
                Ok(Inspection::default())
            }
            looked => Ok(looked?),
        }
    }

    async fn prepare(&mut self, _step: &StepContext) -> Result<(), HookError> {
        if self.skipped.is_none() {
            self.held = Some(Held::open(&self.settings).await?);
        }
        Ok(())
    }

    fn positions(&self) -> Positions {
        let position = self.held.as_ref().map(|held| held.position.clone());
        let position = position.filter(|position| !position.is_empty());
        position.into_iter().map(|gtid| ("GTID".to_owned(), gtid)).collect()
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
        self.close().await;
        Ok(())
    }

    async fn close(&mut self) {
        if let Some(held) = self.held.take() {
            held.release().await;
        }
    }
}

#[cfg(test)]
mod tests;
