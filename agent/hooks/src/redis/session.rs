//! One connection to a server, never made again by itself.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _,
    RedisConnectionInfo, TlsCertificates,
};

use super::error::RedisError;
use super::settings::RedisSettings;
use crate::server::Secret;

/// A connection.
pub(super) struct Session {
    pub(super) server: String,
    connection: MultiplexedConnection,
}

impl Session {
    /// Logs in.
    pub(super) async fn open(settings: &RedisSettings, limit: Duration) -> Result<Self, RedisError> {
        let is_socket = settings.host.starts_with('/');
        let server =
            if is_socket { settings.host.clone() } else { format!("{}:{}", settings.host, settings.port) };
        let secret = match &settings.password {
            Some(source) => Some(source.read_aside().await?),
            None => None,
        };
        let client = client(settings, secret.as_ref(), &server, is_socket)?;
        let connect = |source| RedisError::Connect { server: server.clone(), source };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            // Each step has a limit of its own, which also ends what waits for an answer.
            .set_response_timeout(None);
        let connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(connect)?;
        Ok(Self { server, connection })
    }

    /// Lets the server do something, and reads its answer.
    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        command: &'static str,
        cmd: &Cmd,
    ) -> Result<T, RedisError> {
        let answered = cmd.query_async(&mut self.connection).await;
        answered.map_err(|source| RedisError::Refused { server: self.server.clone(), command, source })
    }

    /// A section of INFO, or all of it.
    pub(super) async fn info(&mut self) -> Result<Info, RedisError> {
        let text: String = self.ask("INFO", &redis::cmd("INFO")).await?;
        Ok(Info { server: self.server.clone(), fields: fields(&text) })
    }

    /// A parameter of its configuration.
    pub(super) async fn parameter(&mut self, name: &'static str) -> Result<String, RedisError> {
        let all: BTreeMap<String, String> =
            self.ask("CONFIG GET", redis::cmd("CONFIG").arg("GET").arg(name)).await?;
        let server = self.server.clone();
        all.into_values().next().ok_or(RedisError::Silent { server, field: name })
    }
}

fn client(
    settings: &RedisSettings,
    secret: Option<&Secret>,
    server: &str,
    is_socket: bool,
) -> Result<Client, RedisError> {
    let (host, port) = (settings.host.clone(), settings.port);
    let address = match (&settings.tls_ca, is_socket) {
        (_, true) => ConnectionAddr::Unix(host.into()),
        (Some(_), false) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        (None, false) => ConnectionAddr::Tcp(host, port),
    };
    let mut login = RedisConnectionInfo::default();
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(secret) = secret {
        login = login.set_password(secret.expose());
    }
    let connect = |source| RedisError::Connect { server: server.to_owned(), source };
    let info = address.into_connection_info().map_err(connect)?.set_redis_settings(login);
    match settings.tls_ca.as_ref().filter(|_| !is_socket) {
        Some(path) => {
            let read = |source| RedisError::Authorities { path: path.clone(), source };
            let root_cert = Some(fs::read(path).map_err(read)?);
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert }).map_err(connect)
        }
        None => Client::open(info).map_err(connect),
    }
}

/// What INFO says.
pub(super) struct Info {
    server: String,
    fields: BTreeMap<String, String>,
}

impl Info {
    pub(super) fn text(&self, field: &'static str) -> Result<&str, RedisError> {
        let silent = || RedisError::Silent { server: self.server.clone(), field };
        self.fields.get(field).map(String::as_str).ok_or_else(silent)
    }

    pub(super) fn number(&self, field: &'static str) -> Result<u64, RedisError> {
        let silent = || RedisError::Silent { server: self.server.clone(), field };
        self.text(field)?.parse().map_err(|_| silent())
    }

    /// A number that is absent while it does not apply.
    pub(super) fn number_or_0(&self, field: &str) -> u64 {
        self.fields.get(field).and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

fn fields(info: &str) -> BTreeMap<String, String> {
    let pairs = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_empty_lines_are_no_fields() {
        let fields = fields("# Server\r\nredis_version:7.0.15\r\n\r\nexecutable:/a:b\r\n");
        assert_eq!(fields["redis_version"], "7.0.15");
        assert_eq!(fields["executable"], "/a:b");
        assert_eq!(fields.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _fields = fields(&text);
        }
    }
}
