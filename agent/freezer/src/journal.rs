//! What is held, or may be, written where it outlives the agent but not the boot.
//!
//! One file on tmpfs: a line of JSON that is written once, before anything is held, and a line with one letter for
//! each thing, which are the only bytes that change. Inside the window a change is a single `pwrite(2)` of one byte
//! to memory: no file is opened and no disk is waited for.
//!
//! ```text
//! {"version":1,"boot_id":"…","things":[{"hook":…},{"filesystem":…}]}
//! hm
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde::{Deserialize, Serialize};

use quiesced_core::id::ExecutionId;
use quiesced_core::superblock::Superblock;
use quiesced_core::time::BootTime;

use crate::process::ProcessId;

/// The version of the file's form.
pub const JOURNAL_VERSION: u32 = 1;

/// A session writes a few kilobytes; a file that is larger was not written by us.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What one session holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`JOURNAL_VERSION`].
    pub version: u32,
    /// The boot in which it was written: another boot holds nothing any more.
    pub boot_id: String,
    /// The session.
    pub execution_id: ExecutionId,
    /// The agent.
    pub agent: ProcessId,
    /// The guardian; absent when filesystems are only simulated.
    pub guardian: Option<ProcessId>,
    /// When the lease ends.
    pub lease_ends: BootTime,
    /// What is to be held, in the order in which it is taken.
    pub things: Vec<Thing>,
}

/// One thing that a session holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A frozen filesystem.
    Filesystem {
        /// The mount through which it was opened.
        mount_point: PathBuf,
        /// Its identity in the table of mounts.
        superblock: Superblock,
        /// Its `st_dev`, compared again before it is thawed.
        st_dev: u64,
    },
    /// A quiesced application.
    Hook {
        /// The hook's name.
        name: String,
        /// How its hold is undone, in the words of the hook.
        undo: serde_json::Value,
    },
}

impl Thing {
    /// The mount point, or the hook's name.
    pub fn name(&self) -> String {
        match self {
            Self::Filesystem { mount_point, .. } => mount_point.display().to_string(),
            Self::Hook { name, .. } => name.clone(),
        }
    }
}

/// Whether a thing is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing has been done to it yet.
    Planned,
    /// It was asked for; whether it took effect is not known.
    MaybeHeld,
    /// It is held.
    Held,
    /// It was released.
    Released,
    /// It was asked for and refused.
    NotHeld,
}

impl Status {
    const fn letter(self) -> u8 {
        match self {
            Self::Planned => b'p',
            Self::MaybeHeld => b'm',
            Self::Held => b'h',
            Self::Released => b'r',
            Self::NotHeld => b'n',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        let all = [Self::Planned, Self::MaybeHeld, Self::Held, Self::Released, Self::NotHeld];
        all.into_iter().find(|status| status.letter() == letter)
    }

    /// Whether it must be released: what may be held counts as held.
    pub const fn is_owed(self) -> bool {
        matches!(self, Self::MaybeHeld | Self::Held)
    }
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be written or read.
    #[error("the journal {path} cannot be {action}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It would lie on a disk, which may be frozen, and which outlives the boot.
    #[error("the runtime directory {0} does not lie on tmpfs")]
    NotInMemory(PathBuf),
    /// It was not written by this version, or not by us.
    #[error("the journal {path} cannot be understood: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl JournalError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { path, .. } => {
                format!("look at `ls -l {}` and run the command as root", path.display())
            }
            Self::NotInMemory(directory) => format!(
                "run `mkdir -p {0} && mount -t tmpfs -o mode=700 tmpfs {0}`, or give the agent and its commands \
                 `--runtime-dir /dev/shm/quiesced`",
                directory.display()
            ),
            Self::Damaged { path, .. } => format!(
                "thaw what is frozen with `fsfreeze -u MOUNTPOINT`, then remove the file with `rm {}`",
                path.display()
            ),
        }
    }
}

/// The journal of the open session.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    first_letter: u64,
    things: usize,
}

impl Journal {
    /// Where the journal of a runtime directory lies.
    pub fn path(runtime_dir: &Path) -> PathBuf {
        runtime_dir.join("journal")
    }

    /// Whether a journal may lie in this directory, or where the directory will be made.
    ///
    /// # Errors
    /// When that is not tmpfs, or cannot be found out.
    pub fn check_place(runtime_dir: &Path) -> Result<(), JournalError> {
        let existing = runtime_dir.ancestors().find(|path| path.exists()).unwrap_or(runtime_dir);
        let failed = |errno: nix::Error| JournalError::Io {
            path: Self::path(runtime_dir),
            action: "written",
            source: errno.into(),
        };
        if statfs(existing).map_err(failed)?.filesystem_type() == TMPFS_MAGIC {
            Ok(())
        } else {
            Err(JournalError::NotInMemory(runtime_dir.to_owned()))
        }
    }

    /// Writes the journal of a session, with everything planned and nothing held.
    ///
    /// # Errors
    /// When the directory is not on tmpfs, or the file cannot be written.
    pub fn create(runtime_dir: &Path, record: &Record) -> Result<Self, JournalError> {
        let path = Self::path(runtime_dir);
        let failed = |action, source| JournalError::Io { path: path.clone(), action, source };
        Self::check_place(runtime_dir)?;
        let header = serde_json::to_vec(record).map_err(|error| failed("encoded", error.into()))?;
        let first_letter = header.len() as u64 + 1;
        let mut bytes = header;
        bytes.push(b'\n');
        bytes.extend(record.things.iter().map(|_| Status::Planned.letter()));
        bytes.push(b'\n');
        let temporary = runtime_dir.join("journal.new");
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = opened.map_err(|source| failed("written", source))?;
        file.write_all(&bytes).map_err(|source| failed("written", source))?;
        fs::rename(&temporary, &path).map_err(|source| failed("put in place", source))?;
        Ok(Self { path, file, first_letter, things: record.things.len() })
    }

    /// Records the status of one thing.
    ///
    /// # Errors
    /// When it cannot be written, which on tmpfs means that the file system is gone.
    pub fn set(&self, thing: usize, status: Status) -> Result<(), JournalError> {
        debug_assert!(thing < self.things, "no thing {thing} in the journal");
        self.file
            .write_all_at(&[status.letter()], self.first_letter + thing as u64)
            .map_err(|source| JournalError::Io { path: self.path.clone(), action: "kept", source })
    }

    /// Removes the journal: nothing is held any more. A later session's journal in its place is left alone.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn finish(self) -> Result<(), JournalError> {
        let removed =
            self.is_in_place().and_then(|own| if own { fs::remove_file(&self.path) } else { Ok(()) });
        removed.map_err(|source| JournalError::Io { path: self.path, action: "removed", source })
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the journal that an agent left behind; none when nothing is held.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(runtime_dir: &Path) -> Result<Option<(Record, Vec<Status>)>, JournalError> {
        let opened = Self::open_as(runtime_dir, OpenOptions::new().read(true))?;
        Ok(opened.map(|(_, record, statuses)| (record, statuses)))
    }

    /// Opens the journal that an agent left behind, to record what is released of it.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn open(runtime_dir: &Path) -> Result<Option<(Self, Record, Vec<Status>)>, JournalError> {
        Self::open_as(runtime_dir, OpenOptions::new().read(true).write(true))
    }

    fn open_as(
        runtime_dir: &Path,
        options: &mut OpenOptions,
    ) -> Result<Option<(Self, Record, Vec<Status>)>, JournalError> {
        let path = Self::path(runtime_dir);
        let failed = |source| JournalError::Io { path: path.clone(), action: "read", source };
        let damaged = |problem: String| JournalError::Damaged { path: path.clone(), problem };
        // Without O_NONBLOCK a pipe in its place would keep the agent waiting for a writer.
        let opened = options.custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(damaged("it is no file of ours".to_owned()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let (record, statuses) = parse(&bytes).map_err(damaged)?;
        let header = bytes.iter().take_while(|byte| **byte != b'\n').count();
        let journal = Self { path, file, first_letter: header as u64 + 1, things: statuses.len() };
        Ok(Some((journal, record, statuses)))
    }
}

fn parse(bytes: &[u8]) -> Result<(Record, Vec<Status>), String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let mut lines = bytes.split(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    let Versioned { version } = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    if version != JOURNAL_VERSION {
        return Err(format!("it has version {version}, and this agent knows version {JOURNAL_VERSION}"));
    }
    let record: Record = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    let letters = lines.next().unwrap_or_default();
    if letters.len() != record.things.len() {
        return Err(format!("it has {} things and {} letters", record.things.len(), letters.len()));
    }
    let statuses = letters.iter().map(|letter| {
        Status::from_letter(*letter).ok_or_else(|| format!("{:?} is no status", char::from(*letter)))
    });
    Ok((record, statuses.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> Record {
        Record {
            version: JOURNAL_VERSION,
            boot_id: "boot".into(),
            execution_id: ExecutionId::NONE,
            agent: ProcessId { pid: 1, start_time: 2 },
            guardian: Some(ProcessId { pid: 3, start_time: 4 }),
            lease_ends: BootTime::from_nanos(5),
            things: vec![
                Thing::Hook { name: "queue".into(), undo: serde_json::json!({ "text": "two\nlines" }) },
                Thing::Filesystem {
                    mount_point: "/data with space".into(),
                    superblock: Superblock { major: 259, minor: 1 },
                    st_dev: 66305,
                },
            ],
        }
    }

    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap()
    }

    #[test]
    fn what_was_written_is_read_with_the_last_status_of_each_thing() {
        let directory = in_memory();
        let journal = Journal::create(directory.path(), &record()).unwrap();
        journal.set(0, Status::Held).unwrap();
        journal.set(1, Status::MaybeHeld).unwrap();
        journal.set(0, Status::Released).unwrap();
        let (read, statuses) = Journal::read(directory.path()).unwrap().unwrap();
        assert_eq!(read, record());
        assert_eq!(statuses, [Status::Released, Status::MaybeHeld]);
        journal.finish().unwrap();
        assert!(Journal::read(directory.path()).unwrap().is_none());
    }

    #[test]
    fn the_end_of_a_session_leaves_the_journal_of_the_next_one_alone() {
        let directory = in_memory();
        let first = Journal::create(directory.path(), &record()).unwrap();
        let second = Journal::create(directory.path(), &record()).unwrap();
        first.finish().unwrap();
        assert!(Journal::read(directory.path()).unwrap().is_some());
        second.finish().unwrap();
        assert!(Journal::read(directory.path()).unwrap().is_none());
    }

    #[test]
    fn only_what_may_be_held_is_owed() {
        let owed = [Status::Planned, Status::MaybeHeld, Status::Held, Status::Released, Status::NotHeld]
            .map(Status::is_owed);
        assert_eq!(owed, [false, true, true, false, false]);
    }

    #[test]
    fn a_journal_on_a_disk_is_refused() {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let error = Journal::create(directory.path(), &record()).unwrap_err();
        assert!(matches!(error, JournalError::NotInMemory(_)), "{error}");
    }

    #[test]
    fn a_journal_of_another_version_is_refused() {
        let directory = in_memory();
        let newer = Record { version: JOURNAL_VERSION + 1, ..record() };
        drop(Journal::create(directory.path(), &newer).unwrap());
        let error = Journal::read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn a_journal_that_is_cut_short_is_damaged() {
        let directory = in_memory();
        drop(Journal::create(directory.path(), &record()).unwrap());
        let path = Journal::path(directory.path());
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() - 1 {
            fs::write(&path, &whole[..length]).unwrap();
            let read = Journal::read(directory.path());
            assert!(matches!(read, Err(JournalError::Damaged { .. })), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            drop(parse(&bytes));
        }
    }
}
