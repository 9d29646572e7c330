//! `thaw --all` and `recover`: the ways out when something went wrong.

use std::process::ExitCode;
use std::time::Duration;

use tokio::net::UnixStream;

use quiesced_core::problem::Problem;
use quiesced_freezer::lock::RuntimeLock;

use super::{print_json, render, say, say_aside};
use crate::api::client;
use crate::api::wire::{Reply, StatusReply};
use crate::daemon::recovery::{self, Recovered};
use crate::error::CliError;
use crate::paths::Paths;

/// A daemon that has not released everything by then is not waited for.
const DAEMON_PATIENCE: Duration = Duration::from_secs(10);

/// `recover` stays on watch for freezes that are still under way, and ends well before the unit's TimeoutStopSec= (60 s)
/// ends it.
const RECOVER_PATIENCE: Duration = Duration::from_secs(30);

/// An agent that does not say by then that it lives is hung.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// The emergency exit does not wait long: an operator can call it again.
const THAW_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn thaw_all(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    let socket = paths.socket();
    let asked = client::post::<_, Reply>(&socket, "/v1/release", &serde_json::Value::Null);
    match tokio::time::timeout(DAEMON_PATIENCE, asked).await {
        Ok(Ok(reply)) => {
            if json {
                print_json(&reply)?;
            } else {
                say(&render::reply(&reply));
            }
            Ok(if reply.code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Ok(Err(error)) => beside_the_daemon(paths, &error.to_string(), json).await,
        Err(_) => beside_the_daemon(paths, "the agent has not released everything within 10 s", json).await,
    }
}

/// Two must not release at once: what the journal lists is released here only when no agent is alive to do it, and
/// nobody else, such as `recover` or an agent that starts, is doing it. An agent that has hung does not count.
async fn beside_the_daemon(paths: &Paths, why: &str, json: bool) -> Result<ExitCode, CliError> {
    let socket = paths.socket();
    let status = client::get::<StatusReply>(&socket, "/v1/status");
    if matches!(tokio::time::timeout(HEALTH_PATIENCE, status).await, Ok(Ok(_))) {
        let hint = "see what it waits for with `quiesced status`";
        return Err(Problem::new(format!("{why}, and it is still at work")).with_hint(Some(hint)).into());
    }
    if !paths.runtime_dir.exists() {
        return show(&Recovered::default(), json);
    }
    let lock = take_lock(paths)?;
    if lock.is_none() && UnixStream::connect(&socket).await.is_err() {
        let message = "another process is releasing what the journal lists, or an agent is starting";
        return Err(Problem::new(message).with_hint(Some("wait a moment, then `quiesced status`")).into());
    }
    say_aside(&format!("{why}; releasing what its journal lists\n"));
    from_journal(paths, THAW_PATIENCE, json).await
}

pub(super) async fn recover(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    if !paths.runtime_dir.exists() {
        return show(&Recovered::default(), json);
    }
    let lock = take_lock(paths)?;
    if lock.is_none() {
        return Err(Problem::new("the agent is running, and releases what it holds by itself")
            .with_hint(Some("to make it release everything now: quiesced thaw --all"))
            .into());
    }
    from_journal(paths, RECOVER_PATIENCE, json).await
}

fn take_lock(paths: &Paths) -> Result<Option<RuntimeLock>, Problem> {
    RuntimeLock::try_take(&paths.runtime_dir).map_err(|error| {
        Problem::from_error(&error)
            .within(format!("{} cannot be locked", paths.runtime_dir.display()))
            .with_hint(Some("run the command as root"))
    })
}

async fn from_journal(paths: &Paths, patience: Duration, json: bool) -> Result<ExitCode, CliError> {
    show(&recovery::recover(paths, patience).await?, json)
}

fn show(recovered: &Recovered, json: bool) -> Result<ExitCode, CliError> {
    if json {
        print_json(recovered)?;
    } else {
        say(&render::recovered(recovered));
    }
    Ok(if recovered.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
