//! One connection to a server, never pooled and never made again: what it holds ends with it.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::PostgresError;
use super::settings::PostgresSettings;
use crate::server::client_config;

/// How soon a host that does not answer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long a cancelled statement, or a connection that is closed, is waited for.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A connection.
pub(super) struct Session {
    pub(super) server: String,
    client: Client,
    connection: JoinHandle<()>,
    tls: MakeRustlsConnect,
    /// A statement was sent, and its answer was not taken.
    busy: bool,
}

impl Session {
    /// Logs in.
    pub(super) async fn open(settings: &PostgresSettings, limit: Duration) -> Result<Self, PostgresError> {
        let server = format!("{}:{}", settings.host, settings.port);
        let mut config = Config::new();
        config.host(&settings.host).port(settings.port).user(&settings.user).dbname(&settings.database);
        config.application_name("quiesced").connect_timeout(limit);
        config.keepalives_idle(KEEPALIVE).tcp_user_timeout(KEEPALIVE);
        // A socket has no name that a certificate could show.
        let encrypted = settings.tls_ca.is_some() && !settings.host.starts_with('/');
        config.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        if let Some(source) = &settings.password {
            config.password(source.read_aside().await?.expose());
        }
        let tls = MakeRustlsConnect::new(client_config(settings.tls_ca.as_deref())?);
        let connect =
            |source| PostgresError::Connect { server: server.clone(), user: settings.user.clone(), source };
        let (client, connection) = config.connect(tls.clone()).await.map_err(connect)?;
        let connection = tokio::spawn(async move {
            // The statement that waits for it is told the same.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        Ok(Self { server, client, connection, tls, busy: false })
    }

    /// Asks for one row. `what` is the question in words.
    pub(super) async fn ask(&mut self, what: &'static str, statement: &str) -> Result<Row, PostgresError> {
        self.busy = true;
        let answered = self.client.query_one(statement, &[]).await;
        self.busy = false;
        answered.map_err(|source| self.failed(what, source))
    }

    /// Asks for any number of rows.
    pub(super) async fn list(
        &mut self,
        what: &'static str,
        statement: &str,
    ) -> Result<Vec<Row>, PostgresError> {
        self.busy = true;
        let answered = self.client.query(statement, &[]).await;
        self.busy = false;
        answered.map_err(|source| self.failed(what, source))
    }

    /// Lets the server do something.
    pub(super) async fn execute(&mut self, what: &'static str, statement: &str) -> Result<(), PostgresError> {
        self.busy = true;
        let done = self.client.batch_execute(statement).await;
        self.busy = false;
        done.map_err(|source| self.failed(what, source))
    }

    /// Ends the connection, and a statement that is still under way before. The server ends with it what it held.
    pub(super) async fn end(self) {
        let Self { client, connection, tls, busy, server } = self;
        if busy && tokio::time::timeout(END_LIMIT, client.cancel_token().cancel_query(tls)).await.is_err() {
            tracing::warn!(server, "a statement could not be cancelled");
        }
        drop(client);
        // The server notices the end of the connection in any case.
        let _ended = tokio::time::timeout(END_LIMIT, connection).await;
    }

    fn failed(&self, what: &'static str, source: tokio_postgres::Error) -> PostgresError {
        PostgresError::Query { server: self.server.clone(), what, source }
    }
}
