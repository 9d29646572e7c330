//! `thaw --all` and `recover`: the ways out when something went wrong.

use std::process::ExitCode;
use std::time::Duration;

use quiesced_core::problem::Problem;
use quiesced_freezer::lock::RuntimeLock;

use super::{print_json, render};
use crate::api::client;
use crate::api::wire::Reply;
use crate::daemon::recovery::{self, Recovered};
use crate::error::CliError;
use crate::paths::Paths;

/// A daemon that has not released everything by then is not waited for.
const DAEMON_PATIENCE: Duration = Duration::from_secs(10);

/// `recover` runs under the unit's TimeoutStopSec=, and stays on watch for freezes that are still under way.
const RECOVER_PATIENCE: Duration = Duration::from_secs(60);

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
                print!("{}", render::reply(&reply));
            }
            Ok(if reply.code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Ok(Err(error)) => {
            eprintln!("{error}; releasing what its journal lists");
            from_journal(paths, THAW_PATIENCE, json).await
        }
        Err(_) => {
            eprintln!("the agent does not answer; releasing what its journal lists");
            from_journal(paths, THAW_PATIENCE, json).await
        }
    }
}

pub(super) async fn recover(paths: &Paths, json: bool) -> Result<ExitCode, CliError> {
    if !paths.runtime_dir.exists() {
        return show(&Recovered::default(), json);
    }
    let lock = RuntimeLock::try_take(&paths.runtime_dir).map_err(|error| {
        Problem::from_error(&error).within(format!("{} cannot be locked", paths.runtime_dir.display()))
    })?;
    if lock.is_none() {
        return Err(Problem::new("the agent is running, and releases what it holds by itself")
            .with_hint(Some("to make it release everything now: quiesced thaw --all"))
            .into());
    }
    from_journal(paths, RECOVER_PATIENCE, json).await
}

async fn from_journal(paths: &Paths, patience: Duration, json: bool) -> Result<ExitCode, CliError> {
    show(&recovery::recover(paths, patience).await?, json)
}

fn show(recovered: &Recovered, json: bool) -> Result<ExitCode, CliError> {
    if json {
        print_json(recovered)?;
    } else {
        print!("{}", render::recovered(recovered));
    }
    Ok(if recovered.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
