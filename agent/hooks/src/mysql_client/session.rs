//! One connection to a server, never pooled and never made again: what it holds ends with it.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::{FromRow, FromValue, Queryable as _};
use mysql_async::{Conn, Error, OptsBuilder, Row, SslOpts};

use super::error::ClientError;
use super::settings::ServerSettings;
use super::{Product, Server};

/// How soon a host that does not answer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long the end of a connection is waited for.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A column of a row; none when it is NULL, not there, or no such value.
pub(crate) fn field<T: FromValue>(row: &Row, name: &str) -> Option<T> {
    row.get_opt::<T, _>(name)?.ok()
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: Server,
    connection: Conn,
    /// A statement was sent, and its answer was not taken: nothing more can be asked over this connection.
    pub(crate) busy: bool,
}

impl Session {
    /// Logs in.
    pub(crate) async fn open(product: Product, settings: &ServerSettings) -> Result<Self, ClientError> {
        let server = Server { product, place: settings.place() };
        // `prefer_socket` would leave the host that was named for a socket that the server tells of.
        let mut options = OptsBuilder::default().prefer_socket(false).user(Some(&settings.user));
        options = if settings.is_socket() {
            options.socket(Some(&settings.host))
        } else {
            options.ip_or_hostname(&settings.host).tcp_port(settings.port).tcp_keepalive(Some(KEEPALIVE))
        };
        if let Some(source) = &settings.password {
            options = options.pass(Some(source.read_aside().await?.expose()));
        }
        if let Some(authorities) = settings.tls_ca.clone().filter(|_| !settings.is_socket()) {
            let tls = SslOpts::default().with_root_certs(vec![authorities.into()]);
            options = options.ssl_opts(Some(tls.with_disable_built_in_roots(true)));
        }
        let connect =
            |source| ClientError::Connect { server: server.clone(), user: settings.user.clone(), source };
        let connection = Conn::new(options).await.map_err(connect)?;
        Ok(Self { server, connection, busy: false })
    }

    /// The server's number for this connection.
    pub(crate) fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Asks for one row.
    pub(crate) async fn ask<T: FromRow + Send + 'static>(
        &mut self,
        statement: &'static str,
    ) -> Result<Option<T>, ClientError> {
        self.busy = true;
        let answered = self.connection.query_first(statement).await;
        self.busy = false;
        answered.map_err(|source| self.refused(statement, source))
    }

    /// Asks for all rows. `statement` is what an error names.
    pub(crate) async fn list<T: FromRow + Send + 'static>(
        &mut self,
        statement: &'static str,
        text: &str,
    ) -> Result<Vec<T>, ClientError> {
        self.busy = true;
        let answered = self.connection.query(text).await;
        self.busy = false;
        answered.map_err(|source| self.refused(statement, source))
    }

    /// Those of the named variables that this server has.
    pub(crate) async fn variables(
        &mut self,
        names: &[&str],
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let statement = "SHOW GLOBAL VARIABLES";
        let text = format!("{statement} WHERE Variable_name IN ('{}')", names.join("', '"));
        let rows: Vec<(String, String)> = self.list(statement, &text).await?;
        Ok(rows.into_iter().collect())
    }

    /// Lets the server do something. `statement` is what an error names.
    pub(crate) async fn execute(&mut self, statement: &'static str, text: &str) -> Result<(), ClientError> {
        let done = self.attempt(text).await;
        done.map_err(|source| self.refused(statement, source))
    }

    /// Lets the server do something that it may well refuse.
    pub(crate) async fn attempt(&mut self, text: &str) -> Result<(), Error> {
        self.busy = true;
        let done = self.connection.query_drop(text).await;
        self.busy = false;
        done
    }

    /// Lets the server end another connection of this agent's, whose statement nobody waits for any more.
    pub(crate) async fn end_other(&mut self, other: &Self) {
        if let Err(error) = self.attempt(&format!("KILL {}", other.id())).await {
            tracing::warn!(%error, server = %other.server, "the statement of a hook could not be ended");
        }
    }

    /// Ends the connection. The server ends with it what it held.
    pub(crate) async fn end(self) {
        // Where it does not end in good order, it is dropped, and the server notices that.
        let _ended = tokio::time::timeout(END_LIMIT, self.connection.disconnect()).await;
    }

    /// The error of a statement.
    pub(crate) fn refused(&self, statement: &'static str, source: Error) -> ClientError {
        ClientError::Refused { server: self.server.clone(), statement, source }
    }
}
