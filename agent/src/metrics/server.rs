//! The figures on a port of the loopback interface, for scrapers that cannot reach the control socket.
//!
//! Whoever connects is nobody in particular: few at a time, each with a limit, and nothing that they ask for reaches the driver.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::daemon::mailbox::Mailbox;

/// <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A scraper and a few people with curl.
const CONNECTIONS: usize = 8;

/// A connection is cut after this, whatever it does. Scrapes take a millisecond, and scrapers come back.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// `GET /metrics`
pub async fn metrics(State(mailbox): State<Arc<Mailbox>>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], mailbox.metrics()).into_response()
}

/// Serves the figures, and nothing else, until the daemon ends.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn listen(address: SocketAddr, mailbox: Arc<Mailbox>) -> io::Result<impl Future<Output = ()>> {
    let listener = TcpListener::bind(address).await?;
    let router = Router::new().route("/metrics", get(metrics)).with_state(mailbox);
    Ok(accept(listener, router))
}

async fn accept(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Others wait in the kernel's queue, where they cost nothing.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    // A connection that is cut or breaks concerns only whoever was at its other end.
                    let _cut = tokio::time::timeout(CONNECTION_LIMIT, serve(stream, router)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a scraper cannot be let in");
                tokio::time::sleep(CONNECTION_LIMIT).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router) -> hyper::Result<()> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false);
    server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await
}
