//! The command line.

mod config;
mod group;
mod history;
mod init;
mod release;
mod render;
mod running;
mod session;
mod status;
mod tree;
mod watch;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use quiesced_core::block::is_volume_id;
use quiesced_core::id::ExecutionId;
use quiesced_core::problem::Problem;

use crate::config::{AwsSettings, DEFAULT_GROUP, LogFormat};
use crate::daemon;
use crate::error::CliError;
use crate::paths::Paths;
use history::{HistoryArgs, ShowArgs};
use watch::Watch;

/// Makes EBS snapshots application-consistent: quiesces databases, freezes their filesystems, holds both while the
/// snapshot is initiated, releases everything, and says truthfully what the snapshot is worth.
#[derive(Debug, Parser)]
#[command(name = "quiesced", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    paths: Paths,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground, as systemd does.
    Daemon(DaemonArgs),
    /// Hold everything: exits 0 when the snapshot may be initiated.
    PreScript(SessionArgs),
    /// Release everything: exits 0 when it was held from pre-script until now.
    PostScript(SessionArgs),
    /// Look whether a session could run, without touching anything.
    DryRun(SessionArgs),
    /// Show what the agent is doing, and the last session.
    Status(Watch),
    /// List the sessions that have ended.
    History(HistoryArgs),
    /// Show one session with its timeline.
    Show(ShowArgs),
    /// Write a first configuration from the databases that are found on this host.
    Init(InitArgs),
    /// Show what a session would hold, and what lies outside.
    Plan(PlanArgs),
    /// Check the configuration and whether a session could run.
    Check(CheckArgs),
    /// The emergency exit: release everything, with or without the daemon.
    #[command(override_usage = "quiesced thaw --all")]
    Thaw(ThawArgs),
    /// Release what the journal of a dead agent lists; systemd runs this when the agent has ended.
    Recover,
    /// Show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Args)]
struct DaemonArgs {
    /// How log lines are written. Takes the place of `format` in the [log] table.
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Which session.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The id that the lifecycle manager gave to the session: a UUID, or None.
    #[arg(long, value_name = "ID", default_value = "None")]
    execution_id: ExecutionId,
    #[command(flatten)]
    group: GroupArgs,
}

/// Which consistency group.
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    /// The consistency group.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_GROUP)]
    group: String,
}

/// What is to be planned, and what it is compared with.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// The volumes that the snapshot will have, parted by commas: fail if anything of the group lies elsewhere. Takes the place of
    /// `expect_volumes` in the configuration.
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = volume_id)]
    expect_volumes: Vec<String>,
}

fn volume_id(text: &str) -> Result<String, String> {
    if is_volume_id(text) {
        Ok(text.to_owned())
    } else {
        Err("an id has the form vol-0123456789abcdef0".to_owned())
    }
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Print the files, and write none.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    group: GroupArgs,
    /// Check only the configuration files, and nothing on the host.
    #[arg(long)]
    config_only: bool,
}

#[derive(Debug, Args)]
struct ThawArgs {
    /// Release everything that any session holds. There is no other mode; the word is there so that nobody types
    /// the command by accident.
    #[arg(long, required = true)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Show the settings in force.
    Show {
        /// Show the file and line that each setting comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the configuration.
    Schema {
        /// Print that of session reports instead.
        #[arg(long)]
        report: bool,
    },
}

/// The command line as clap knows it, for manual pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_aside(&CliError::from(Problem::from_error(&error)).to_string());
            return ExitCode::FAILURE;
        }
    };
    // What a configuration says of AWS replaces this when it is read; `recover` reads none.
    crate::parameters::configure(&AwsSettings::default());
    let result = runtime.block_on(run(&cli));
    // A thread that sleeps in the kernel must not keep the process from ending.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        if cli.json {
            say(&format!("{}\n", error.to_json()));
        }
        say_aside(&error.to_string());
        ExitCode::from(error.code)
    })
}

async fn run(cli: &Cli) -> Result<ExitCode, CliError> {
    let Cli { paths, json, command } = cli;
    match command {
        Command::Daemon(args) => daemon::run(paths, args.log_format).await.map(|()| ExitCode::SUCCESS),
        Command::PreScript(args) => session::pre(paths, args, *json).await,
        Command::PostScript(args) => session::post(paths, args, *json).await,
        Command::DryRun(args) => session::dry_run(paths, args, *json).await,
        Command::Status(watch) => status::status(paths, watch, *json).await,
        Command::History(args) => history::history(paths, args, *json).await,
        Command::Show(args) => history::show(paths, args, *json).await,
        Command::Init(args) => init::init(paths, args.dry_run, *json).await,
        Command::Plan(args) => group::plan(paths, args, *json).await,
        Command::Check(args) if args.config_only => group::check_config(paths, *json),
        Command::Check(args) => group::check(paths, &args.group.group, *json).await,
        Command::Thaw(ThawArgs { all: _ }) => release::thaw_all(paths, *json).await,
        Command::Recover => release::recover(paths, *json).await,
        Command::Config(ConfigCommand::Show { origin }) => config::show(paths, *origin, *json),
        Command::Config(ConfigCommand::Schema { report }) => config::schema(*report),
    }
}

/// Prints a text. Nobody may be there to read it, or the disk behind it may be full: the exit code tells all the same.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _unread = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a text where it does not mix with a command's result.
fn say_aside(text: &str) {
    let _unread = std::io::stderr().write_all(text.as_bytes());
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), CliError> {
    say(&to_json(value)?);
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Problem::from_error(&error))?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
