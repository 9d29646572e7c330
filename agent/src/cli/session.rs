//! `pre-script`, `post-script` and `dry-run`: the commands that exit with the lifecycle manager's codes.

use std::process::ExitCode;

use quiesced_core::exit::ExitCode as Code;
use quiesced_core::id::ExecutionId;
use quiesced_core::problem::Problem;
use quiesced_core::session::{Answer, Why};

use super::{SessionArgs, print_json, render, say};
use crate::api::client::{self, ClientError};
use crate::api::wire::{OpenRequest, Reply};
use crate::daemon::store;
use crate::error::CliError;
use crate::paths::Paths;
use crate::preflight::leftovers;

pub(super) async fn pre(paths: &Paths, args: &SessionArgs, json: bool) -> Result<ExitCode, CliError> {
    let reply = client::post(&paths.socket(), "/v1/sessions", &open_request(args)).await;
    finish(&reply.map_err(|error| failed(&error, Code::PreScriptFailed))?, json)
}

pub(super) async fn post(paths: &Paths, args: &SessionArgs, json: bool) -> Result<ExitCode, CliError> {
    let path = format!("/v1/sessions/{}/release", args.execution_id);
    match client::post(&paths.socket(), &path, &serde_json::Value::Null).await {
        Ok(reply) => finish(&reply, json),
        // An agent that went away in the middle is as gone as one that was never there. One that is only late is not.
        Err(error) => match error.is_gone().then(|| without_daemon(paths, &args.execution_id)).flatten() {
            Some(reply) => finish(&reply, json),
            None => Err(failed(&error, Code::PostScriptFailed)),
        },
    }
}

pub(super) async fn dry_run(paths: &Paths, args: &SessionArgs, json: bool) -> Result<ExitCode, CliError> {
    let reply = client::post(&paths.socket(), "/v1/dry-run", &open_request(args)).await;
    finish(&reply.map_err(|error| failed(&error, Code::NotReady))?, json)
}

fn open_request(args: &SessionArgs) -> OpenRequest {
    OpenRequest { execution_id: args.execution_id.clone(), group: args.group.group.clone() }
}

/// What the agent itself would answer once it runs again: whatever it held is released, or being released, without it.
fn without_daemon(paths: &Paths, id: &ExecutionId) -> Option<Reply> {
    let (report, outcome) = store::last_on_disk(&paths.sessions(), id)?;
    let unknown = || (Code::AlreadyThawed, Why::Unknown { id: id.clone(), open: None });
    let (code, why) = outcome.of_post(id).unwrap_or_else(unknown);
    let mut reply = Reply::from(Answer { code, why, report: Some(Box::new(report)) });
    let gone = Problem::new("the agent is not running; its records on disk were asked");
    reply.problems.push(gone.with_hint(Some("start it with `systemctl start quiesced`")));
    reply.problems.extend(leftovers::look(&paths.runtime_dir).into_iter().map(|left| left.problem));
    Some(reply)
}

/// An agent that is not there is "not ready"; one that went away in the middle has failed.
fn failed(error: &ClientError, otherwise: Code) -> CliError {
    let code = if error.is_not_running() { Code::NotReady } else { otherwise };
    CliError::client(error).exit(code)
}

fn finish(reply: &Reply, json: bool) -> Result<ExitCode, CliError> {
    let code = ExitCode::from(reply.code);
    if json {
        print_json(reply)?;
    } else {
        say(&render::reply(reply));
    }
    Ok(code)
}
