//! What the tests of all hooks need: scripts to run, and a step to run them in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use quiesced_bed::Authority;
use quiesced_core::id::ExecutionId;

use crate::clock;
use crate::hook::StepContext;
use crate::server::{IfUnavailable, When};
use crate::settings::{CommonSettings, ServerSettings};

/// A directory for scripts, and the files that they leave as traces.
pub(crate) struct Scripts(tempfile::TempDir);

impl Scripts {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a shell script and returns its argument vector. `$T` is the directory of traces.
    pub(crate) fn write(&self, name: &str, body: &str) -> Vec<String> {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\nT={}\n{body}\n", self.0.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        vec![path.display().to_string()]
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

pub(crate) fn step(limit: Duration) -> StepContext {
    StepContext {
        hook: "queue".into(),
        execution_id: ExecutionId::NONE,
        volumes: vec!["vol-1".into(), "vol-2".into()],
        runtime_dir: std::env::temp_dir(),
        records_dir: std::env::temp_dir(),
        lease: Duration::from_secs(30),
        deadline: clock::now() + limit,
    }
}

pub(crate) fn common(timeout: Duration) -> CommonSettings {
    CommonSettings { timeout, after: vec![] }
}

/// A MariaDB or MySQL server whose administrator needs no password.
pub(crate) fn root_at(socket: &Path) -> ServerSettings {
    ServerSettings {
        host: socket.display().to_string(),
        port: 3306,
        user: "root".to_owned(),
        password: None,
        tls_ca: None,
        when: When::Any,
        if_unavailable: IfUnavailable::Fail,
    }
}

/// Waits for something that another process does.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !reached() {
        assert!(Instant::now() < end, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn process_exists(pid: &str) -> bool {
    let state = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A port of this host that nobody has.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("localhost", 0)).unwrap().local_addr().unwrap().port()
}
