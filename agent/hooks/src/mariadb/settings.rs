//! What a hook file may say of a MariaDB server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mysql_client::settings::ServerSettings;
use crate::settings::CommonSettings;

/// `[hook.NAME.mariadb]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MariadbSettings {
    /// Keys that every kind of hook has.
    #[serde(flatten)]
    pub common: CommonSettings,
    /// The server.
    #[serde(flatten)]
    pub server: ServerSettings,
}
