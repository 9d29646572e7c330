//! `redis`: a Redis (6.2 and later) or Valkey server.
//!
//! | step | what is asked |
//! | --- | --- |
//! | prepare | connect; a rewrite or save that is under way or due is waited for |
//! | quiesce | `CLIENT PAUSE … WRITE`; then its log is handed to the kernel, or with no log, a save is made |
//! | verify | same run, no change since, pause not over |
//! | resume | `CLIENT UNPAUSE`, after the thaw |
//!
//! Writers wait, readers go on (<https://redis.io/docs/latest/commands/client-pause/>). Without the pause a frozen
//! append-only file would stop the whole server, readers too. The pause has an end of its own, a little after the lease:
//! a server whose agent is gone goes on by itself. It outlives the connection, so it is journaled, and `recover` ends it
//! earlier.

mod error;
mod rewrite;
mod session;
pub mod settings;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use quiesced_core::proof::Positions;
use quiesced_core::time::BootTime;

pub use error::RedisError;

use crate::clock;
use crate::error::HookError;
use crate::hook::{DataPath, Hook, Inspection, Proof, StepContext};
use crate::server::{IfUnavailable, residence};
use crate::undo::Undo;
use rewrite::Rewriting;
use session::{Info, Session};
use settings::RedisSettings;

/// What the pause is longer than the lease and the quiesce itself by. It must not end while the disk is frozen: the server
/// would then hang as a whole.
const GRACE: Duration = Duration::from_secs(10);

/// How often the server is asked whether it has written everything out.
const PAUSE: Duration = Duration::from_millis(5);

/// How long the end of a pause may take that an agent left behind.
const UNDO_LIMIT: Duration = Duration::from_secs(5);

/// A hook over one server.
pub(crate) struct RedisHook {
    settings: RedisSettings,
    /// Why there is nothing to do this time.
    skipped: Option<String>,
    session: Option<Session>,
    paused: Option<Paused>,
}

/// The server when it had been paused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Paused {
    run_id: String,
    role: String,
    changes: u64,
    saved_at: u64,
    /// The size of the append-only file; none without one.
    log_size: Option<u64>,
    ends: BootTime,
    /// How far its replicas could have come.
    replicated: u64,
}

impl RedisHook {
    pub(crate) const fn new(settings: RedisSettings) -> Self {
        Self { settings, skipped: None, session: None, paused: None }
    }

    async fn look(&mut self, step: &StepContext) -> Result<Inspection, RedisError> {
        let mut session = Session::open(&self.settings, step.remaining()).await?;
        let info = session.info().await?;
        if info.number("loading")? != 0 {
            return Err(RedisError::Loading { server: session.server });
        }
        let saves = session.parameter("save").await?;
        let keeps = info.number("aof_enabled")? != 0 || !saves.is_empty();
        self.skipped = self.settings.when.skips(info.text("role")? != "master");
        if !keeps {
            self.skipped = Some("skipped: the server keeps nothing on disk".to_owned());
        }
        if self.skipped.is_some() {
            return Ok(Inspection::default());
        }
        // Whether it may: a pause of no length. It never shortens one that is in force (networking.c, `pauseActions`).
        pause(&mut session, Duration::ZERO).await?;
        let directory = PathBuf::from(session.parameter("dir").await?);
        let pid = info.number("process_id")?;
        let server = session.server;
        let elsewhere = |(path, source)| RedisError::Elsewhere { server, path, source };
        let is_server = move |resident: residence::Resident| u64::from(resident.pid) == pid;
        residence::check(directory.clone(), is_server).await.map_err(elsewhere)?;
        Ok(Inspection { data_paths: vec![DataPath { what: "data directory".to_owned(), path: directory }] })
    }

    fn session(&mut self) -> Result<&mut Session, RedisError> {
        let server = self.settings.host.clone();
        self.session.as_mut().ok_or(RedisError::Lost { server, why: "there is no session".to_owned() })
    }

    async fn hold(&mut self, step: &StepContext) -> Result<(), RedisError> {
        let length = step.remaining() + step.lease + GRACE;
        let session = self.session()?;
        let ends = clock::now() + length;
        pause(session, length).await?;
        let info = write_out(session).await?;
        self.paused = Some(Paused::of(&info, ends)?);
        Ok(())
    }

    async fn prove(&mut self) -> Result<Proof, RedisError> {
        let before = self.paused.clone();
        let session = self.session()?;
        let info = session.info().await?;
        let lost = |why: String| RedisError::Lost { server: session.server.clone(), why };
        let before = before.ok_or_else(|| lost("it was never paused".to_owned()))?;
        let now = Paused::of(&info, before.ends)?;
        if let Some(why) = before.differs(&now) {
            return Err(lost(why));
        }
        // Valkey tells; Redis does not.
        if info.text("paused_reason").is_ok_and(|reason| reason == "none") {
            return Err(lost("its pause was ended by somebody else".to_owned()));
        }
        let Paused { run_id, changes, .. } = now;
        Ok(Proof::Proved {
            how: format!("run {run_id} has made no change since {changes}, and its pause is not over"),
        })
    }
}

impl Paused {
    fn of(info: &Info, ends: BootTime) -> Result<Self, RedisError> {
        Ok(Self {
            run_id: info.text("run_id")?.to_owned(),
            role: info.text("role")?.to_owned(),
            changes: info.number("rdb_changes_since_last_save")?,
            saved_at: info.number("rdb_last_save_time")?,
            log_size: match info.number("aof_enabled")? {
                0 => None,
                _ => Some(info.number("aof_current_size")?),
            },
            ends,
            replicated: info.number_or_0("master_repl_offset"),
        })
    }

    /// Why it was not held from then to `now`; none when it was. A save takes what it has written off the count of changes,
    /// so after one only the append-only file tells; a server without one had nothing to save.
    fn differs(&self, now: &Self) -> Option<String> {
        let saved = now.saved_at != self.saved_at;
        let changed = now.log_size != self.log_size
            || if saved { self.log_size.is_none() } else { now.changes != self.changes };
        if now.run_id != self.run_id {
            Some("it was restarted".to_owned())
        } else if now.role != self.role {
            Some(format!("it was a {} and is a {}", self.role, now.role))
        } else if changed {
            Some(format!("it has made changes: {} before, {} now", self.changes, now.changes))
        } else if clock::now() >= self.ends {
            Some("its pause was over".to_owned())
        } else {
            None
        }
    }
}

async fn pause(session: &mut Session, length: Duration) -> Result<(), RedisError> {
    let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    session.ask("CLIENT PAUSE", redis::cmd("CLIENT").arg("PAUSE").arg(millis).arg("WRITE")).await
}

async fn unpause(session: &mut Session) -> Result<(), RedisError> {
    session.ask("CLIENT UNPAUSE", redis::cmd("CLIENT").arg("UNPAUSE")).await
}

/// Waits until everything that was written before the pause is with the kernel: in the append-only file, or with none,
/// in a save of its own.
async fn write_out(session: &mut Session) -> Result<Info, RedisError> {
    let info = settled(session).await?;
    if info.number("aof_enabled")? != 0 {
        let failed = info.text("aof_last_write_status")? != "ok";
        let server = session.server.clone();
        let what = "the last write of its append-only file failed";
        return if failed { Err(RedisError::NotWritten { server, what }) } else { Ok(info) };
    }
    if info.number("rdb_changes_since_last_save")? == 0 {
        return Ok(info);
    }
    let _queued: String = session.ask("BGSAVE", &redis::cmd("BGSAVE")).await?;
    let info = settled(session).await?;
    let (server, what) = (session.server.clone(), "the save failed");
    if info.text("rdb_last_bgsave_status")? == "ok" {
        Ok(info)
    } else {
        Err(RedisError::NotWritten { server, what })
    }
}

/// Waits until the server has nothing under way, and nothing that it would begin by itself. The step's own limit ends it.
async fn settled(session: &mut Session) -> Result<Info, RedisError> {
    let rewriting = Rewriting::of(session).await?;
    loop {
        let info = session.info().await?;
        let busy = [
            "aof_buffer_length",
            "aof_pending_bio_fsync",
            "aof_rewrite_in_progress",
            "aof_rewrite_scheduled",
            "rdb_bgsave_in_progress",
        ];
        let is_busy = busy.iter().any(|field| info.number_or_0(field) != 0);
        let is_due = rewriting.is_due(&info);
        if is_due && info.text("aof_last_bgrewrite_status").is_ok_and(|status| status == "err") {
            let what = "its append-only file is due for a rewrite, and the last one failed";
            return Err(RedisError::NotWritten { server: session.server.clone(), what });
        }
        if !is_busy && !is_due {
            return Ok(info);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends a pause that an agent left behind. A server that is not there is not paused.
pub(crate) async fn end_pause(settings: &RedisSettings) -> Result<(), RedisError> {
    let opened = tokio::time::timeout(UNDO_LIMIT, Session::open(settings, UNDO_LIMIT)).await;
    let server = || settings.host.clone();
    let late = || RedisError::Lost { server: server(), why: "it does not answer".to_owned() };
    let mut session = match opened.map_err(|_| late())? {
        Err(error) if error.is_unavailable() => return Ok(()),
        opened => opened?,
    };
    tokio::time::timeout(UNDO_LIMIT, unpause(&mut session)).await.map_err(|_| late())?
}

#[async_trait]
impl Hook for RedisHook {
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
            let mut session = Session::open(&self.settings, step.remaining()).await?;
            settled(&mut session).await?;
            self.session = Some(session);
        }
        Ok(())
    }

    fn undo(&self, _step: &StepContext) -> Option<Undo> {
        self.session.as_ref().map(|_| Undo::RedisUnpause(Box::new(self.settings.clone())))
    }

    fn positions(&self) -> Positions {
        let Some(paused) = &self.paused else { return Positions::new() };
        let offset = ("replication offset".to_owned(), paused.replicated.to_string());
        let log = paused.log_size.map(|bytes| ("append-only file".to_owned(), format!("{bytes} bytes")));
        std::iter::once(offset).chain(log).collect()
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError> {
        if self.skipped.is_some() {
            return Ok(());
        }
        Ok(self.hold(step).await?)
    }

    async fn verify(&mut self, _step: &StepContext) -> Result<Proof, HookError> {
        if let Some(why) = &self.skipped {
            return Ok(Proof::Claimed { why: why.clone() });
        }
        Ok(self.prove().await?)
    }

    /// Over a new connection when the old one is lost: the pause is the server's, not the connection's.
    async fn resume(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.paused = None;
        let Some(mut session) = self.session.take() else { return Ok(()) };
        if unpause(&mut session).await.is_err() {
            end_pause(&self.settings).await?;
        }
        Ok(())
    }

    async fn close(&mut self) {
        self.session = None;
    }
}

#[cfg(test)]
mod tests;
