//! A PostgreSQL server on a socket in a directory of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::User;

use super::{PostgresBuild, ServerError, end, until_answering};
use crate::tool::{Tool, ToolError};

/// The user that owns a server's files; it refuses to run as root.
const USER: &str = "postgres";

/// Starting takes a second; a recovery takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// `postgres` comes in without a password, everybody else with one; over the network only where it is encrypted.
const ACCESS: &str = "local all postgres trust\nlocal replication postgres trust\nlocal all all scram-sha-256\n\
    hostssl all all samehost scram-sha-256\n";

/// How a server is to be made.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Which one.
    pub build: PostgresBuild,
    /// Where its data goes; below its own directory when absent.
    pub data: Option<PathBuf>,
    /// Where its write-ahead log goes; beside its data when absent.
    pub wal: Option<PathBuf>,
    /// Lines of its configuration.
    pub settings: Vec<&'static str>,
    /// The size of each file of its write-ahead log in MiB, a power of two; 16 when absent. Small ones are used again
    /// soon.
    pub wal_segment: Option<u32>,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    build: PostgresBuild,
    directory: tempfile::TempDir,
    data: PathBuf,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a cluster and starts its server.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn new(options: &PostgresOptions) -> Result<Self, ServerError> {
        let directory = tempfile::tempdir().map_err(|source| io_error("a directory", source))?;
        give_away(directory.path())?;
        let data = options.data.clone().unwrap_or_else(|| directory.path().join("data"));
        let mut initdb = as_user(&options.build.program("initdb")?)
            .args(["-U", USER, "--auth=trust", "--no-sync", "-D"])
            .arg(&data);
        if let Some(wal) = &options.wal {
            initdb = initdb.arg("--waldir").arg(wal);
        }
        if let Some(size) = options.wal_segment {
            initdb = initdb.arg(format!("--wal-segsize={size}"));
        }
        initdb.run()?;
        let write = |name: &str, text: &str| {
            fs::write(data.join(name), text).map_err(|source| io_error(name, source))
        };
        write("pg_hba.conf", ACCESS)?;
        write("conf.d.conf", &format!("listen_addresses = ''\n{}\n", options.settings.join("\n")))?;
        let own = fs::read_to_string(data.join("postgresql.conf"))
            .map_err(|source| io_error("postgresql.conf", source))?;
        write("postgresql.conf", &format!("{own}\ninclude 'conf.d.conf'\n"))?;
        give_away(&data.join("conf.d.conf"))?;
        Self::on(options.build, directory, data)
    }

    /// Makes a server that copies this one, and starts it.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn standby(&self) -> Result<Self, ServerError> {
        let directory = tempfile::tempdir().map_err(|source| io_error("a directory", source))?;
        give_away(directory.path())?;
        let data = directory.path().join("data");
        let options = ["-U", USER, "--checkpoint=fast", "--write-recovery-conf", "-h"];
        as_user(&self.build.program("pg_basebackup")?)
            .args(options)
            .arg(self.directory.path())
            .arg("-D")
            .arg(&data)
            .run()?;
        Self::on(self.build, directory, data)
    }

    /// Starts a server on data that is there, for example that of a restored snapshot.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restored(build: PostgresBuild, data: &Path) -> Result<Self, ServerError> {
        let directory = tempfile::tempdir().map_err(|source| io_error("a directory", source))?;
        give_away(directory.path())?;
        // It is that of the server that the snapshot was taken of.
        let stale = fs::remove_file(data.join("postmaster.pid"));
        stale.or_else(absent).map_err(|source| io_error("postmaster.pid", source))?;
        Self::on(build, directory, data.to_owned())
    }

    fn on(build: PostgresBuild, directory: tempfile::TempDir, data: PathBuf) -> Result<Self, ServerError> {
        let mut server = Self { build, directory, data, child: None };
        server.start()?;
        Ok(server)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(&mut self) -> Result<(), ServerError> {
        let missing = || ServerError::Missing { what: format!("the user {USER}") };
        let user = User::from_name(USER).ok().flatten().ok_or_else(missing)?;
        let log = fs::File::create(self.log_path()).map_err(|source| io_error("the log", source))?;
        let mut command = Command::new(self.build.program("postgres")?);
        command.arg("-D").arg(&self.data).arg("-k").arg(self.directory.path());
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).process_group(0).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(|source| io_error("the server", source))?;
        let answering =
            until_answering(&mut child, START_LIMIT, || self.sql("SELECT 1").is_ok(), || self.log());
        self.child = Some(child);
        answering
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process that was started last, to be noted where it must not outlive its owner.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its own client, as its superuser; it runs what comes by standard input, and ends at the first failure.
    pub fn client(&self, database: &str) -> Command {
        let mut client = Command::new("psql");
        client.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"]);
        client.arg(self.directory.path());
        client
    }

    /// Asks the database `postgres`.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn sql(&self, statement: &str) -> Result<String, ToolError> {
        self.sql_in("postgres", statement)
    }

    /// Asks another database.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn sql_in(&self, database: &str, statement: &str) -> Result<String, ToolError> {
        Tool::of(self.client(database)).args(["-c", statement]).run()
    }

    /// Checks every table and index of all databases.
    ///
    /// # Errors
    /// When something of them is damaged.
    pub fn check(&self) -> Result<(), ServerError> {
        let options = ["-U", USER, "--all", "--install-missing", "--heapallindexed", "-h"];
        Tool::new(self.build.program("pg_amcheck")?).args(options).arg(self.directory.path()).run()?;
        Ok(())
    }

    /// Stops it as an administrator would, without waiting for clients.
    pub fn stop(&mut self) {
        end(self.child.take(), Signal::SIGINT);
    }
}

impl Drop for Postgres {
    /// At once: SIGQUIT also ends its children.
    fn drop(&mut self) {
        end(self.child.take(), Signal::SIGQUIT);
    }
}

fn as_user(program: &Path) -> Tool {
    Tool::new("runuser").args(["-u", USER, "--"]).arg(program)
}

/// Makes a directory or file the server's, and nobody else's.
fn give_away(path: &Path) -> Result<(), ServerError> {
    let failed = |source| io_error(&path.display().to_string(), source);
    let missing = || ServerError::Missing { what: format!("the user {USER}") };
    let user = User::from_name(USER).ok().flatten().ok_or_else(missing)?;
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn io_error(what: &str, source: io::Error) -> ServerError {
    ServerError::Io { what: what.to_owned(), source }
}
