//! One connection to a server, never pooled and never made again: what it holds ends with it.

use std::time::Duration;

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Error, OptsBuilder, SslOpts};

use super::error::MariadbError;
use super::settings::MariadbSettings;

/// How soon a host that does not answer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long the end of a connection is waited for.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) server: String,
    connection: Conn,
    /// A statement was sent, and its answer was not taken: nothing more can be asked over this connection.
    pub(super) busy: bool,
}

impl Session {
    /// Logs in.
    pub(super) async fn open(settings: &MariadbSettings) -> Result<Self, MariadbError> {
        let is_socket = settings.host.starts_with('/');
        let server =
            if is_socket { settings.host.clone() } else { format!("{}:{}", settings.host, settings.port) };
        // `prefer_socket` would leave the host that was named for a socket that the server tells of.
        let mut options = OptsBuilder::default().prefer_socket(false).user(Some(&settings.user));
        options = if is_socket {
            options.socket(Some(&settings.host))
        } else {
            options.ip_or_hostname(&settings.host).tcp_port(settings.port).tcp_keepalive(Some(KEEPALIVE))
        };
        if let Some(source) = &settings.password {
            options = options.pass(Some(source.read_aside().await?.expose()));
        }
        if let Some(authorities) = settings.tls_ca.clone().filter(|_| !is_socket) {
            let tls = SslOpts::default().with_root_certs(vec![authorities.into()]);
            options = options.ssl_opts(Some(tls.with_disable_built_in_roots(true)));
        }
        let connect =
            |source| MariadbError::Connect { server: server.clone(), user: settings.user.clone(), source };
        let connection = Conn::new(options).await.map_err(connect)?;
        Ok(Self { server, connection, busy: false })
    }

    /// The server's number for this connection.
    pub(super) fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Asks for one row.
    pub(super) async fn ask<T: FromRow + Send + 'static>(
        &mut self,
        statement: &'static str,
    ) -> Result<Option<T>, MariadbError> {
        self.busy = true;
        let answered = self.connection.query_first(statement).await;
        self.busy = false;
        answered.map_err(|source| self.refused(statement, source))
    }

    /// Lets the server do something. `statement` is what an error names.
    pub(super) async fn execute(&mut self, statement: &'static str, text: &str) -> Result<(), MariadbError> {
        let done = self.attempt(text).await;
        done.map_err(|source| self.refused(statement, source))
    }

    /// Lets the server do something that it may well refuse.
    pub(super) async fn attempt(&mut self, text: &str) -> Result<(), Error> {
        self.busy = true;
        let done = self.connection.query_drop(text).await;
        self.busy = false;
        done
    }

    /// Ends the connection. The server ends with it what it held.
    pub(super) async fn end(self) {
        // Where it does not end in good order, it is dropped, and the server notices that.
        let _ended = tokio::time::timeout(END_LIMIT, self.connection.disconnect()).await;
    }

    fn refused(&self, statement: &'static str, source: Error) -> MariadbError {
        MariadbError::Refused { server: self.server.clone(), statement, source }
    }
}
