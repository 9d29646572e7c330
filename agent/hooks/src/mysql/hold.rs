//! A server that is held: two connections, one that has the locks, one that can end it.

use std::time::Duration;

use quiesced_core::time::BootTime;

use super::error::MysqlError;
use super::facts::{Facts, Hold};
use super::position::Position;
use super::processes::{Guard, Running};
use super::replica::{self, StoppedChannels};
use super::settings::{MysqlMode, MysqlSettings};
use crate::clock;
use crate::hook::{Proof, StepContext};
use crate::mysql_client::{ClientError, Product, Session, lost, set_limits};

/// What the server itself lists as held by the connection that asks; nothing when it keeps no list
/// (<https://dev.mysql.com/doc/refman/9.7/en/performance-schema-metadata-locks-table.html>).
const WITNESS: &str = "SELECT GROUP_CONCAT(DISTINCT OBJECT_TYPE ORDER BY OBJECT_TYPE SEPARATOR ', ') \
     FROM performance_schema.metadata_locks JOIN performance_schema.threads ON THREAD_ID = OWNER_THREAD_ID \
     WHERE PROCESSLIST_ID = CONNECTION_ID() AND LOCK_DURATION = 'EXPLICIT' AND LOCK_STATUS = 'GRANTED' \
     AND OBJECT_TYPE IN ('GLOBAL', 'COMMIT', 'BACKUP LOCK')";

/// What the end of a step is kept from.
const MARGIN: Duration = Duration::from_secs(1);

const READ_LOCK: &str = "FLUSH TABLES WITH READ LOCK";

/// The connections, and what was done over them.
pub(super) struct Held {
    pub(super) hold: Session,
    control: Session,
    settings: MysqlSettings,
    facts: Facts,
    kind: Hold,
    /// Replication was told to stop, whatever became of it.
    stopped: bool,
    /// When the read lock was asked for, while it is not had: readers may wait since.
    asked: Option<BootTime>,
    pub(super) position: Position,
    /// The locks that the server listed; none when it keeps no list.
    witness: Option<String>,
    /// Why what is held does not make the snapshot exact.
    doubt: Option<String>,
}

impl Held {
    /// Logs in twice, and does what is slow: nothing is held yet.
    pub(super) async fn open(settings: &MysqlSettings, step: &StepContext) -> Result<Self, MysqlError> {
        let mut hold = Session::open(Product::Mysql, &settings.server).await?;
        let mut control = Session::open(Product::Mysql, &settings.server).await?;
        let facts = Facts::ask(&mut control, settings).await?;
        let kind = facts.hold(settings.mode).await?;
        hold.execute("FLUSH ENGINE LOGS", "FLUSH LOCAL ENGINE LOGS").await?;
        let position = Position::ask(&mut hold, &facts.version).await?;
        let mut held = Self {
            hold,
            control,
            settings: settings.clone(),
            facts,
            kind,
            stopped: false,
            asked: None,
            position,
            witness: None,
            doubt: None,
        };
        // Where a long statement may be ended, it is ended no earlier than it has to be.
        if kind == Hold::Lock && !settings.kill_selects {
            held.wait_for_statements(step).await?;
        }
        Ok(held)
    }

    /// What `recover` has to start again.
    pub(super) fn to_undo(&self) -> Option<StoppedChannels> {
        let stops = self.kind == Hold::Lock && !self.facts.applying.is_empty();
        let channels = self.facts.applying.clone();
        stops.then(|| StoppedChannels { settings: self.settings.clone(), channels })
    }

    /// Takes the locks, and notes what was there under them.
    pub(super) async fn quiesce(&mut self, step: &StepContext) -> Result<(), MysqlError> {
        set_limits(&mut self.hold, step).await?;
        if self.kind == Hold::Lock && !self.facts.applying.is_empty() {
            // Before any lock: a change that is being applied waits for the lock, and the stop for the change.
            self.stopped = true;
            replica::stop(&mut self.hold, &self.facts.version, &self.facts.applying).await?;
        }
        if self.facts.version.has_backup_lock() {
            self.hold.execute("LOCK INSTANCE FOR BACKUP", "LOCK INSTANCE FOR BACKUP").await?;
        }
        match self.kind {
            Hold::Flush => self.look_again().await?,
            Hold::Lock => self.lock_tables(step).await?,
        }
        // Without it a commit may be known to the binary log alone.
        self.hold.execute("FLUSH ENGINE LOGS", "FLUSH LOCAL ENGINE LOGS").await?;
        self.position = Position::ask(&mut self.hold, &self.facts.version).await?;
        self.witness = witness(&mut self.hold).await?;
        Ok(())
    }

    /// Under the backup lock no table can be made: what is not there now will not be.
    async fn look_again(&mut self) -> Result<(), MysqlError> {
        if self.settings.mode == MysqlMode::Flush {
            self.doubt = self.facts.why_inexact().await?;
            return Ok(());
        }
        match self.facts.plain_table().await? {
            Some(table) => Err(MysqlError::NewPlainTable { server: self.hold.server.clone(), table }),
            None => Ok(()),
        }
    }

    fn guard(&self) -> Guard {
        let MysqlSettings { kill_selects: kill, .. } = self.settings;
        Guard { holder: self.hold.id(), longest: self.settings.longest_seconds(), kill }
    }

    async fn wait_for_statements(&mut self, step: &StepContext) -> Result<(), MysqlError> {
        // What is left then is enough for the lock, and for the answer that it is not to be had.
        let needed = self.settings.longest_statement + MARGIN;
        let until = clock::now() + step.remaining().saturating_sub(needed);
        self.guard().wait(&mut self.control, until).await
    }

    /// Takes the global read lock. It closes every table, so it waits for each statement that uses one, and everybody who
    /// wants to write, or to read that table, waits behind it.
    async fn lock_tables(&mut self, step: &StepContext) -> Result<(), MysqlError> {
        self.wait_for_statements(step).await?;
        let longest = self.settings.longest_seconds();
        let limit = format!("SET SESSION lock_wait_timeout = {longest}");
        self.hold.execute("limits for the session", &limit).await?;
        self.asked = Some(clock::now());
        let Err(source) = self.hold.attempt(READ_LOCK).await else {
            self.asked = None;
            return Ok(());
        };
        // After error 1205 the connection still has the lock that keeps writers waiting (seen with 9.7.4).
        if self.hold.attempt("UNLOCK TABLES").await.is_err() {
            self.control.end_other(&self.hold).await;
        }
        let refused = self.hold.refused(READ_LOCK, source);
        match self.free_readers().await {
            Some(Running { id, user, .. }) => {
                let server = self.hold.server.clone();
                Err(MysqlError::ReadersWait { server, user, id, source: Box::new(refused) })
            }
            None => Err(refused.into()),
        }
    }

    /// A statement that keeps readers waiting who meet our request; none when nobody will wait.
    async fn free_readers(&mut self) -> Option<Running> {
        let asked = self.asked.take()?;
        // Whatever began before that, and not only what is long; the server counts in whole seconds.
        let guard = Guard { longest: (clock::now() - asked).as_secs().max(1), ..self.guard() };
        guard.free_readers(&mut self.control).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "what still runs could not be asked");
            None
        })
    }

    /// Whether all of it is still held. A connection is never made again, and its locks end with it.
    pub(super) async fn verify(&mut self) -> Result<Proof, MysqlError> {
        let server = self.hold.server.clone();
        let gone = |error: ClientError| MysqlError::from(lost(&server, error.to_string()));
        let id: Option<u32> = self.hold.ask("SELECT CONNECTION_ID()").await.map_err(gone)?;
        if id != Some(self.hold.id()) {
            return Err(lost(&server, "another connection answers").into());
        }
        let listed = witness(&mut self.hold).await.map_err(gone)?;
        if self.witness.is_some() && listed != self.witness {
            let listed = listed.unwrap_or_else(|| "no lock".to_owned());
            return Err(lost(&server, format!("it lists {listed} for our connection")).into());
        }
        let now = Position::ask(&mut self.hold, &self.facts.version).await.map_err(gone)?;
        if self.kind == Hold::Lock && self.position.has_moved(&now) {
            return Err(lost(&server, format!("it went on from {} to {now}", self.position)).into());
        }
        Ok(self.proof())
    }

    fn proof(&self) -> Proof {
        if let Some(why) = &self.doubt {
            return Proof::Claimed { why: format!("{why}, which mode `flush` does not hold") };
        }
        let what = match (self.kind, &self.witness) {
            (_, Some(locks)) => format!("has its locks ({locks})"),
            (Hold::Flush, None) => "has its backup lock".to_owned(),
            (Hold::Lock, None) => "has its read lock".to_owned(),
        };
        let id = self.hold.id();
        Proof::Proved { how: format!("connection {id} still {what}, taken at {}", self.position) }
    }

    /// Lets go of everything; where the connection cannot be asked, it is ended, and the locks with it.
    pub(super) async fn release(mut self) -> Result<(), MysqlError> {
        if self.control.busy
            && let Ok(control) = Session::open(Product::Mysql, &self.settings.server).await
        {
            self.control = control;
        }
        if self.hold.busy {
            // Only the server can end a statement that is under way.
            self.control.end_other(&self.hold).await;
        } else {
            self.unlock().await;
        }
        if let Some(Running { id, user, .. }) = self.free_readers().await {
            tracing::warn!(
                id,
                user,
                "readers of its table wait until this connection has ended its statement"
            );
        }
        let Self { hold, mut control, facts, stopped, settings, .. } = self;
        hold.end().await;
        if stopped && replica::start(&mut control, &facts.version, &facts.applying).await.is_err() {
            StoppedChannels { settings, channels: facts.applying }.start_again().await?;
        }
        control.end().await;
        Ok(())
    }

    async fn unlock(&mut self) {
        let has_backup_lock = self.facts.version.has_backup_lock();
        for statement in ["UNLOCK TABLES", "UNLOCK INSTANCE"] {
            if statement == "UNLOCK INSTANCE" && !has_backup_lock {
                continue;
            }
            if let Err(error) = self.hold.attempt(statement).await {
                tracing::warn!(%error, server = %self.hold.server, "the locks end with their connection");
            }
        }
    }
}

async fn witness(session: &mut Session) -> Result<Option<String>, ClientError> {
    let listed: Option<Option<String>> = session.ask(WITNESS).await?;
    Ok(listed.flatten())
}
