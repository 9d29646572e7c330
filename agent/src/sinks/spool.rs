//! Reports that wait to be sent: a file each, so that they survive the agent and the boot.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use quiesced_core::report::SessionReport;

use crate::daemon::store;
use crate::files;

/// More are not kept: at one session in five minutes, three days.
const MOST: usize = 1000;

/// What is older is of no use to whoever waits for it.
const OLDEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Why a report does not wait.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be kept for sending in {path}")]
pub struct SpoolError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A directory of reports. Names sort by time.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    waiting: Gauge,
    /// Tells the courier that there is something new.
    pub(super) news: Notify,
}

impl Spool {
    pub(super) fn new(directory: PathBuf, waiting: Gauge) -> Self {
        let spool = Self { directory, waiting, news: Notify::new() };
        spool.count();
        spool
    }

    /// Keeps a report until it is sent.
    pub(super) fn put(&self, report: &SessionReport) -> Result<(), SpoolError> {
        let path = self.directory.join(format!("{}.json", store::key(report)));
        let written = self.write(&path, report);
        self.count();
        self.news.notify_one();
        written.map_err(|source| SpoolError { path, source })
    }

    fn write(&self, path: &Path, report: &SessionReport) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        files::replace(path, &serde_json::to_vec(report)?)
    }

    /// The reports that wait, oldest first. Those that have waited for too long, or are too many, are
    /// removed; the number is theirs.
    pub(super) fn list(&self) -> (Vec<PathBuf>, usize) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let too_many = files.len().saturating_sub(MOST);
        let is_old = |path: &PathBuf| {
            let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
            modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > OLDEST))
        };
        let given_up = too_many.max(files.iter().take_while(|path| is_old(path)).count());
        files.drain(..given_up).for_each(|path| self.remove(&path));
        (files, given_up)
    }

    /// A report that waits needs to wait no more.
    pub(super) fn remove(&self, path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a report that was sent cannot be removed, and is sent again");
        }
        self.count();
    }

    fn count(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "json"));
        self.waiting.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
    }
}
