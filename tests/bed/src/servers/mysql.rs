//! A MySQL server on a socket in a directory of its own.
//!
//! Debian's stable releases have none. `scripts/install-mysql` unpacks that of Debian's development release into a
//! directory of its own, with everything it links to; its programs are run from there by its own loader.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{ServerError, directory_of, end, until_answering};
use crate::root::require_root;
use crate::tool::{Tool, ToolError};

/// The variable that names the directory of `scripts/install-mysql`, and the directory without it.
const PLACE: (&str, &str) = ("QUIESCED_MYSQLD", "/var/cache/quiesced-mysqld");

/// The user that owns a server's files.
const USER: &str = "mysql";

/// A recovery takes longer than a start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Whether there is a MySQL server and this process may start it. A test that needs one returns at once when this is
/// false; the reason is printed then.
#[must_use]
pub fn require_mysql(what: &str) -> bool {
    if !require_root(what) {
        return false;
    }
    let is_there = program("sbin/mysqld").is_ok();
    if !is_there {
        eprintln!("could not run: {what} needs a MySQL server, which scripts/install-mysql fetches");
    }
    is_there
}

/// A running server.
#[derive(Debug)]
pub struct Mysql {
    directory: tempfile::TempDir,
    data: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
}

impl Mysql {
    /// Makes a server that keeps its data in `data`, or below its own directory, and starts it; `options` are those of
    /// mysqld.
    ///
    /// # Errors
    /// When it is not there, or does not start.
    pub fn new(data: Option<&Path>, options: &[&str]) -> Result<Self, ServerError> {
        let directory = directory_of(USER)?;
        let data = data.map_or_else(|| directory.path().join("data"), Path::to_path_buf);
        let mut server = Self::on(directory, data, options);
        // What nobody has written to yet need not reach the disk.
        let fast = ["--initialize-insecure", "--innodb-flush-method=nosync"];
        let made = server.command()?.args(fast).stderr(server.log_file()?).status();
        if !made.map_err(|source| io_error("mysqld", source))?.success() {
            return Err(ServerError::Silent { log: server.log() });
        }
        server.start()?;
        Ok(server)
    }

    /// Starts a server on data that is there, for example that of a restored snapshot.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restored(data: &Path, options: &[&str]) -> Result<Self, ServerError> {
        let mut server = Self::on(directory_of(USER)?, data.to_owned(), options);
        server.start()?;
        Ok(server)
    }

    fn on(directory: tempfile::TempDir, data: PathBuf, options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        Self { directory, data, options, child: None }
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(&mut self) -> Result<(), ServerError> {
        let log = self.log_file()?;
        let mut child = self.command()?.stderr(log).spawn().map_err(|source| io_error("mysqld", source))?;
        let answering =
            until_answering(&mut child, START_LIMIT, || self.sql("SELECT 1").is_ok(), || self.log());
        self.child = Some(child);
        answering
    }

    fn command(&self) -> Result<Command, ServerError> {
        let mut command = program("sbin/mysqld")?;
        let root = root();
        command.args(["--no-defaults", "--user=mysql", "--skip-networking", "--mysqlx=OFF"]);
        command.args(["--secure-file-priv=NULL", "--innodb-redo-log-capacity=16M"]);
        command.arg(format!("--basedir={}", root.join("usr").display()));
        command.arg(format!("--lc-messages-dir={}", root.join("usr/share/mysql").display()));
        command.arg(format!("--character-sets-dir={}", root.join("usr/share/mysql/charsets").display()));
        command.arg(format!("--plugin-dir={}", root.join("usr/lib/mysql/plugin").display()));
        command.arg(format!("--datadir={}", self.data.display()));
        command.arg(format!("--tmpdir={}", self.directory.path().display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--pid-file={}", self.directory.path().join("pid").display()));
        command.args(&self.options).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    fn log_file(&self) -> Result<fs::File, ServerError> {
        fs::File::create(self.log_path()).map_err(|source| io_error("the log", source))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Asks it as root, by its own client.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn sql(&self, statement: &str) -> Result<String, ToolError> {
        Tool::of(self.client("mysql")).args(["-N", "-B", "-e", statement]).run()
    }

    /// Checks every table.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn check(&self) -> Result<(), ToolError> {
        Tool::of(self.client("mysqlcheck")).args(["--all-databases", "--extended"]).run().map(drop)
    }

    /// A client of its own that logs in as root.
    pub fn client(&self, name: &str) -> Command {
        let socket = format!("--socket={}", self.socket().display());
        // Without the program, which cannot be then, there is no server either.
        let mut command = program(&format!("bin/{name}")).unwrap_or_else(|_| Command::new(name));
        command.args(["--no-defaults".to_owned(), socket, "--user=root".to_owned()]);
        command
    }

    /// Stops it as an administrator would.
    pub fn stop(&mut self) {
        end(self.child.take(), Signal::SIGTERM);
    }
}

impl Drop for Mysql {
    fn drop(&mut self) {
        end(self.child.take(), Signal::SIGKILL);
    }
}

fn root() -> PathBuf {
    let place = std::env::var_os(PLACE.0).unwrap_or_else(|| PLACE.1.into());
    PathBuf::from(place).join("root")
}

/// A program below the root's `usr`, started by the root's loader with the root's libraries.
fn program(name: &str) -> Result<Command, ServerError> {
    let path = root().join("usr").join(name);
    let missing = || ServerError::Missing { what: format!("MySQL ({})", path.display()) };
    let starting = |directory: &Path, with: fn(&str) -> bool| {
        let entries = fs::read_dir(directory).ok()?.flatten();
        entries
            .map(|entry| entry.path())
            .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(with))
    };
    let libraries = starting(&root().join("usr/lib"), |name| name.ends_with("-linux-gnu"));
    let libraries = libraries.filter(|_| path.exists()).ok_or_else(missing)?;
    let loader = starting(&libraries, |name| name.starts_with("ld-linux")).ok_or_else(missing)?;
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(libraries).arg(path);
    Ok(command)
}

fn io_error(what: &str, source: io::Error) -> ServerError {
    ServerError::Io { what: what.to_owned(), source }
}
