//! The applications that are snapshotted and restored: each with its volumes, its tables and its canaries.

mod mariadb;
mod postgres;
mod recovery;
mod redis;
mod sqlite;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Fallible;
use super::judge::{Database, Rows};
use super::load::Insert;
use crate::claim::Process;
use crate::servers::{PostgresBuild, RedisBuild};
use crate::tool::Tool;
use crate::volumes::{Bed, Volume};

pub(crate) use self::mariadb::MariadbApplication;
pub(crate) use self::postgres::PostgresApplication;
pub(crate) use self::redis::RedisApplication;
pub(crate) use self::sqlite::SqliteApplication;

/// What one types who has no agent, into one session of the engine's own client: the same statements as the hook's.
#[derive(Debug)]
pub(crate) struct ByHand {
    /// The client.
    pub(crate) client: Command,
    /// Lines before the window.
    pub(crate) prepare: &'static [&'static str],
    /// Lines before the freeze.
    pub(crate) quiesce: &'static [&'static str],
    /// Lines after the thaw.
    pub(crate) resume: &'static [&'static str],
    /// The line that makes it print `done`.
    pub(crate) say_done: &'static str,
}

/// An application that clients write to.
pub(crate) trait Application {
    /// What is read from it.
    fn database(&self) -> &dyn Database;

    /// The hook that holds it, as configuration of the agent.
    fn hook(&self) -> String;

    /// Its volumes, in the order in which they are mounted.
    fn volumes(&self) -> &[Volume];

    /// Whether all volumes are snapshotted in one moment. Otherwise one after the other.
    fn is_atomic(&self) -> bool {
        false
    }

    /// By how many rows a table may be behind the one before it.
    fn apart(&self) -> u64 {
        1
    }

    /// Whether it can be read while it is held.
    fn is_read_while_held(&self) -> bool {
        false
    }

    /// The client of this number.
    fn client(&self, client: usize) -> (Command, Insert);

    /// How it is held without the agent.
    fn by_hand(&self) -> ByHand;

    /// Writes `token` in every place.
    fn write_canaries(&self, token: u64) -> Fallible<()>;

    /// Starts what reads a copy of the volumes, which are in the order of [`Application::volumes`]. `record` is the
    /// directory of what the agent has kept of the session, if it has kept anything.
    fn restore(&self, bed: &Bed, copies: &[Volume], record: Option<&Path>) -> Fallible<Box<dyn Database>>;
}

/// An application and the way in which it is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The hook's mode `flush`; all volumes are snapshotted in one moment.
    PostgresFlush(PostgresBuild),
    /// The hook's mode `backup`; a data, a log and a tablespace's volume are snapshotted one after the other.
    PostgresBackup(PostgresBuild),
    /// The same, recovered from the label that the agent has kept, with an archive of the log.
    PostgresLabel(PostgresBuild),
    /// Data and binary log on two volumes that are snapshotted one after the other.
    Mariadb,
    /// An append-only file.
    Redis(RedisBuild),
    /// Two databases on two volumes that are snapshotted one after the other.
    Sqlite,
}

impl Case {
    /// All that can be run here; what cannot is told.
    pub fn all() -> Vec<Self> {
        let postgres = PostgresBuild::ALL.into_iter().filter(|build| build.is_there());
        let redis = RedisBuild::ALL.into_iter().filter(|build| build.is_there());
        let mut all: Vec<Self> = postgres
            .flat_map(|build| {
                [Self::PostgresFlush(build), Self::PostgresBackup(build), Self::PostgresLabel(build)]
            })
            .collect();
        all.push(Self::Mariadb);
        all.extend(redis.map(Self::Redis));
        all.push(Self::Sqlite);
        all
    }

    /// The engine's name for people.
    pub fn engine(self) -> &'static str {
        match self {
            Self::PostgresFlush(build) | Self::PostgresBackup(build) | Self::PostgresLabel(build) => {
                build.name()
            }
            Self::Mariadb => "MariaDB (Debian)",
            Self::Redis(build) => build.name(),
            Self::Sqlite => "SQLite",
        }
    }

    /// How it is held and snapshotted, for people.
    pub fn mode(self) -> &'static str {
        match self {
            Self::PostgresFlush(_) => "flush, 3 volumes at once",
            Self::PostgresBackup(_) => "backup, 3 volumes apart",
            Self::PostgresLabel(_) => "backup, 3 volumes apart, label",
            Self::Mariadb => "2 volumes apart",
            Self::Redis(_) => "append-only file",
            Self::Sqlite => "2 databases apart",
        }
    }

    /// Whether a copy is made with what the agent has kept, so that there is none without an agent.
    pub fn needs_agent(self) -> bool {
        matches!(self, Self::PostgresLabel(_))
    }

    /// What the hook holds, for people.
    pub(crate) fn held(self) -> &'static str {
        match self {
            Self::PostgresFlush(_) => "flush: nothing",
            Self::PostgresBackup(_) | Self::PostgresLabel(_) => "backup mode",
            Self::Mariadb => "commits",
            Self::Redis(_) => "writers",
            Self::Sqlite => "2 write locks",
        }
    }

    /// Makes it on volumes of `bed`.
    pub(crate) fn make(self, bed: &Bed) -> Fallible<Box<dyn Application>> {
        Ok(match self {
            Self::PostgresFlush(build) => Box::new(PostgresApplication::new(bed, build, "flush")?),
            Self::PostgresBackup(build) => Box::new(PostgresApplication::new(bed, build, "backup")?),
            Self::PostgresLabel(build) => Box::new(PostgresApplication::with_label(bed, build)?),
            Self::Mariadb => Box::new(MariadbApplication::new(bed)?),
            Self::Redis(build) => Box::new(RedisApplication::new(bed, build)?),
            Self::Sqlite => Box::new(SqliteApplication::new(bed)?),
        })
    }
}

/// Lets the sweeper end a server that an interrupted run has left.
fn note(bed: &Bed, pid: Option<u32>) -> Fallible<()> {
    let pid = pid.map(i32::try_from).transpose()?;
    pid.and_then(Process::of).map_or(Ok(()), |process| Ok(bed.claim().note_process(process)?))
}

/// A folder on a volume, for a server's user alone.
fn folder(volume: &Volume, name: &str, owner: &str) -> Fallible<PathBuf> {
    let path = volume.mount_point.join(name);
    Tool::new("install").args(["-d", "-m", "700", "-o", owner]).arg(&path).run()?;
    Ok(path)
}

/// Rows by client, from lines of `client count last`, however they are separated.
fn rows(answer: &str) -> Fallible<Vec<Rows>> {
    let mut rows = vec![Rows::default(); super::load::CLIENTS];
    for line in answer.lines() {
        let mut numbers = line.split(['|', '\t']).map(str::parse::<u64>);
        let (Some(client), Some(count), Some(last)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return Err(format!("this is not about a client's rows: {line}").into());
        };
        let known = rows.get_mut(usize::try_from(client?)?).ok_or("an unknown client has written")?;
        *known = Rows { count: count?, last: last? };
    }
    Ok(rows)
}

/// A token that was read; 0 when there is none.
fn token(answer: &str) -> Fallible<u64> {
    if answer.is_empty() { Ok(0) } else { Ok(answer.parse().map_err(|_| format!("no token: {answer}"))?) }
}
