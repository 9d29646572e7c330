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

use super::{ServerError, end};
use crate::tool::{Tool, ToolError};
use crate::wait_until;

/// Where Debian puts each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The user that owns a server's files; it refuses to run as root.
const USER: &str = "postgres";

/// Starting takes a second; a recovery takes longer.
const START_LIMIT: Duration = Duration::from_secs(60);

/// `postgres` comes in without a password, everybody else with one.
const ACCESS: &str =
    "local all postgres trust\nlocal replication postgres trust\nlocal all all scram-sha-256\n";

/// How a server is to be made.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Where its data goes; below its own directory when absent.
    pub data: Option<PathBuf>,
    /// Where its write-ahead log goes; beside its data when absent.
    pub wal: Option<PathBuf>,
    /// Lines of its configuration.
    pub settings: Vec<&'static str>,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
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
        let mut initdb =
            as_user(&program("initdb")?).args(["-U", USER, "--auth=trust", "--no-sync", "-D"]).arg(&data);
        if let Some(wal) = &options.wal {
            initdb = initdb.arg("--waldir").arg(wal);
        }
        initdb.run()?;
        let write = |name: &str, text: &str| {
            fs::write(data.join(name), text).map_err(|source| io_error(name, source))
        };
        write("pg_hba.conf", ACCESS)?;
        write("conf.d.conf", &options.settings.join("\n"))?;
        let own = fs::read_to_string(data.join("postgresql.conf"))
            .map_err(|source| io_error("postgresql.conf", source))?;
        write("postgresql.conf", &format!("{own}\ninclude 'conf.d.conf'\n"))?;
        give_away(&data.join("conf.d.conf"))?;
        Self::on(directory, data)
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
        as_user(&program("pg_basebackup")?)
            .args(options)
            .arg(self.directory.path())
            .arg("-D")
            .arg(&data)
            .run()?;
        Self::on(directory, data)
    }

    /// Starts a server on data that is there, for example that of a restored snapshot.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restored(data: &Path) -> Result<Self, ServerError> {
        let directory = tempfile::tempdir().map_err(|source| io_error("a directory", source))?;
        give_away(directory.path())?;
        // It is that of the server that the snapshot was taken of.
        let stale = fs::remove_file(data.join("postmaster.pid"));
        stale.or_else(absent).map_err(|source| io_error("postmaster.pid", source))?;
        Self::on(directory, data.to_owned())
    }

    fn on(directory: tempfile::TempDir, data: PathBuf) -> Result<Self, ServerError> {
        let mut server = Self { directory, data, child: None };
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
        let mut command = Command::new(program("postgres")?);
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(self.directory.path())
            .args(["-c", "listen_addresses="]);
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).process_group(0).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().map_err(|source| io_error("the server", source))?);
        let answers = || self.sql("SELECT 1").is_ok();
        let log = || fs::read_to_string(self.log_path()).unwrap_or_default();
        wait_until("the server answers", START_LIMIT, answers)
            .map_err(|_| ServerError::Silent { log: log() })?;
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The directory of its socket.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Asks it as its superuser, by its own client.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn sql(&self, statement: &str) -> Result<String, ToolError> {
        Tool::new("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", "postgres", "-h"])
            .arg(self.directory.path())
            .args(["-c", statement])
            .run()
    }

    /// Checks every table and index of the database that `sql` asks.
    ///
    /// # Errors
    /// When something of it is damaged.
    pub fn check(&self) -> Result<(), ServerError> {
        let options = ["-U", USER, "-d", "postgres", "--install-missing", "--heapallindexed", "-h"];
        Tool::new(program("pg_amcheck")?).args(options).arg(self.directory.path()).run()?;
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

/// A program of the newest version that is installed.
fn program(name: &str) -> Result<PathBuf, ServerError> {
    let missing = || ServerError::Missing { what: format!("PostgreSQL ({name})") };
    let versions = fs::read_dir(VERSIONS).map_err(|_| missing())?;
    let mut programs: Vec<PathBuf> = versions
        .flatten()
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    programs.sort();
    programs.pop().ok_or_else(missing)
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
