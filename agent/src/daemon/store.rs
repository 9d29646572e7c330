//! The reports of sessions, kept in files of their own so that they outlive the agent and the host's boot.
//!
//! A report is written when its session is prepared, before anything is held, and again when it has ended. A report
//! without an end therefore belongs to a session that was lost.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quiesced_core::id::ExecutionId;
use quiesced_core::report::{Ending, REPORT_VERSION, SessionReport};
use quiesced_core::session::{Outcome, Past};
use quiesced_core::verdict::Verdict;

use crate::config::ReportSettings;
use crate::files;

/// Why a report could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("the report {path} cannot be {action}")]
pub struct StoreError {
    path: PathBuf,
    action: &'static str,
    #[source]
    source: io::Error,
}

impl StoreError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        format!("look at `df -h {0}` and `ls -ld {0}`", self.path.parent().unwrap_or(&self.path).display())
    }
}

/// The directory of reports.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    /// Reports are written by threads that may outlive whoever asked for it; one writes at a time.
    writing: Arc<Mutex<()>>,
    kept: Kept,
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    reports: usize,
    age: Duration,
}

impl Kept {
    fn of(settings: &ReportSettings) -> Self {
        Self { reports: usize::try_from(settings.keep).unwrap_or(usize::MAX), age: settings.keep_for }
    }

    /// Whether something of this wall time has been kept for long enough. What is from the future stays.
    fn is_old(self, time: SystemTime) -> bool {
        time.elapsed().is_ok_and(|age| age > self.age)
    }
}

impl Store {
    /// Opens the directory, and makes it when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(directory: &Path, settings: &ReportSettings) -> Result<Self, StoreError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| StoreError { path: directory.to_owned(), action: "made", source })?;
        Ok(Self { directory: directory.to_owned(), writing: Arc::default(), kept: Kept::of(settings) })
    }

    /// From now on keeps as much as `settings` say.
    pub fn keep(&mut self, settings: &ReportSettings) {
        self.kept = Kept::of(settings);
    }

    /// Forgets what is too old or too much, as the files do. The last report always stays.
    pub fn forget(&self, reports: &mut Vec<SessionReport>) {
        let too_many = reports.len().saturating_sub(self.kept.reports);
        let is_old = |report: &SessionReport| {
            let opened_at = report.host.as_ref().map(|host| humantime::parse_rfc3339(&host.opened_at));
            opened_at.and_then(Result::ok).is_some_and(|time| self.kept.is_old(time))
        };
        let old = reports.iter().take_while(|report| is_old(report)).count();
        reports.drain(..too_many.max(old).min(reports.len().saturating_sub(1)));
    }

    /// Reads every report, oldest first, and tells which sessions were lost: those that have no end went down with the
    /// agent or the host, and their reports are completed. A file that cannot be read is passed over with a warning: it must not keep the agent from
    /// starting.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn load(&self) -> Result<(Vec<SessionReport>, Vec<SessionReport>), StoreError> {
        let (mut reports, mut lost) = (Vec::new(), Vec::new());
        for path in self.files()? {
            match read(&path) {
                Ok(report) => reports.push(report),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a report cannot be read"),
            }
        }
        for report in reports.iter_mut().filter(|report| report.ending.is_none()) {
            complete_lost(report);
            if let Err(error) = self.save(report) {
                tracing::warn!(%error, "how a lost session ended is not kept");
            }
            lost.push(report.clone());
        }
        Ok((reports, lost))
    }

    /// Writes a report in place of the session's earlier one, and removes the oldest beyond what is kept. A session that
    /// has ended was not opened afterwards: its report is never replaced by one without an end.
    ///
    /// # Errors
    /// When the file cannot be written; the earlier one is then still whole.
    pub fn save(&self, report: &SessionReport) -> Result<(), StoreError> {
        let path = self.directory.join(format!("{}.json", key(report)));
        let failed = |action| {
            let path = path.clone();
            move |source| StoreError { path, action, source }
        };
        let _only_one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if report.ending.is_none() && path.exists() {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(report).map_err(io::Error::from).map_err(failed("encoded"))?;
        files::replace(&path, &bytes).map_err(failed("written"))?;
        self.rotate()
    }

    /// Removes the files that are too old or too many.
    fn rotate(&self) -> Result<(), StoreError> {
        for (newer, file) in self.files()?.iter().rev().enumerate().skip(1) {
            let written = fs::metadata(file).and_then(|metadata| metadata.modified());
            if newer >= self.kept.reports || written.is_ok_and(|time| self.kept.is_old(time)) {
                let failed = |source| StoreError { path: file.clone(), action: "rotated", source };
                fs::remove_file(file).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, StoreError> {
        list(&self.directory)
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError { path: directory.to_owned(), action: "listed", source };
    let entries = fs::read_dir(directory).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut files = paths.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    Ok(files)
}

/// Every report that can be read, oldest first, without writing anything; for when no agent runs that could be asked. A
/// session without an end was lost then.
///
/// # Errors
/// When there is a directory, and it cannot be listed.
pub fn on_disk(directory: &Path) -> Result<Vec<SessionReport>, StoreError> {
    let mut reports = readable(directory)?;
    reports.iter_mut().filter(|report| report.ending.is_none()).for_each(complete_lost);
    Ok(reports)
}

/// The reports of sessions that have ended, oldest first; also while an agent runs, which may have one open.
///
/// # Errors
/// When there is a directory, and it cannot be listed.
pub fn ended_on_disk(directory: &Path) -> Result<Vec<SessionReport>, StoreError> {
    let mut reports = readable(directory)?;
    reports.retain(|report| report.ending.is_some());
    Ok(reports)
}

fn readable(directory: &Path) -> Result<Vec<SessionReport>, StoreError> {
    let files = match list(directory) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Vec::new(),
        files => files?,
    };
    Ok(files.iter().filter_map(|path| read(path).ok()).collect())
}

/// What the machine has to know of the sessions that these reports tell of.
pub fn past(reports: &[SessionReport]) -> Past {
    let mut past = Past::default();
    for report in reports {
        if let Some(outcome) = outcome(report) {
            past.remember(report.execution_id.clone(), outcome);
        }
    }
    past
}

fn outcome(report: &SessionReport) -> Option<Outcome> {
    use quiesced_core::exit::ExitCode;
    let code = report.code?;
    Some(match (report.ending?, code) {
        (Ending::Post, code) => Outcome::Posted(code),
        (_, ExitCode::AutoThawed) => Outcome::AutoThawed,
        _ => Outcome::NeverHeld,
    })
}

fn read(path: &Path) -> Result<SessionReport, Box<dyn std::error::Error>> {
    let report: SessionReport = serde_json::from_slice(&fs::read(path)?)?;
    if report.version > REPORT_VERSION {
        return Err(format!("it has version {}, written by a newer agent", report.version).into());
    }
    Ok(report)
}

/// The agent died before it could say how the session ended. What it held has been released by others, at a time
/// that nobody recorded, so a snapshot is worth no more than a crash.
fn complete_lost(report: &mut SessionReport) {
    report.ending = Some(Ending::Lost);
    report.code = Some(quiesced_core::exit::ExitCode::AutoThawed);
    report.verdict = Some(Verdict::CrashConsistent);
    report.reasons = vec![format!("the hold ended because {}", Ending::Lost.because())];
}

/// What tells sessions apart, also those without an id. Keys sort by time: the wall clock's, and within one boot the boot
/// clock's.
pub fn key(report: &SessionReport) -> String {
    let opened_at = report.host.as_ref().map_or("unknown", |host| host.opened_at.as_str());
    let stamp: String = opened_at.chars().filter(char::is_ascii_alphanumeric).collect();
    let began = report.phases.first().map_or(0, |span| span.began.as_nanos());
    format!("{stamp}-{began:020}-{}", report.execution_id)
}

/// The last session of this id and how it ended, as far as the disk tells; for when no agent runs that could be asked.
pub fn last_on_disk(directory: &Path, id: &ExecutionId) -> Option<(SessionReport, Outcome)> {
    let mut reports = on_disk(directory).ok()?.into_iter().rev();
    let report = reports.find(|report| report.execution_id == *id)?;
    let outcome = outcome(&report)?;
    Some((report, outcome))
}
