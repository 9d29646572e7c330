//! `config show` and `config schema`.

use std::process::ExitCode;

use quiesced_core::report::SessionReport;

use super::{print_json, say};
use crate::config;
use crate::error::CliError;
use crate::paths::Paths;

pub(super) fn show(paths: &Paths, origin: bool, json: bool) -> Result<ExitCode, CliError> {
    let loaded = config::load(&paths.config_sources()).map_err(CliError::config)?;
    if json {
        print_json(&config::show_json(&loaded))?;
    } else {
        say(&config::show(&loaded, origin));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn schema(report: bool) -> Result<ExitCode, CliError> {
    if report {
        print_json(&schemars::schema_for!(SessionReport))?;
    } else {
        print_json(&config::schema())?;
    }
    Ok(ExitCode::SUCCESS)
}
