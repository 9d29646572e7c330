//! The trait that every kind of hook implements.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use quiesced_core::id::ExecutionId;
pub use quiesced_core::plan::DataPath;
use quiesced_core::proof::Positions;
use quiesced_core::time::BootTime;

use crate::clock;
use crate::error::HookError;
use crate::exec::ExecHook;
use crate::mariadb::MariadbHook;
use crate::mysql::MysqlHook;
use crate::postgresql::PostgresHook;
use crate::redis::RedisHook;
use crate::session::SessionHook;
use crate::settings::HookSettings;
use crate::sqlite::SqliteHook;
use crate::undo::Undo;

/// What quiesces one application.
///
/// ```text
/// inspect ─▶ prepare ─▶ undo ─▶ quiesce ─▶ (held) ─▶ verify ─▶ resume
///                │                 └── failed, timed out ──────▶ resume
///                └── quiesce never asked for ──────────────────▶ close
/// ```
///
/// Each step may be dropped at any await point, because its time is over or it was cancelled; `resume` must then
/// still do its work, whatever the dropped step had done. A hook writes only the steps that it has.
#[async_trait]
pub trait Hook: Send {
    /// Is it there, may it be used, where does its data lie? Read-only, and allowed while another hook of the same
    /// kind holds the same application: dry-run and plan ask at any time.
    async fn inspect(&mut self, step: &StepContext) -> Result<Inspection, HookError>;

    /// Does the slow work before the window: opens connections, writes checkpoints. Takes nothing.
    async fn prepare(&mut self, _step: &StepContext) -> Result<(), HookError> {
        Ok(())
    }

    /// What must be done if the agent dies while this hook is quiesced; asked after `prepare`, journaled before
    /// `quiesce`. Nothing when the hold dies with the agent's process.
    fn undo(&self, _step: &StepContext) -> Option<Undo> {
        None
    }

    /// Where the application stands, in its own terms: after `prepare` about where the hold will begin, after `quiesce`
    /// where it did. Empty when it does not tell.
    fn positions(&self) -> Positions {
        Positions::new()
    }

    /// Holds the application still.
    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError>;

    /// Was it held since `quiesce` ended? Asked after the thaw, before `resume`, and only when `quiesce` succeeded.
    async fn verify(&mut self, step: &StepContext) -> Result<Proof, HookError>;

    /// Lets the application go on. Called whenever `quiesce` was started.
    async fn resume(&mut self, step: &StepContext) -> Result<(), HookError>;

    /// Lets go of what `prepare` opened, in case `resume` was never needed.
    async fn close(&mut self) {}
}

/// The hook that `settings` describe.
pub fn build(settings: &HookSettings) -> Box<dyn Hook> {
    match settings {
        HookSettings::Exec(exec) => Box::new(ExecHook::new(exec.clone())),
        HookSettings::Mariadb(mariadb) => Box::new(MariadbHook::new(mariadb.clone())),
        HookSettings::Mysql(mysql) => Box::new(MysqlHook::new(mysql.clone())),
        HookSettings::Postgresql(postgresql) => Box::new(PostgresHook::new(postgresql.clone())),
        HookSettings::Redis(redis) => Box::new(RedisHook::new(redis.clone())),
        HookSettings::Session(session) => Box::new(SessionHook::new(session.clone())),
        HookSettings::Sqlite(sqlite) => Box::new(SqliteHook::new(&sqlite.databases)),
    }
}

/// What a step is told.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The name that the hook has in the configuration.
    pub hook: String,
    /// The session's id.
    pub execution_id: ExecutionId,
    /// The volumes that the session covers; empty while they are not known.
    pub volumes: Vec<String>,
    /// Where the agent keeps what must outlive it, but not the boot; on tmpfs.
    pub runtime_dir: PathBuf,
    /// Where what a restore needs is kept; it outlives the boot, and may be written to only after the thaw.
    pub records_dir: PathBuf,
    /// The longest that the window may last: what a hook takes from a server must end soon after by itself.
    pub lease: Duration,
    /// When the step is given up.
    pub deadline: BootTime,
}

impl StepContext {
    /// The time that is left for the step.
    pub fn remaining(&self) -> Duration {
        self.deadline - clock::now()
    }
}

/// What a hook found out without touching anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Where the application's data lies.
    pub data_paths: Vec<DataPath>,
}

/// Whether an application was held all along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It was; this is what shows it.
    Proved {
        /// A clause: "the transaction is open and its lock is in place".
        how: String,
    },
    /// The hook did its part, but nothing shows that the application stayed still.
    Claimed {
        /// Why it cannot be shown, and what would show it.
        why: String,
    },
}
