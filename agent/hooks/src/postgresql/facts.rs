//! What a server says of itself.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::error::PostgresError;
use super::session::Session;
use super::settings::{PostgresMode, PostgresSettings};
use crate::hook::DataPath;

/// The first version whose backup functions have their present names, and with the role `pg_checkpoint`.
pub(super) const V15: i32 = 150_000;
/// The first version with `idle_session_timeout`.
pub(super) const V14: i32 = 140_000;

/// In one statement, so that it is one moment.
const FACTS: &str = "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), \
     current_setting('data_directory'), current_setting('fsync')::bool, current_setting('wal_level'), \
     pg_postmaster_start_time()::text, (SELECT system_identifier::text FROM pg_control_system()), pg_backend_pid(), \
     rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user";

/// A location is empty for the two tablespaces that lie in the data directory.
const TABLESPACES: &str =
    "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE pg_tablespace_location(oid) <> ''";

/// A server at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) version: i32,
    pub(super) is_standby: bool,
    data_directory: PathBuf,
    fsync: bool,
    wal_level: String,
    pub(super) started: String,
    system: String,
    pub(super) backend: i32,
    is_superuser: bool,
    may_replicate: bool,
}

impl Facts {
    pub(super) async fn ask(session: &mut Session) -> Result<Self, PostgresError> {
        let row = session.ask("what it is", FACTS).await?;
        Ok(Self {
            version: row.get(0),
            is_standby: row.get(1),
            data_directory: PathBuf::from(row.get::<_, String>(2)),
            fsync: row.get(3),
            wal_level: row.get(4),
            started: row.get(5),
            system: row.get(6),
            backend: row.get(7),
            is_superuser: row.get(8),
            may_replicate: row.get(9),
        })
    }

    /// Whether the data directory of that name is this server's: one in a container, or on another host, may have another.
    pub(super) async fn check_place(&self, server: &str) -> Result<(), PostgresError> {
        let path = self.data_directory.join("global/pg_control");
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || first_word(&file)).await;
        let read = read.unwrap_or_else(|lost| Err(io::Error::other(lost)));
        let elsewhere =
            |source| PostgresError::Elsewhere { server: server.to_owned(), path: path.clone(), source };
        match read.map_err(|source| elsewhere(Some(source)))? {
            system if system.to_string() == self.system => Ok(()),
            _ => Err(elsewhere(None)),
        }
    }

    /// Where its data lies. Links are followed by whoever asks.
    pub(super) async fn data_paths(&self, session: &mut Session) -> Result<Vec<DataPath>, PostgresError> {
        let data = |what: &str, path: PathBuf| DataPath { what: what.to_owned(), path };
        let mut paths = vec![
            data("data directory", self.data_directory.clone()),
            data("write-ahead log", self.data_directory.join("pg_wal")),
        ];
        for row in session.list("where its tablespaces are", TABLESPACES).await? {
            paths.push(data("tablespace", PathBuf::from(row.get::<_, String>(0))));
        }
        Ok(paths)
    }

    /// Whether the server and the role are fit for the mode.
    pub(super) async fn check(
        &self,
        session: &mut Session,
        settings: &PostgresSettings,
    ) -> Result<(), PostgresError> {
        let server = session.server.clone();
        if self.version < 120_000 {
            return Err(PostgresError::TooOld { server, version: self.version });
        }
        if !self.fsync {
            return Err(PostgresError::FsyncOff { server });
        }
        if settings.mode == PostgresMode::Backup && self.wal_level == "minimal" {
            return Err(PostgresError::MinimalWal { server });
        }
        if self.is_superuser {
            return Ok(());
        }
        self.may_checkpoint(session, &settings.user).await?;
        match settings.mode {
            PostgresMode::Flush => Ok(()),
            PostgresMode::Backup => self.may_back_up(session, &settings.user).await,
        }
    }

    async fn may_checkpoint(&self, session: &mut Session, user: &str) -> Result<(), PostgresError> {
        let (allowed, grant) = if self.version >= V15 {
            let asked = "SELECT pg_has_role(current_user, 'pg_checkpoint', 'USAGE')";
            let row = session.ask("whether CHECKPOINT is allowed", asked).await?;
            (row.get(0), format!("GRANT pg_checkpoint TO {user}"))
        } else {
            (false, format!("ALTER ROLE {user} SUPERUSER: before version 15 nobody else may"))
        };
        permitted(allowed, session, user, "run CHECKPOINT", grant)
    }

    async fn may_back_up(&self, session: &mut Session, user: &str) -> Result<(), PostgresError> {
        let names = Functions::of(self.version);
        for function in [names.start_signature, names.stop_signature] {
            let asked = format!("SELECT has_function_privilege('{function}', 'EXECUTE')");
            let row = session.ask("whether backup mode is allowed", &asked).await?;
            let grant = format!("GRANT EXECUTE ON FUNCTION {function} TO {user}");
            permitted(row.get(0), session, user, "start and stop backup mode", grant)?;
        }
        let grant = format!("ALTER ROLE {user} REPLICATION");
        permitted(self.may_replicate, session, user, "make a replication slot", grant)
    }

    /// Why this is not the server, or not the session, that `later` was asked of; none when it is.
    pub(super) fn differs(&self, later: &Self) -> Option<String> {
        let changed = |what: &str, before: &str, now: &str| Some(format!("{what} was {before} and is {now}"));
        match later {
            later if later.system != self.system => {
                changed("its system identifier", &self.system, &later.system)
            }
            later if later.started != self.started => {
                changed("the time of its start", &self.started, &later.started)
            }
            later if later.backend != self.backend => {
                changed("the session's process", &self.backend.to_string(), &later.backend.to_string())
            }
            later if later.is_standby != self.is_standby => Some("it was promoted".to_owned()),
            _ => None,
        }
    }
}

/// The control file begins with the system identifier, in the host's byte order (src/include/catalog/pg_control.h).
fn first_word(path: &Path) -> io::Result<u64> {
    let mut word = [0; 8];
    File::open(path)?.read_exact(&mut word)?;
    Ok(u64::from_ne_bytes(word))
}

fn permitted(
    allowed: bool,
    session: &Session,
    user: &str,
    what: &'static str,
    grant: String,
) -> Result<(), PostgresError> {
    let (server, user) = (session.server.clone(), user.to_owned());
    if allowed { Ok(()) } else { Err(PostgresError::NotPermitted { server, user, what, grant }) }
}

/// The names of the functions of backup mode, which version 15 changed.
pub(super) struct Functions {
    start_signature: &'static str,
    stop_signature: &'static str,
    /// Takes the label.
    pub(super) start: &'static str,
    /// Gives the LSN, the label file and the tablespace map.
    pub(super) stop: &'static str,
}

impl Functions {
    pub(super) const fn of(version: i32) -> Self {
        if version >= V15 {
            Self {
                start_signature: "pg_backup_start(text, boolean)",
                stop_signature: "pg_backup_stop(boolean)",
                start: "SELECT pg_backup_start('quiesced', true)::text",
                stop: "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)",
            }
        } else {
            // The last argument asks for the mode that is not exclusive: the other one outlives its session.
            Self {
                start_signature: "pg_start_backup(text, boolean, boolean)",
                stop_signature: "pg_stop_backup(boolean, boolean)",
                start: "SELECT pg_start_backup('quiesced', true, false)::text",
                stop: "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)",
            }
        }
    }
}
