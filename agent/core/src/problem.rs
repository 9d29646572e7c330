//! Something that went wrong, in the form in which it is reported.

use std::error::Error;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that went wrong: a sentence that names it, what caused it, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// One sentence that names the thing.
    pub message: String,
    /// The chain of causes, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do, with the command to run where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without causes.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), causes: Vec::new(), hint: None }
    }

    /// A problem from an error and the chain of its sources.
    pub fn from_error(error: &dyn Error) -> Self {
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        let causes = causes.map(ToString::to_string).collect();
        Self { message: error.to_string(), causes, hint: None }
    }

    /// The same problem with a hint, where there is one.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// The same problem as the cause of what `message` says.
    #[must_use]
    pub fn within(mut self, message: impl Into<String>) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, message.into()));
        self
    }
}

impl fmt::Display for Problem {
    /// The sentence and its causes on one line, for places that have only one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_brings_its_whole_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("the outer thing failed")]
        struct Outer(#[source] std::fmt::Error);

        let problem = Problem::from_error(&Outer(std::fmt::Error)).within("the whole failed");

        assert_eq!(problem.message, "the whole failed");
        assert_eq!(problem.causes[0], "the outer thing failed");
        assert_eq!(problem.causes.len(), 2);
    }
}
