//! A replica: what it receives is not applied while it is held, and is applied again afterwards.
//!
//! That outlives the session, so it is journaled before it is asked for, and `recover` undoes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::MysqlError;
use super::facts::{Version, version};
use super::settings::MysqlSettings;
use crate::mysql_client::{ClientError, Product, Server, Session, lost};

/// How long replication may take to begin again after an agent that died.
const UNDO_LIMIT: Duration = Duration::from_secs(10);

/// Channels that were applied when a server was quiesced, and are applied again by whoever outlives the agent. The settings
/// name the file with the password, and do not hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoppedChannels {
    /// How the server is reached.
    pub settings: MysqlSettings,
    /// The channels; the first one of a server has no name.
    pub channels: Vec<String>,
}

/// Lets a server apply nothing more. It ends the group of changes that it has begun.
pub(super) async fn stop(
    session: &mut Session,
    version: &Version,
    channels: &[String],
) -> Result<(), ClientError> {
    for channel in channels {
        let text = format!("STOP {} SQL_THREAD FOR CHANNEL '{}'", version.replica(), quoted(channel));
        session.execute("STOP REPLICA SQL_THREAD", &text).await?;
    }
    Ok(())
}

/// Lets it apply again what it receives. One that is at it already stays so.
pub(super) async fn start(
    session: &mut Session,
    version: &Version,
    channels: &[String],
) -> Result<(), MysqlError> {
    let mut failed = None;
    for channel in channels {
        let text = format!("START {} SQL_THREAD FOR CHANNEL '{}'", version.replica(), quoted(channel));
        if let Err(source) = session.execute("START REPLICA SQL_THREAD", &text).await {
            let server = session.server.clone();
            failed =
                Some(MysqlError::NotApplying { server, channel: channel.clone(), source: Box::new(source) });
        }
    }
    failed.map_or(Ok(()), Err)
}

impl StoppedChannels {
    /// Starts them over a connection of its own. A server that is not there starts them by itself.
    pub(crate) async fn start_again(&self) -> Result<(), MysqlError> {
        let again = tokio::time::timeout(UNDO_LIMIT, self.start()).await;
        let server = Server { product: Product::Mysql, place: self.settings.server.place() };
        again.unwrap_or_else(|_| Err(lost(&server, "it does not answer").into()))
    }

    async fn start(&self) -> Result<(), MysqlError> {
        let mut session = match Session::open(Product::Mysql, &self.settings.server).await {
            Err(error) if error.is_unavailable() => return Ok(()),
            opened => opened?,
        };
        let version = version(&mut session).await?;
        start(&mut session, &version, &self.channels).await?;
        session.end().await;
        Ok(())
    }
}

fn quoted(channel: &str) -> String {
    channel.replace('\'', "''")
}
