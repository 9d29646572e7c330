//! What the beds need as processes of their own: writers that may sleep on a frozen filesystem without keeping the
//! test from ending, and the sweeper.

use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use quiesced_bed::sweep_leftovers;
use quiesced_bed::writers::{Pair, Work, check_pair, serve};

#[derive(Parser)]
#[command(about = "Support for the tests of quiesced")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a ledger and its records until standard input ends; each line of it is answered with the progress.
    WritePair { ledger: PathBuf, records: PathBuf },
    /// Writes one file round and round, answering likewise.
    WriteStream { file: PathBuf },
    /// Says what a pair is worth, as JSON; fails unless both sides agree.
    CheckPair { ledger: PathBuf, records: PathBuf },
    /// Removes what killed tests left: processes, freezes, mounts, loop devices and files.
    Sweep,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match command {
        Command::WritePair { ledger, records } => {
            serve(Work::Pair(Pair { ledger, records }), stdin().lock(), stdout().lock())?;
        }
        Command::WriteStream { file } => serve(Work::Stream(file), stdin().lock(), stdout().lock())?,
        Command::CheckPair { ledger, records } => {
            let report = check_pair(&Pair { ledger, records })?;
            println!("{}", serde_json::to_string(&report)?);
            return Ok(if report.agrees() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Sweep => sweep_leftovers()?,
    }
    Ok(ExitCode::SUCCESS)
}
