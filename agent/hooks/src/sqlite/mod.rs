//! `sqlite`: databases, each held by a write transaction of the agent's own.
//!
//! `prepare` opens a connection to each file and writes its WAL back as far as readers allow. `quiesce` begins an
//! immediate transaction: other writers wait for as long as their own busy timeout, readers go on. `resume` rolls the
//! empty transaction back. The lock dies with the process, so nothing is journaled.
//!
//! SQLite's locks are POSIX advisory locks, and a process loses all of its locks on a file when it closes *any*
//! descriptor of that file (<https://www.sqlite.org/howtocorrupt.html> section 2.2). Inspections therefore pass by
//! [`registry`]: what is open here is not opened a second time. That the kernel still knows the lock is also what
//! `verify` looks at.
//!
//! As root, SQLite gives the `-wal` and `-shm` files that it makes to the owner of the database.

mod holder;
mod locks;
mod patterns;
mod registry;

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use crate::error::{HookError, SqliteError};
use crate::hook::{DataPath, Hook, Inspection, Proof, StepContext};
use holder::Holder;

/// A hook over one or several databases.
pub(crate) struct SqliteHook {
    patterns: Vec<PathBuf>,
    /// What the patterns matched when the hook was inspected: so it stands in the plan.
    databases: Vec<PathBuf>,
    holders: Vec<Holder>,
}

impl SqliteHook {
    pub(crate) fn new(patterns: &[PathBuf]) -> Self {
        Self { patterns: patterns.to_owned(), databases: Vec::new(), holders: Vec::new() }
    }

    async fn expanded(&self) -> Result<Vec<PathBuf>, SqliteError> {
        let patterns = self.patterns.clone();
        let path = patterns.first().cloned().unwrap_or_default();
        let expanded = tokio::task::spawn_blocking(move || patterns::expand(&patterns)).await;
        expanded.unwrap_or(Err(SqliteError::Closed { path }))
    }
}

#[async_trait]
impl Hook for SqliteHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        let mut data_paths = Vec::new();
        self.databases = self.expanded().await?;
        for path in self.databases.clone() {
            let inspected = path.clone();
            let looked = tokio::task::spawn_blocking(move || registry::inspect(&inspected)).await;
            let real = looked.unwrap_or(Err(SqliteError::Closed { path }))?;
            // The WAL and the journal lie beside it, which need not be the filesystem that a single mounted file is on.
            let beside = real.parent().map(Path::to_owned);
            data_paths.push(DataPath { what: "database".to_owned(), path: real });
            data_paths
                .extend(beside.map(|path| DataPath { what: "write-ahead log and journal".to_owned(), path }));
        }
        Ok(Inspection { data_paths })
    }

    async fn prepare(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.holders.clear();
        if self.databases.is_empty() {
            self.databases = self.expanded().await?;
        }
        for path in self.databases.clone() {
            self.holders.push(Holder::open(path).await?);
        }
        for holder in &self.holders {
            holder.checkpoint().await?;
        }
        Ok(())
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError> {
        for holder in &self.holders {
            holder.lock(step.remaining()).await?;
        }
        Ok(())
    }

    async fn verify(&mut self, _step: &StepContext) -> Result<Proof, HookError> {
        for holder in &self.holders {
            holder.verify().await?;
        }
        Ok(Proof::Proved { how: "the transaction is open, and the kernel lists its lock".to_owned() })
    }

    async fn resume(&mut self, _step: &StepContext) -> Result<(), HookError> {
        // A lock that was given up may still be waited for; it must not be taken after this.
        self.holders.iter().for_each(Holder::give_up);
        let mut first_failure = Ok(());
        // One whose thread does not answer stays in the list, so that `close` waits for it.
        while let Some(holder) = self.holders.last() {
            first_failure = first_failure.and(holder.release().await);
            self.holders.pop();
        }
        Ok(first_failure?)
    }

    async fn close(&mut self) {
        self.holders.iter().for_each(Holder::give_up);
        while let Some(holder) = self.holders.last() {
            if let Err(error) = holder.release().await {
                tracing::warn!(%error, "a database cannot be closed");
            }
            self.holders.pop();
        }
    }
}

#[cfg(test)]
mod tests;
