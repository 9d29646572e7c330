//! The configuration, in three stages, one file each:
//!
//! ```text
//!  directories ──▶ fragments ──▶ merged ──▶ settings
//!                  │             │          typed, with defaults, checked against the schema and the rules
//!                  │             one tree; the span of every key says which file it came from
//!                  files found, their owners checked, read, parsed
//! ```
//!
//! Files are merged as systemd merges drop-ins: a file replaces the whole file of the same name in a directory of lower
//! priority, a symbolic link to `/dev/null` masks it; then the files that are left are merged in the order of their
//! names, whatever their directories: tables key by key, everything else is replaced by the later file.
//!
//! Errors of all files are collected and reported together. A file that could not be read or parsed leaves the tree
//! incomplete: then only what is certainly wrong is reported of the others, and not what may be missing.

mod errors;
mod fragments;
mod merged;
mod origins;
mod read;
mod rules;
mod schema;
mod settings;
mod shape;
mod show;
mod stamp;
mod texts;
mod trust;

use std::path::{Path, PathBuf};

pub use errors::{ConfigErrors, Finding};
use merged::Merged;
pub use origins::{Origin, Origins};
pub use schema::schema;
pub use settings::{
    AgentSettings, AwsSettings, DEFAULT_GROUP, FilesystemSelection, GroupSettings, HookSelection, LogFormat,
    LogLevel, LogSettings, MetricsSettings, OnConflict, ReportSettings, Settings, SsmSettings,
    WebhookSettings,
};
pub use show::{inline, show, show_json};
pub use stamp::Stamp;
pub use texts::nearest;

/// Where the files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The directories that hold `*.toml` files, in rising priority. One that does not exist is an empty one.
    pub directories: Vec<PathBuf>,
    /// A directory that somebody named: a mistyped name must not be taken for an agent without hooks.
    pub must_exist: Option<PathBuf>,
}

impl Sources {
    /// The directories of an installed agent.
    pub fn system() -> Self {
        let directories = ["/usr/lib", "/run", "/etc"];
        Self {
            directories: directories.map(|parent| Path::new(parent).join("quiesced/conf.d")).to_vec(),
            must_exist: None,
        }
    }

    /// Only the `conf.d` in this directory, which takes the place of `/etc/quiesced` and of all others.
    pub fn below(directory: &Path) -> Self {
        Self { directories: vec![directory.join("conf.d")], must_exist: Some(directory.to_owned()) }
    }
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the files say, and defaults for what they do not.
    pub settings: Settings,
    /// Which file said what.
    pub origins: Origins,
    /// The files that were read, in the order in which they were merged.
    pub files: Vec<PathBuf>,
    /// What the directories held just before.
    pub stamp: Stamp,
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let stamp = Stamp::of(&sources.directories);
    let mut fragments = fragments::find(sources);
    let mut findings = std::mem::take(&mut fragments.findings);
    let trees = fragments.parse(&mut findings);
    let origins = Origins::of(&trees, &fragments.texts);
    let merged = Merged::of(trees);
    let settings = read::settings(&merged, &fragments.texts, &mut findings);
    match settings {
        Some(settings) if findings.is_empty() => {
            Ok(Loaded { settings, origins, files: fragments.texts.paths(), stamp })
        }
        _ => {
            drop(merged);
            Err(ConfigErrors::new(findings, fragments.texts))
        }
    }
}
