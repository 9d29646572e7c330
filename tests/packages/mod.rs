//! Packages of the binary under test, made by the script that makes those of a release.
#![allow(dead_code, unreachable_pub, reason = "each test binary is a crate that uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Whether packages can be made here. A test that needs it returns at once when this is false; the reason is printed.
#[must_use]
pub fn require_nfpm(what: &str) -> bool {
    if !quiesced_bed::require_root(what) {
        return false;
    }
    let tool = Command::new(root().join("scripts/install-package-tools")).arg("nfpm").output().unwrap();
    if !tool.status.success() {
        eprintln!("could not run: {what} needs nfpm, which scripts/install-package-tools fetches from PyPI");
    }
    tool.status.success()
}

/// Packages are made of these.
pub struct Parts {
    directory: TempDir,
}

impl Parts {
    /// The binary under test without its debug information, which would be most of the package; and its pages.
    pub fn new(binary: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        run(Command::new("strip").arg("-o").arg(directory.path().join("quiesced")).arg(binary));
        quiesced_assets::make(&directory.path().join("assets")).unwrap();
        Self { directory }
    }

    /// Makes a deb and an rpm, and gives back the directory that they lie in.
    pub fn package(&self, name: &str, options: &[&str]) -> PathBuf {
        let out = self.directory.path().join(name);
        let mut script = Command::new(root().join("scripts/package"));
        script.arg("--binary").arg(self.directory.path().join("quiesced"));
        script.arg("--assets").arg(self.directory.path().join("assets"));
        script.arg("--out").arg(&out).args(options);
        // Not the date of the last commit: what is tested may be no repository.
        run(script.env("SOURCE_DATE_EPOCH", "1700000000"));
        out
    }
}

/// The one file in `directory` that ends so.
pub fn only(directory: &Path, end: &str) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Runs a tool to its end, and gives back what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout
}
