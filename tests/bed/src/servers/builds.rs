//! Which build of a server is run: Debian's, or one that scripts/install-test-tools unpacks because Debian has none.

use std::fs;
use std::path::{Path, PathBuf};

use super::ServerError;

/// Where scripts/install-test-tools unpacks servers, unless `QUIESCED_ENGINES` names another directory.
const ENGINES: &str = "/var/cache/quiesced-engines";

/// Where Debian puts each version of PostgreSQL.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A build of PostgreSQL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostgresBuild {
    /// The newest one of Debian's that is installed.
    #[default]
    Debian,
    /// Version 18.
    V18,
}

impl PostgresBuild {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Debian, Self::V18];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "PostgreSQL (Debian)",
            Self::V18 => "PostgreSQL 18",
        }
    }

    /// Whether a test can run it. Says so when it cannot, because there was no network to get it by; Debian's is never
    /// left out.
    #[must_use]
    pub fn is_there(self) -> bool {
        self == Self::Debian || is_unpacked(self.name(), &self.unpacked("postgres"))
    }

    /// One of its programs.
    pub(super) fn program(self, name: &str) -> Result<PathBuf, ServerError> {
        let found = match self {
            Self::Debian => newest(name),
            Self::V18 => Some(self.unpacked(name)).filter(|path| path.exists()),
        };
        found.ok_or_else(|| ServerError::Missing { what: format!("{} ({name})", self.name()) })
    }

    fn unpacked(self, name: &str) -> PathBuf {
        engines().join("postgresql-18/bin").join(name)
    }
}

fn newest(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?.flatten();
    versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max()
}

/// A build of Redis, or of what was made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisBuild {
    /// Redis as Debian has it.
    #[default]
    Debian,
    /// Valkey 9.
    Valkey,
}

impl RedisBuild {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Debian, Self::Valkey];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "Redis (Debian)",
            Self::Valkey => "Valkey 9",
        }
    }

    /// Whether a test can run it; says so when it cannot, as [`PostgresBuild::is_there`] does.
    #[must_use]
    pub fn is_there(self) -> bool {
        self == Self::Debian || is_unpacked(self.name(), &self.program())
    }

    /// Its server.
    pub(super) fn program(self) -> PathBuf {
        match self {
            Self::Debian => PathBuf::from("redis-server"),
            Self::Valkey => engines().join("valkey-9/valkey-server"),
        }
    }
}

fn engines() -> PathBuf {
    std::env::var_os("QUIESCED_ENGINES").map_or_else(|| PathBuf::from(ENGINES), PathBuf::from)
}

fn is_unpacked(name: &str, program: &Path) -> bool {
    let there = program.exists();
    if !there {
        eprintln!("could not run: there is no {}; scripts/install-test-tools gets {name}", program.display());
    }
    there
}
