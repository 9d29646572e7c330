//! `quiesced-assets DIRECTORY`: see the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Makes the manual pages, completions and licences of a package.
#[derive(Debug, Parser)]
struct Cli {
    /// Where they are written; made if need be.
    directory: PathBuf,
}

fn main() -> ExitCode {
    match quiesced_assets::make(&Cli::parse().directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
