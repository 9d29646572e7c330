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

mod error;
mod scattered;
mod session;
pub mod settings;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

pub use error::MariadbError;

use crate::error::HookError;
use crate::hook::{DataPath, Hook, Inspection, Proof, StepContext};
use crate::server::{IfUnavailable, residence};
use error::code;
use session::Session;
use settings::MariadbSettings;

/// What the server's own limit is longer than the lease by.
const GRACE: Duration = Duration::from_secs(10);

/// ER_BACKUP_NOT_RUNNING: the connection is in no stage.
const NO_STAGE: u16 = 4146;
/// ER_BACKUP_WRONG_STAGE: the connection is in this stage already.
const IN_STAGE: u16 = 4147;

/// Each place in which it keeps data, as far as it has one; a path that is relative begins at the data directory.
const PLACES: &str = "SELECT @@datadir, @@innodb_data_home_dir, @@innodb_log_group_home_dir, @@innodb_undo_directory, \
     @@aria_log_dir_path, @@log_bin_basename, @@relay_log_basename, @@innodb_data_file_path, @@hostname";

type Place = Option<String>;
type Places = (String, Place, Place, Place, Place, Place, Place, String, String);

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
    /// The last transaction in the binary log when commits were blocked.
    position: String,
}

impl MariadbHook {
    pub(crate) const fn new(settings: MariadbSettings) -> Self {
        Self { settings, skipped: None, held: None }
    }

    async fn look(&mut self) -> Result<Inspection, MariadbError> {
        let mut session = Session::open(&self.settings).await?;
        check_server(&mut session).await?;
        if self.settings.when != crate::server::When::Any {
            let replica: Option<mysql_async::Row> = session.ask("SHOW REPLICA STATUS").await?;
            self.skipped = self.settings.when.skips(replica.is_some());
        }
        let data_paths = if self.skipped.is_some() { Vec::new() } else { data_paths(&mut session).await? };
        session.end().await;
        Ok(Inspection { data_paths })
    }

    fn held(&mut self) -> Result<&mut Held, MariadbError> {
        let server = self.settings.host.clone();
        self.held.as_mut().ok_or(MariadbError::Lost { server, why: "there is no connection".to_owned() })
    }
}

/// Whether it is a server that this hook knows, and the user may do what is needed.
async fn check_server(session: &mut Session) -> Result<(), MariadbError> {
    let version: Option<String> = session.ask("SELECT VERSION()").await?;
    let version = version.unwrap_or_default();
    if !is_known(&version) {
        return Err(MariadbError::OtherServer { server: session.server.clone(), version });
    }
    let cluster: Option<(String, String)> = session.ask("SHOW GLOBAL VARIABLES LIKE 'wsrep_on'").await?;
    if cluster.is_some_and(|(_, value)| value == "ON") {
        return Err(MariadbError::Galera { server: session.server.clone() });
    }
    // Asked without a stage it changes nothing, and a user without the right is told so before that.
    match session.attempt("BACKUP STAGE END").await {
        Err(error) if code(&error) == Some(NO_STAGE) => Ok(()),
        Ok(()) => Ok(()),
        Err(source) => {
            let server = session.server.clone();
            Err(MariadbError::Refused { server, statement: "BACKUP STAGE", source })
        }
    }
}

/// `10.11.6-MariaDB-0+deb12u1-log`; 10.5 is the first with these privileges' names.
fn is_known(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    version.contains("MariaDB") && (major, minor) >= (10, 5)
}

async fn data_paths(session: &mut Session) -> Result<Vec<DataPath>, MariadbError> {
    let places: Option<Places> = session.ask(PLACES).await?;
    let server = session.server.clone();
    let Some((base, home, log, undo, aria, binary_log, relay_log, tablespace, name)) = places else {
        return Ok(Vec::new());
    };
    let base = PathBuf::from(base);
    let elsewhere = |(path, source)| MariadbError::Elsewhere { server: server.clone(), path, source };
    works_in(&base, name).await.map_err(elsewhere)?;
    let folder = |what: &str, place: Place| {
        let place = place.filter(|place| !place.is_empty())?;
        Some(DataPath { what: what.to_owned(), path: base.join(place) })
    };
    // The names of logs begin with these; what counts is the directory.
    let beside = |place: Place| {
        let parent = Path::new(&place?).parent()?.to_owned();
        Some(parent.display().to_string())
    };
    let own = Some(DataPath { what: "data directory".to_owned(), path: base.clone() });
    let all = [
        own,
        folder("InnoDB's tablespaces", home),
        folder("InnoDB's redo log", log),
        folder("InnoDB's undo logs", undo),
        folder("Aria's log", aria),
        folder("binary log", beside(binary_log)),
        folder("relay log", beside(relay_log)),
    ];
    let mut found: Vec<DataPath> = all.into_iter().flatten().collect();
    let system = scattered::system_tablespace(&tablespace);
    let scattered = system.into_iter().chain(scattered_tables(base).await.map_err(elsewhere)?);
    found.extend(scattered.map(|path| DataPath { what: "tables elsewhere".to_owned(), path }));
    crate::server::exist(found).await.map_err(elsewhere)
}

/// Whether the server that has this host name is one that works in this directory here. One in a container has a name
/// of its own, as a rule, and so has one on another host.
async fn works_in(base: &Path, name: String) -> Result<(), (PathBuf, io::Error)> {
    let own =
        std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| (base.to_owned(), error))?;
    let shares_name = own.trim_end() == name;
    residence::check(base.to_owned(), move |resident| resident.shares_name == shares_name).await
}

async fn scattered_tables(base: PathBuf) -> Result<BTreeSet<PathBuf>, (PathBuf, io::Error)> {
    let path = base.clone();
    let looked = tokio::task::spawn_blocking(move || scattered::places(&base)).await;
    looked.unwrap_or_else(|lost| Err(io::Error::other(lost))).map_err(|error| (path, error))
}

impl Held {
    async fn open(settings: &MariadbSettings) -> Result<Self, MariadbError> {
        let mut hold = Session::open(settings).await?;
        let control = Session::open(settings).await?;
        hold.execute("FLUSH ENGINE LOGS", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS").await?;
        Ok(Self { hold, control, position: String::new() })
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), MariadbError> {
        // Its own error, which names the lock, comes before the step's.
        let wait = step.remaining().as_secs().saturating_sub(1).max(1);
        let idle = (step.lease + GRACE).as_secs();
        let limits = format!("SET SESSION lock_wait_timeout = {wait}, wait_timeout = {idle}");
        self.hold.execute("limits for the session", &limits).await?;
        self.hold.execute("BACKUP STAGE START", "BACKUP STAGE START").await?;
        self.hold.execute("BACKUP STAGE BLOCK_COMMIT", "BACKUP STAGE BLOCK_COMMIT").await?;
        self.hold.execute("FLUSH ENGINE LOGS", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS").await?;
        self.position = position(&mut self.hold).await?;
        Ok(())
    }

    async fn verify(&mut self) -> Result<Proof, MariadbError> {
        let server = self.hold.server.clone();
        let lost = |why: String| MariadbError::Lost { server, why };
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
            // Only the server can end a statement that is under way.
            if let Err(error) = control.attempt(&format!("KILL {}", hold.id())).await {
                tracing::warn!(%error, server = hold.server, "the statement of a hook could not be ended");
            }
        } else if let Err(error) = hold.attempt("BACKUP STAGE END").await
            && code(&error) != Some(NO_STAGE)
        {
            tracing::warn!(%error, server = hold.server, "the stage ends with its connection");
        }
        hold.end().await;
        control.end().await;
    }
}

async fn position(session: &mut Session) -> Result<String, MariadbError> {
    let position: Option<Option<String>> = session.ask("SELECT @@gtid_binlog_pos").await?;
    Ok(position.flatten().unwrap_or_default())
}

#[async_trait]
impl Hook for MariadbHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        match self.look().await {
            Err(error) if error.is_unavailable() && self.settings.if_unavailable == IfUnavailable::Skip => {
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
