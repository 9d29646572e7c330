//! One database and the thread that its connection lives in: SQLite's calls block.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::locks;
use super::registry::{Entry, FileId};
use crate::error::SqliteError;

/// What a lock leaves of its time, so that its own error, which names the writer, comes before the step's.
const MARGIN: Duration = Duration::from_millis(50);

/// How often the lock is tried: a writer that works without pause leaves gaps of this size.
const PAUSE: Duration = Duration::from_millis(1);

type Reply = oneshot::Sender<Result<(), SqliteError>>;
type Work = Box<dyn FnOnce(&Held) -> Result<(), SqliteError> + Send>;

/// The agent's end of a database's thread.
#[derive(Debug)]
pub(super) struct Holder {
    path: PathBuf,
    work: mpsc::Sender<(Work, Reply)>,
    given_up: Arc<AtomicBool>,
}

/// A connection and what it is a connection to.
struct Held {
    path: PathBuf,
    connection: Connection,
    entry: Entry,
    given_up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Holder {
    /// Opens a database in a thread of its own.
    pub(super) async fn open(path: PathBuf) -> Result<Self, SqliteError> {
        let (work, orders) = mpsc::channel();
        let (opened, is_open) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (own, flag) = (path.clone(), Arc::clone(&given_up));
        thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || live(own, flag, opened, &orders))
            .map_err(|source| SqliteError::Thread { path: path.clone(), source })?;
        is_open.await.unwrap_or_else(|_| Err(SqliteError::Closed { path: path.clone() }))?;
        Ok(Self { path, work, given_up })
    }

    /// Writes the WAL back and truncates it, as far as readers allow.
    pub(super) async fn checkpoint(&self) -> Result<(), SqliteError> {
        self.send(Held::checkpoint).await
    }

    /// Takes the write lock; waits for busy writers for as long as `limit`.
    pub(super) async fn lock(&self, limit: Duration) -> Result<(), SqliteError> {
        let end = Instant::now() + limit.saturating_sub(MARGIN);
        self.send(move |held| held.lock(end)).await
    }

    /// Looks whether the lock has been held since.
    pub(super) async fn verify(&self) -> Result<(), SqliteError> {
        self.send(Held::verify).await
    }

    /// Makes a lock that is still waited for fail soon.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    /// Releases the lock, if it was taken. The connection is closed when the holder is dropped.
    pub(super) async fn release(&self) -> Result<(), SqliteError> {
        self.send(Held::release).await
    }

    async fn send(
        &self,
        work: impl FnOnce(&Held) -> Result<(), SqliteError> + Send + 'static,
    ) -> Result<(), SqliteError> {
        let (reply, done) = oneshot::channel();
        let closed = || SqliteError::Closed { path: self.path.clone() };
        self.work.send((Box::new(work), reply)).map_err(|_| closed())?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// The thread's whole life: it ends, and closes the connection, when the holder is dropped.
fn live(path: PathBuf, given_up: Arc<AtomicBool>, opened: Reply, orders: &mpsc::Receiver<(Work, Reply)>) {
    let held = match Held::open(path, given_up) {
        Ok(held) => held,
        Err(error) => {
            // Whoever gave up waiting for the connection needs no answer.
            drop(opened.send(Err(error)));
            return;
        }
    };
    drop(opened.send(Ok(())));
    while let Ok((work, reply)) = orders.recv() {
        drop(reply.send(work(&held)));
    }
    let Held { path, connection, entry, .. } = held;
    if let Err((_, source)) = connection.close() {
        let error = SqliteError::Close { path, source };
        tracing::warn!(%error, "a connection stays open");
    }
    drop(entry);
}

impl Held {
    fn open(path: PathBuf, given_up: Arc<AtomicBool>) -> Result<Self, SqliteError> {
        // SQLite follows symbolic links too, and puts the WAL beside the file that it reaches.
        let path = fs::canonicalize(&path).map_err(|source| SqliteError::Examine { path, source })?;
        let entry = Entry::new(FileId::of(&path)?);
        // Never created: a path that is mistyped must not become an empty database.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source| SqliteError::Open { path: path.clone(), source };
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        // The first read opens the file, and the WAL with it.
        connection.query_row("PRAGMA schema_version", [], |_| Ok(())).map_err(failed)?;
        Ok(Self { path, connection, entry, given_up })
    }

    fn checkpoint(&self) -> Result<(), SqliteError> {
        self.write_back("PASSIVE")?;
        self.write_back("TRUNCATE")
    }

    /// PASSIVE stands in nobody's way, so it comes first and does the bulk. TRUNCATE keeps writers out for as long as it
    /// works or waits, so it finds little to do and waits for nobody: what a reader still needs stays in the WAL, which
    /// is as safe (<https://www.sqlite.org/c3ref/wal_checkpoint_v2.html>).
    fn write_back(&self, mode: &str) -> Result<(), SqliteError> {
        let failed = |source| SqliteError::Checkpoint { path: self.path.clone(), source };
        self.connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        // The first column tells whether a reader or writer was in the way; then less was written back.
        let busy = self
            .connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0))
            .map_err(failed)?;
        tracing::debug!(path = %self.path.display(), mode, busy, "the WAL was written back");
        Ok(())
    }

    fn lock(&self, end: Instant) -> Result<(), SqliteError> {
        let failed = |source| SqliteError::Lock { path: self.path.clone(), source };
        let began = Instant::now();
        self.connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        loop {
            match self.connection.execute_batch("BEGIN IMMEDIATE") {
                // Asked at once too: a lock that cannot be proved now cannot be proved at the end.
                Ok(()) => return self.verify(),
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    if Instant::now() >= end || self.given_up.load(Ordering::SeqCst) {
                        return Err(SqliteError::Busy { path: self.path.clone(), waited: began.elapsed() });
                    }
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn verify(&self) -> Result<(), SqliteError> {
        if self.connection.is_autocommit() {
            return Err(SqliteError::TransactionOver { path: self.path.clone() });
        }
        self.check_file()?;
        if locks::is_listed(&self.path, self.entry.file())? {
            Ok(())
        } else {
            Err(SqliteError::LockGone { path: self.path.clone() })
        }
    }

    /// A file that was replaced meanwhile is locked, but it is not the database any more.
    fn check_file(&self) -> Result<(), SqliteError> {
        if FileId::of(&self.path)? == self.entry.file() {
            Ok(())
        } else {
            Err(SqliteError::Replaced { path: self.path.clone() })
        }
    }

    fn release(&self) -> Result<(), SqliteError> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        let failed = |source| SqliteError::Close { path: self.path.clone(), source };
        self.connection.execute_batch("ROLLBACK").map_err(failed)
    }
}
