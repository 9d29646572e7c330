//! What can go wrong with a hook.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use quiesced_core::problem::Problem;

use crate::mysql::MysqlError;
use crate::mysql_client::ClientError;
use crate::postgresql::PostgresError;
use crate::process::output::Said;
use crate::redis::RedisError;

/// Why a step of a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The step took too long and was given up.
    #[error("hook {hook} did not {step} within {}", in_seconds(*.after))]
    TimedOut {
        /// The hook.
        hook: String,
        /// The step, as a verb.
        step: &'static str,
        /// The time it was given.
        after: Duration,
    },
    /// The step was called off.
    #[error("hook {hook} was called off before it could {step}")]
    Cancelled {
        /// The hook.
        hook: String,
        /// The step, as a verb.
        step: &'static str,
    },
    /// The step hit a defect in the hook's code.
    #[error("hook {hook} panicked when it was to {step}: {message}")]
    Panicked {
        /// The hook.
        hook: String,
        /// The step, as a verb.
        step: &'static str,
        /// What the panic said.
        message: String,
    },
    /// A path that the hook names cannot be examined.
    #[error("{} cannot be examined", path.display())]
    Examine {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A command cannot be run, or failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A session hook's child did not do its part.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A SQLite database could not be held.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// A PostgreSQL server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A MariaDB or MySQL server.
    #[error(transparent)]
    MysqlClient(#[from] ClientError),
    /// A MySQL server.
    #[error(transparent)]
    Mysql(#[from] MysqlError),
    /// A Redis or Valkey server.
    #[error(transparent)]
    Redis(#[from] RedisError),
}

/// Why a command of a hook cannot be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The argument vector is empty.
    #[error("the command has no words")]
    Empty,
    /// The program is not named by an absolute path.
    #[error("the program {program:?} is not an absolute path")]
    NotAbsolute {
        /// The first word of the command.
        program: String,
    },
    /// A path on the way to the program cannot be examined.
    #[error("{} cannot be examined", path.display())]
    Examine {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program is a directory, device or the like.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The program.
        path: PathBuf,
    },
    /// The program has no execute permission.
    #[error("{} is not executable", path.display())]
    NotExecutable {
        /// The program.
        path: PathBuf,
    },
    /// Somebody who is not trusted owns a path on the way to the program.
    #[error("{} belongs to uid {owner}, who could put another program in its place", path.display())]
    Owner {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Somebody who is not trusted may write to a path on the way to the program.
    #[error("{} is writable by others than its owner (mode {mode:04o})", path.display())]
    Writable {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The program's path leads through too many symbolic links.
    #[error("{} leads through too many symbolic links", path.display())]
    TooManyLinks {
        /// The program.
        path: PathBuf,
    },
    /// The user database cannot be read.
    #[error("user {user} cannot be looked up")]
    LookUpUser {
        /// The user.
        user: String,
        /// Why.
        source: Errno,
    },
    /// The user does not exist.
    #[error("there is no user {user}")]
    UnknownUser {
        /// The user.
        user: String,
    },
    /// The kernel did not start the program.
    #[error("{command} cannot be started")]
    Start {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The command's end cannot be learned.
    #[error("the end of {command} cannot be waited for")]
    Wait {
        /// The command line.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The command ended with anything but success.
    #[error("{command} {how}{said}")]
    Failed {
        /// The command line.
        command: String,
        /// "exited with code 3", "was killed by signal 9 (SIGKILL)".
        how: String,
        /// The last lines that it wrote.
        said: Said,
        /// The whole command line, with user and environment.
        by_hand: String,
    },
    /// The command took too long; its process group was ended.
    #[error("{command} did not end within {}{said}", in_seconds(*.after))]
    TimedOut {
        /// The command line.
        command: String,
        /// The time it was given.
        after: Duration,
        /// The last lines that it wrote.
        said: Said,
    },
    /// The agent's own task that watches the command ended early.
    #[error("the task that watches {command} was lost")]
    Unwatched {
        /// The command line.
        command: String,
    },
    /// The file cannot be kept that tells of a command that runs.
    #[error("the mark {path} of a command cannot be kept")]
    Mark {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process group cannot be ended.
    #[error("process group {pid} cannot be ended")]
    EndGroup {
        /// The group's leader.
        pid: i32,
        /// Why.
        source: Errno,
    },
}

/// What a session hook's child did instead of its part.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It was never started, or has been ended.
    #[error("the session's child is not running")]
    NotRunning,
    /// It was started, but cannot be told anything.
    #[error("{asked:?} could not be written to the session's child{said}")]
    Tell {
        /// What it was to be told.
        asked: &'static str,
        /// Why.
        source: io::Error,
        /// The last lines of its standard error.
        said: Said,
    },
    /// It ended, or closed its output.
    #[error("the session's child {how}{said}")]
    Ended {
        /// "exited with code 1", "closed its standard output".
        how: String,
        /// The last lines of its standard error.
        said: Said,
    },
    /// It answered with an error.
    #[error("the session's child answered {asked:?} with the error: {text}")]
    Refused {
        /// What it was told.
        asked: &'static str,
        /// Its answer.
        text: String,
    },
    /// It answered something that is no answer.
    #[error("the session's child answered {asked:?} with {line:?}, which is neither ok nor error TEXT")]
    Garbled {
        /// What it was told.
        asked: &'static str,
        /// Its answer.
        line: String,
    },
    /// It wrote a line without having been asked.
    #[error("the session's child wrote {line:?} without having been asked")]
    Unasked {
        /// The line.
        line: String,
    },
    /// An earlier question was given up before it was answered.
    #[error("the session's child never answered {asked:?}")]
    Unanswered {
        /// What it was told.
        asked: &'static str,
    },
}

/// Why a SQLite database could not be held.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The path is not absolute.
    #[error("the database {} is not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// A pattern cannot be understood.
    #[error("{} is no pattern for files", pattern.display())]
    Pattern {
        /// The pattern.
        pattern: PathBuf,
        /// Why.
        source: glob::PatternError,
    },
    /// A pattern matches nothing: a database that was moved away must not go unnoticed.
    #[error("{} matches no file", pattern.display())]
    NoMatch {
        /// The pattern.
        pattern: PathBuf,
    },
    /// The file cannot be examined.
    #[error("the database {} cannot be examined", path.display())]
    Examine {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path names a directory, device or the like.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file does not begin as a SQLite database does.
    #[error("{} is not a SQLite database", path.display())]
    NotADatabase {
        /// The path.
        path: PathBuf,
    },
    /// A thread for the database cannot be started.
    #[error("no thread for {} can be started", path.display())]
    Thread {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that holds the database ended.
    #[error("the connection to {} is closed", path.display())]
    Closed {
        /// The path.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error("the database {} cannot be opened", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The checkpoint failed.
    #[error("the write-ahead log of {} cannot be written back", path.display())]
    Checkpoint {
        /// The path.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The write transaction cannot be begun.
    #[error("the write lock of {} cannot be taken", path.display())]
    Lock {
        /// The path.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Another connection holds the write lock.
    #[error("another connection held the write lock of {} for {}", path.display(), in_seconds(*.waited))]
    Busy {
        /// The path.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Another file has taken the place of the one that is held.
    #[error("{} has been replaced by another file since it was opened", path.display())]
    Replaced {
        /// The path.
        path: PathBuf,
    },
    /// The transaction that holds the lock is over.
    #[error("the transaction that held {} has ended", path.display())]
    TransactionOver {
        /// The path.
        path: PathBuf,
    },
    /// The kernel knows no lock of ours on the file.
    #[error("the write lock of {} is gone: the kernel lists none of this process", path.display())]
    LockGone {
        /// The database.
        path: PathBuf,
    },
    /// The locks of this process cannot be read.
    #[error("the locks of this process cannot be read from {}", path.display())]
    ReadLocks {
        /// The file in /proc.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection cannot be closed.
    #[error("the connection to {} cannot be closed", path.display())]
    Close {
        /// The path.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// A length of time in a sentence.
fn in_seconds(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

impl HookError {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TimedOut { hook, .. } => {
                Some(format!("see what it waits for, or raise `timeout` of hook {hook}"))
            }
            Self::Command(error) => error.hint(),
            Self::Session(error) => error.hint(),
            Self::Sqlite(error) => error.hint(),
            Self::Postgres(error) => error.hint(),
            Self::MysqlClient(error) => error.hint(),
            Self::Mysql(error) => error.hint(),
            Self::Redis(error) => error.hint(),
            Self::Cancelled { .. } | Self::Panicked { .. } | Self::Examine { .. } => None,
        }
    }
}

impl From<&HookError> for Problem {
    fn from(error: &HookError) -> Self {
        Self::from_error(error).with_hint(error.hint())
    }
}

impl CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Empty | Self::NotAbsolute { .. } => Some(
                "write the command as a list whose first element is the program's absolute path".to_owned(),
            ),
            Self::NotExecutable { path } => Some(format!("chmod a+x {}", path.display())),
            Self::Owner { path, .. } => {
                Some(format!("look at what it contains; if it is yours: chown root: {}", path.display()))
            }
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", path.display())),
            Self::UnknownUser { user } => {
                Some(format!("getent passwd {user}; create the user or correct `user`"))
            }
            Self::Mark { path, .. } => {
                Some(format!("look at `ls -ld {0}` and `df -h {0}`", path.parent().unwrap_or(path).display()))
            }
            Self::TimedOut { .. } => Some("see what it waits for, or raise `timeout` of the hook; a little of it is kept to end what does not end by itself".to_owned()),
            Self::Failed { by_hand, .. } => Some(format!("to run it by hand: {by_hand}")),
            _ => None,
        }
    }
}

impl SessionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Garbled { .. } | Self::Unasked { .. } => Some(
                "the child answers each line with one line, and writes everything else to standard error"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl SqliteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { path, .. } => Some(format!("find the writer: fuser -v {}", path.display())),
            Self::NoMatch { pattern } => Some(format!("ls {}", pattern.display())),
            Self::NotADatabase { .. } => {
                Some("an encrypted database needs an exec or session hook that knows its key".to_owned())
            }
            _ => None,
        }
    }
}
