//! The execution id that DLM gives to a session.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The id under which a session runs: a UUID, or the literal `None` when nobody gave one.
///
/// These are the values that the SSM document's `allowedPattern` lets through. The SSM agent does not enforce the
/// pattern on the host, so it is enforced here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ExecutionId(Option<String>);

/// What is wrong with an execution id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the execution id {given:?} is neither a UUID (8-4-4-4-12 hexadecimal digits) nor the word None")]
pub struct InvalidExecutionId {
    given: String,
}

impl ExecutionId {
    /// The id of a session that was opened without one.
    pub const NONE: Self = Self(None);

    /// Whether this is the literal `None`, which names no session in particular.
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The session of this id, within a sentence.
    pub fn session(&self) -> String {
        self.0.as_ref().map_or_else(|| "the session without an id".to_owned(), |id| format!("session {id}"))
    }
}

impl FromStr for ExecutionId {
    type Err = InvalidExecutionId;

    /// Accepts exactly the document's pattern. Upper and lower case digits name the same session.
    fn from_str(given: &str) -> Result<Self, Self::Err> {
        if given == "None" {
            return Ok(Self::NONE);
        }
        let groups: Vec<&str> = given.split('-').collect();
        let well_formed = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
            && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if well_formed {
            Ok(Self(Some(given.to_ascii_lowercase())))
        } else {
            Err(InvalidExecutionId { given: given.chars().take(64).collect() })
        }
    }
}

impl TryFrom<String> for ExecutionId {
    type Error = InvalidExecutionId;

    fn try_from(given: String) -> Result<Self, Self::Error> {
        given.parse()
    }
}

impl From<ExecutionId> for String {
    fn from(id: ExecutionId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("None"))
    }
}
