//! The daemon's side of the control socket.
//!
//! Handlers only translate: each one sends the driver an `Ask` and waits for its answer. A client that goes
//! away takes its connection with it; hyper then drops the handler, and the mailbox tells the driver.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path as UrlPath, Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use nix::unistd::geteuid;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;

use quiesced_core::exit::ExitCode;
use quiesced_core::id::ExecutionId;
use quiesced_core::session::Answer;

use super::wire::{OpenRequest, Reply};
use crate::daemon::mailbox::{Ask, Mailbox};
use crate::metrics::server::metrics;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
struct Peer(Option<UCred>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok())
    }
}

/// Listens on `socket`, which only its owner may connect to. A socket left by an agent that died is replaced: the
/// caller holds the lock of the runtime directory, so nobody listens on it.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The runtime directory belongs to the owner alone, so nobody connects before the mode is set.
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Serves requests until the daemon ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: UnixListener, mailbox: Arc<Mailbox>) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/sessions", get(sessions).post(open))
        .route("/v1/sessions/{id}/release", post(release))
        .route("/v1/release", post(release_all))
        .route("/v1/dry-run", post(dry_run))
        .layer(middleware::from_fn(only_the_owner))
        .with_state(mailbox);
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).await
}

/// The socket's mode already keeps others out; this also holds when its directory was opened to them by mistake.
async fn only_the_owner(ConnectInfo(peer): ConnectInfo<Peer>, request: HttpRequest, next: Next) -> Response {
    match peer.0 {
        Some(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "only root may talk to the agent\n").into_response(),
    }
}

async fn health() -> &'static str {
    "ok\n"
}

async fn status(State(mailbox): State<Arc<Mailbox>>) -> Response {
    Json(mailbox.status()).into_response()
}

async fn sessions(State(mailbox): State<Arc<Mailbox>>) -> Response {
    Json(mailbox.sessions().as_slice()).into_response()
}

async fn open(State(mailbox): State<Arc<Mailbox>>, Json(request): Json<OpenRequest>) -> Response {
    if let Some(problem) = mailbox.unknown_group(&request.group) {
        let reply = Reply::new(ExitCode::NotReady, "no session is opened").with_problems(vec![problem]);
        return (http_status(ExitCode::NotReady), Json(reply)).into_response();
    }
    let answer = mailbox.ask(Ask::Pre { id: request.execution_id, group: request.group }).await;
    match answer {
        Some(answer) => respond(Some(answer)),
        None => {
            let reply = Reply::new(ExitCode::NotReady, "the agent is stopping");
            (http_status(ExitCode::NotReady), Json(reply)).into_response()
        }
    }
}

async fn release(State(mailbox): State<Arc<Mailbox>>, UrlPath(id): UrlPath<String>) -> Response {
    match id.parse::<ExecutionId>() {
        Ok(id) => respond(mailbox.ask(Ask::Post { id }).await),
        Err(invalid) => (StatusCode::BAD_REQUEST, format!("{invalid}\n")).into_response(),
    }
}

async fn release_all(State(mailbox): State<Arc<Mailbox>>) -> Response {
    respond(mailbox.ask(Ask::ReleaseAll).await)
}

async fn dry_run(State(mailbox): State<Arc<Mailbox>>, Json(request): Json<OpenRequest>) -> Response {
    let reply = mailbox.dry_run(&request.group).await;
    let code = ExitCode::from_number(reply.code).unwrap_or(ExitCode::NotReady);
    (http_status(code), Json(reply)).into_response()
}

/// No answer means that the driver is gone, and with it everything that was held.
fn respond(answer: Option<Answer>) -> Response {
    match answer {
        Some(answer) => (http_status(answer.code), Json(Reply::from(answer))).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n").into_response(),
    }
}

const fn http_status(code: ExitCode) -> StatusCode {
    match code {
        ExitCode::Done => StatusCode::OK,
        ExitCode::AlreadyFrozen | ExitCode::AlreadyThawed => StatusCode::CONFLICT,
        ExitCode::AutoThawed => StatusCode::GONE,
        ExitCode::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        ExitCode::PreScriptFailed | ExitCode::PostScriptFailed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
