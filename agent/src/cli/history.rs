//! `history` and `show`: sessions that have ended. Both work without the daemon, from the reports on disk.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Cell, Color, Table, presets};

use quiesced_core::problem::Problem;
use quiesced_core::report::SessionReport;
use quiesced_core::verdict::Verdict;

use super::watch::Watch;
use super::{print_json, render, say};
use crate::api::client;
use crate::daemon::store;
use crate::error::CliError;
use crate::paths::Paths;
use crate::timeline::{self, Timeline, longest_stall, seconds};

/// Which sessions are listed.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Only the last sessions, this many.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// Only sessions of this group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    #[command(flatten)]
    watch: Watch,
}

/// Which session is shown, and how.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The id of the session, or how it begins; the last session when not given.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// Write a page for a browser to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) async fn history(paths: &Paths, args: &HistoryArgs, json: bool) -> Result<ExitCode, CliError> {
    args.watch
        .run(async || {
            let mut sessions = sessions(paths).await?;
            sessions.retain(|report| args.group.as_ref().is_none_or(|group| report.group == *group));
            sessions.drain(..sessions.len().saturating_sub(args.limit));
            if json { super::to_json(&sessions) } else { Ok(table(&sessions)) }
        })
        .await
}

pub(super) async fn show(paths: &Paths, args: &ShowArgs, json: bool) -> Result<ExitCode, CliError> {
    let sessions = sessions(paths).await?;
    let report = find(&sessions, args.id.as_deref())?;
    if let Some(file) = &args.html {
        write(file, &timeline::page(report))?;
    }
    if json {
        print_json(report)?;
    } else if let Some(file) = &args.html {
        say(&format!("{} is written to {}\n", report.execution_id.session(), file.display()));
    } else {
        say(&text(report));
    }
    Ok(ExitCode::SUCCESS)
}

/// The agent's reports, or those on disk when there is no agent.
async fn sessions(paths: &Paths) -> Result<Vec<SessionReport>, CliError> {
    match client::get(&paths.socket(), "/v1/sessions").await {
        Ok(sessions) => Ok(sessions),
        Err(error) if error.is_not_running() && !error.is_forbidden() => store::on_disk(&paths.sessions())
            .map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())).into()),
        Err(error) => Err(CliError::client(&error)),
    }
}

fn find<'a>(sessions: &'a [SessionReport], id: Option<&str>) -> Result<&'a SessionReport, CliError> {
    let all = "run `quiesced history` to see them";
    let Some(wanted) = id else {
        let none = Problem::new("no session has ended yet");
        return sessions.last().ok_or_else(|| none.with_hint(Some("a session opens with pre-script")).into());
    };
    let is_it = |report: &&SessionReport| report.execution_id.to_string().starts_with(wanted);
    let last = sessions.iter().rev().find(is_it);
    let last = last.ok_or_else(|| {
        Problem::new(format!("no report of a session has an id that begins with `{wanted}`"))
            .with_hint(Some(all))
    })?;
    if sessions.iter().filter(is_it).any(|other| other.execution_id != last.execution_id) {
        let problem = Problem::new(format!("the ids of several sessions begin with `{wanted}`"));
        return Err(problem.with_hint(Some(all)).into());
    }
    Ok(last)
}

/// Follows no link: the command runs as root.
fn write(file: &Path, page: &str) -> Result<(), CliError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits());
    let written =
        options.open(file).and_then(|mut opened| io::Write::write_all(&mut opened, page.as_bytes()));
    written.map_err(|error| {
        let place = file.parent().unwrap_or(file).display();
        Problem::from_error(&error)
            .within(format!("{} cannot be written", file.display()))
            .with_hint(Some(format!("look at `ls -ld {place}`")))
            .into()
    })
}

const fn color(verdict: Verdict) -> Color {
    match verdict {
        Verdict::ApplicationConsistent => Color::Green,
        Verdict::FilesystemConsistent => Color::Yellow,
        Verdict::CrashConsistent => Color::Red,
    }
}

fn table(sessions: &[SessionReport]) -> String {
    if sessions.is_empty() {
        return "no session has ended yet\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["OPENED", "SESSION", "GROUP", "VERDICT", "EXIT", "WINDOW", "BECAUSE"]);
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for report in sessions {
        let opened = report.host.as_ref().map(|host| host.opened_at.clone()).unwrap_or_default();
        let verdict = report
            .verdict
            .map_or_else(|| Cell::new(""), |verdict| Cell::new(verdict.to_string()).fg(color(verdict)));
        let code = report.code.map(|code| code.number().to_string()).unwrap_or_default();
        let window = report.window().map(seconds).unwrap_or_default();
        let reason = report.reasons.first().cloned().unwrap_or_default();
        let cells = [opened, report.execution_id.to_string(), report.group.clone()];
        let mut row: Vec<Cell> = cells.into_iter().map(Cell::new).collect();
        row.extend([verdict, Cell::new(code), Cell::new(window), Cell::new(reason)]);
        table.add_row(row);
    }
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn text(report: &SessionReport) -> String {
    let mut text = render::ended(report);
    text.push('\n');
    text.push_str(&timeline::text(&Timeline::of(report)));
    if let Some(stall) = longest_stall(report) {
        text.push_str(&format!("a writer waited for at most {}\n", seconds(stall)));
    }
    text
}
