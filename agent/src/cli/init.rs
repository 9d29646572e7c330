//! `init`.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use quiesced_core::problem::Problem;

use super::{print_json, render, say, tree};
use crate::config::{DEFAULT_GROUP, Sources};
use crate::daemon::OWN_BINARY;
use crate::daemon::survey::Surveyor;
use crate::error::CliError;
use crate::init::{self, DropIn, Seen};
use crate::paths::Paths;
use crate::preflight;

/// What became of one file.
#[derive(serde::Serialize)]
struct Told {
    path: PathBuf,
    title: String,
    written: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

pub(super) async fn init(paths: &Paths, dry_run: bool, json: bool) -> Result<ExitCode, CliError> {
    let surveyor = Surveyor::load(paths).map_err(CliError::config)?;
    let sources = paths.config_sources();
    let directory = sources.directories.last().cloned().unwrap_or_default();
    let files = init::drop_ins(&surveyor, &Seen::of(paths.host_root()))?;
    if files.is_empty() && surveyor.config_files.is_empty() {
        let hint = "write a hook file by hand: README.md shows one, and docs/hooks has one for each engine";
        return Err(Problem::new("no database was found, and no filesystem that may be frozen")
            .with_hint(Some(hint))
            .into());
    }
    let mut told = Vec::new();
    for file in &files {
        let written = if dry_run { None } else { init::write(&directory, file)? };
        let text = dry_run.then(|| file.text.clone());
        let path = directory.join(&file.name);
        told.push(Told { path, title: file.title.clone(), written: written.is_some(), text });
    }
    if json {
        print_json(&told)?;
    } else {
        say(&text(&told, dry_run));
        let trial = Trial::of(&files, &sources, dry_run)?;
        say(&outcome(paths, &trial.sources).await?);
    }
    Ok(ExitCode::SUCCESS)
}

fn text(told: &[Told], dry_run: bool) -> String {
    let line = |told: &Told| {
        let Told { path, title, written, text } = told;
        let path = path.display();
        match text {
            Some(text) => format!("would write {path}:\n\n{text}\n"),
            None if *written => format!("written: {path} ({title})\n"),
            None => format!("left alone: {path} is there already ({title})\n"),
        }
    };
    let nothing = if told.is_empty() { "nothing was found that is not configured already\n" } else { "" };
    let end = if dry_run { "With these files:\n" } else { "Now:\n" };
    told.iter().map(line).collect::<String>() + nothing + "\n" + end
}

/// The configuration with the new files, of which a dry run keeps copies in a directory of its own.
struct Trial {
    sources: Sources,
    _directory: Option<tempfile::TempDir>,
}

impl Trial {
    fn of(files: &[DropIn], sources: &Sources, dry_run: bool) -> Result<Self, Problem> {
        if !dry_run {
            return Ok(Self { sources: sources.clone(), _directory: None });
        }
        let failed =
            |error: std::io::Error| Problem::from_error(&error).within("the plan cannot be tried out");
        let directory = tempfile::tempdir().map_err(failed)?;
        let conf = directory.path().join("conf.d");
        std::fs::DirBuilder::new().mode(0o755).create(&conf).map_err(failed)?;
        for file in files {
            init::write(&conf, file)?;
        }
        let mut sources = sources.clone();
        // Below the others, so that a file that is there already is the one that counts.
        sources.directories.insert(0, conf);
        sources.must_exist = None;
        Ok(Self { sources, _directory: Some(directory) })
    }
}

/// What a session would hold by these files.
async fn outcome(paths: &Paths, sources: &Sources) -> Result<String, CliError> {
    let surveyor = Arc::new(Surveyor::load_from(paths, sources).map_err(CliError::config)?);
    let checked = preflight::check(&surveyor, DEFAULT_GROUP, Path::new(OWN_BINARY)).await;
    let drawn = checked.plan.as_ref().map(|plan| tree::plan(DEFAULT_GROUP, plan)).unwrap_or_default();
    Ok(drawn + &render::checked(DEFAULT_GROUP, &checked))
}
