//! The commands' side of the control socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Looking takes the agent no time.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// The longest that a script may take by the SSM document is 120 s; before that there is a code to exit with.
const ACT_LIMIT: Duration = Duration::from_secs(110);

/// Why the daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the agent cannot be reached at {socket}")]
    Connect {
        /// The control socket.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The daemon went away, or spoke something else than HTTP.
    #[error("the agent at {socket} went away before it had answered")]
    Exchange {
        /// The control socket.
        socket: PathBuf,
        /// What went wrong on the connection.
        #[source]
        source: hyper::Error,
    },
    /// It lives, for all that is known, and does not answer.
    #[error("the agent at {socket} has not answered within {} s", after.as_secs())]
    Late {
        /// The control socket.
        socket: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The answer is none that this version knows.
    #[error("the agent at {socket} gave an answer that this version does not understand")]
    Answer {
        /// The control socket.
        socket: PathBuf,
        /// Why it could not be read.
        #[source]
        source: serde_json::Error,
    },
    /// The request could not be put into words.
    #[error("the request {path} cannot be sent")]
    Request {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: hyper::http::Error,
    },
}

impl ClientError {
    /// Whether nobody listens at all, as opposed to an agent that failed to answer.
    pub const fn is_not_running(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Whether the caller may not ask.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// Whether there is no agent any more that could answer.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Exchange { .. })
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect { .. } if self.is_forbidden() => "run the command as root",
            Self::Connect { .. } => "start it with `systemctl start quiesced`",
            Self::Late { .. } => {
                "is it stopped? `systemctl status quiesced`; its guardian thaws when the lease ends"
            }
            Self::Exchange { .. } => "look at `journalctl -u quiesced` for what became of it",
            Self::Answer { .. } | Self::Request { .. } => {
                "install the same version of the command and the agent, then `systemctl restart quiesced`"
            }
        }
    }
}

/// Asks the daemon with an empty body.
///
/// # Errors
/// When the daemon cannot be reached or does not answer in a form that is known.
pub async fn get<A: DeserializeOwned>(socket: &Path, path: &str) -> Result<A, ClientError> {
    within(socket, LOOK_LIMIT, exchange(socket, Method::GET, path, Bytes::new())).await
}

/// Asks the daemon to do something.
///
/// # Errors
/// When the daemon cannot be reached or does not answer in a form that is known.
pub async fn post<B: Serialize, A: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &B,
) -> Result<A, ClientError> {
    let unreadable = |source| ClientError::Answer { socket: socket.to_owned(), source };
    let body = serde_json::to_vec(body).map_err(unreadable)?;
    within(socket, ACT_LIMIT, exchange(socket, Method::POST, path, body.into())).await
}

async fn within<A>(
    socket: &Path,
    limit: Duration,
    exchange: impl Future<Output = Result<A, ClientError>>,
) -> Result<A, ClientError> {
    let late = |_| ClientError::Late { socket: socket.to_owned(), after: limit };
    tokio::time::timeout(limit, exchange).await.map_err(late)?
}

async fn exchange<A: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<A, ClientError> {
    let broken = |source| ClientError::Exchange { socket: socket.to_owned(), source };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "quiesced")
        .header("content-type", "application/json")
        .body(Full::new(body))
        .map_err(|source| ClientError::Request { path: path.to_owned(), source })?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    };
    let connection = async {
        // What goes wrong on the connection also ends the exchange, with the same error.
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    let bytes = tokio::select! {
        bytes = answer => bytes.map_err(broken)?,
        () = connection => Bytes::new(),
    };
    serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { socket: socket.to_owned(), source })
}
