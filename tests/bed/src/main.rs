//! What the beds need as processes of their own: writers that may sleep on a frozen filesystem without keeping the
//! test from ending, and the sweeper.

use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use quiesced_bed::cycles::{self, AgentUnderTest};
use quiesced_bed::writers::{Pair, Work, check_pair, serve};
use quiesced_bed::{bench, demo, sweep_leftovers};

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
    /// Shows three cycles of the lifecycle manager, without the agent and with it.
    Demo {
        /// The agent's binary.
        #[arg(long)]
        agent: PathBuf,
        /// The SSM document.
        #[arg(long)]
        document: PathBuf,
        /// Show a session on a made-up host, without root.
        #[arg(long)]
        simulated: bool,
    },
    /// Measures the agent against fsfreeze(8).
    Bench {
        /// The agent's binary.
        #[arg(long)]
        agent: PathBuf,
    },
    /// Snapshots databases under load, restores the snapshots and reads them, again and again.
    Cycles {
        /// How many cycles of each engine and mode.
        #[arg(default_value_t = 10)]
        count: u32,
        /// Only engines with this in their name.
        #[arg(long, default_value = "")]
        only: String,
        /// Take the same snapshots without quiescing or freezing anything.
        #[arg(long)]
        without_agent: bool,
        /// The agent's binary.
        #[arg(long)]
        agent: PathBuf,
        /// The SSM document.
        #[arg(long)]
        document: PathBuf,
    },
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
            return Ok(code(report.agrees()));
        }
        Command::Demo { agent, simulated: true, .. } => return Ok(code(demo::simulate(&agent)?)),
        Command::Demo { agent, document, .. } => {
            return Ok(code(demo::run(&agent, &std::fs::read_to_string(document)?)?));
        }
        Command::Cycles { count, only, without_agent: true, .. } => {
            return Ok(code(cycles::print(count, &only, None)?));
        }
        Command::Cycles { count, only, agent, document, .. } => {
            let document = std::fs::read_to_string(document)?;
            let agent = AgentUnderTest { binary: &agent, document: &document };
            return Ok(code(cycles::print(count, &only, Some(&agent))?));
        }
        Command::Bench { agent } => bench::run(&agent)?,
        Command::Sweep => sweep_leftovers()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
