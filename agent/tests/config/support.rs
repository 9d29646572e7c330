//! A directory of configuration files for one test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quiesced::config::{ConfigErrors, Loaded, Settings, Sources, load};
use tempfile::TempDir;

/// The directories of an installed agent, below a temporary one.
pub(crate) struct Host {
    root: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self { root };
        for directory in ["lib", "run", "etc"] {
            fs::create_dir(host.path(directory)).unwrap();
            chmod(&host.path(directory), 0o755);
        }
        host
    }

    /// A host with one file.
    pub(crate) fn with(text: impl AsRef<[u8]>) -> Self {
        let host = Self::new();
        host.write("etc/a.toml", text);
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
        chmod(&self.path(name), 0o644);
    }

    pub(crate) fn link(&self, name: &str, target: impl AsRef<Path>) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    pub(crate) fn load(&self) -> Result<Loaded, ConfigErrors> {
        let directories = ["lib", "run", "etc"].map(|name| self.path(name)).to_vec();
        load(&Sources { directories, must_exist: None })
    }

    pub(crate) fn settings(&self) -> Settings {
        self.load().unwrap().settings
    }

    /// All errors as they are shown, with this host's directory left out.
    pub(crate) fn errors(&self) -> String {
        let text = self.load().unwrap_err().to_string();
        text.replace(self.root.path().to_str().unwrap(), "")
    }

    /// The message of every error.
    pub(crate) fn messages(&self) -> Vec<String> {
        let errors = self.load().unwrap_err();
        let root = self.root.path().to_str().unwrap();
        errors.findings().iter().map(|finding| finding.message.replace(root, "")).collect()
    }
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A hook that obeys every rule.
pub(crate) const QUEUE: &str = r#"
[hook.queue.exec]
quiesce = ["/bin/pause"]
resume = ["/bin/go"]
"#;
