//! A MariaDB server on a socket in a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{ServerError, directory_of, end, until_answering};
use crate::tool::{Tool, ToolError};

/// The user that owns a server's files.
const USER: &str = "mysql";

/// A recovery takes longer than a start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct Mariadb {
    directory: tempfile::TempDir,
    data: PathBuf,
    options: Vec<String>,
    child: Option<Child>,
}

impl Mariadb {
    /// Makes a server that keeps its data in `data`, or below its own directory, and starts it; `options` are those of
    /// mariadbd.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub fn new(data: Option<&Path>, options: &[&str]) -> Result<Self, ServerError> {
        let directory = directory_of(USER)?;
        let data = data.map_or_else(|| directory.path().join("data"), Path::to_path_buf);
        // Beside each other they would take each other's temporary tables.
        Tool::new("env")
            .arg(format!("TMPDIR={}", directory.path().display()))
            .args([
                "mariadb-install-db",
                "--no-defaults",
                "--user=mysql",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={}", data.display()))
            .run()?;
        Self::on(directory, data, options)
    }

    /// Starts a server on data that is there, for example that of a restored snapshot.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restored(data: &Path, options: &[&str]) -> Result<Self, ServerError> {
        Self::on(directory_of(USER)?, data.to_owned(), options)
    }

    fn on(directory: tempfile::TempDir, data: PathBuf, options: &[&str]) -> Result<Self, ServerError> {
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { directory, data, options, child: None };
        server.start()?;
        Ok(server)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start(&mut self) -> Result<(), ServerError> {
        let failed = |source| ServerError::Io { what: "mariadbd".to_owned(), source };
        let log = fs::File::create(self.directory.path().join("log")).map_err(failed)?;
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--user=mysql", "--skip-networking"]);
        command.arg(format!("--datadir={}", self.data.display()));
        command.arg(format!("--tmpdir={}", self.directory.path().display()));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--pid-file={}", self.directory.path().join("pid").display()));
        command.args(&self.options).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(log).spawn().map_err(failed)?;
        let answering =
            until_answering(&mut child, START_LIMIT, || self.sql("SELECT 1").is_ok(), || self.log());
        self.child = Some(child);
        answering
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The process that was started last, to be noted where it must not outlive its owner.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("sock")
    }

    /// Its own client, as root; it runs what comes by standard input, and ends at the first failure.
    pub fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(self.login()).args(["--skip-column-names", "--batch", "--unbuffered"]);
        client
    }

    /// Asks it as root, by its own client.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn sql(&self, statement: &str) -> Result<String, ToolError> {
        Tool::of(self.client()).args(["-e", statement]).run()
    }

    /// Checks every table. The checker exits with 0 whatever it finds, so what it prints is what counts.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn check(&self) -> Result<(), ServerError> {
        let check = Tool::new("mariadb-check").args(self.login());
        let report = check.args(["--all-databases", "--extended"]).run()?;
        let is_damaged = report.lines().any(|line| line.starts_with("error"));
        if is_damaged { Err(ServerError::Damaged { report }) } else { Ok(()) }
    }

    fn login(&self) -> [String; 3] {
        let socket = format!("--socket={}", self.socket().display());
        ["--no-defaults".to_owned(), socket, "--user=root".to_owned()]
    }

    /// Stops it as an administrator would.
    pub fn stop(&mut self) {
        end(self.child.take(), Signal::SIGTERM);
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        end(self.child.take(), Signal::SIGKILL);
    }
}
