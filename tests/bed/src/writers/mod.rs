//! Applications that write while a snapshot is taken, and the judge of what the snapshot is worth.
//!
//! The *pair* is a SQLite ledger on one volume and a file of records on another. Number N is written so:
//!
//! ```text
//! BEGIN IMMEDIATE ─▶ insert row N ─▶ append record N, fdatasync ─▶ COMMIT
//! ```
//!
//! Whoever holds the ledger's write lock therefore finds no write under way, and both sides end with the same number.
//! A snapshot of both volumes in one moment without the lock may hold record N without row N; one volume after the
//! other may differ by anything. [`check_pair`] tells which.

mod check;
mod meter;
mod pair;
mod record;
mod writer;

use std::path::PathBuf;

pub use check::{PairReport, check_pair};
pub(crate) use meter::Meter;
pub use meter::Progress;
pub use pair::Pair;
pub use writer::{Work, Writer, bed_binary, dirty, serve};

/// Why a writer or the judge failed.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The ledger failed.
    #[error("ledger {}: {source}", path.display())]
    Ledger {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file failed.
    #[error("file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The writer's process or thread is gone, or answers nonsense.
    #[error("the writer of {work} gave no answer: {reason}")]
    Silent {
        /// What it writes.
        work: String,
        /// What came instead.
        reason: String,
    },
    /// The writer met an error and stopped.
    #[error("the writer of {work} stopped: {reason}")]
    Stopped {
        /// What it writes.
        work: String,
        /// Why.
        reason: String,
    },
    /// The program that writes as a process of its own is not there.
    #[error("there is no program {}", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
    },
}

impl WriterError {
    /// What to run against it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoProgram { .. } => Some("cargo build -p quiesced-bed"),
            Self::Ledger { .. } | Self::File { .. } | Self::Silent { .. } | Self::Stopped { .. } => None,
        }
    }
}
