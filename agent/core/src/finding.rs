//! What preflight found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// One thing that preflight found, and how bad it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do about it.
    #[serde(flatten)]
    pub problem: Problem,
}

/// How bad a finding is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A session can run; it may fail, or be slower than it need be.
    Warning,
    /// A session cannot run, or must not.
    Error,
}

impl Finding {
    /// Something because of which a session cannot run.
    pub const fn error(problem: Problem) -> Self {
        Self { severity: Severity::Error, problem }
    }

    /// Something that somebody should know before a session runs.
    pub const fn warning(problem: Problem) -> Self {
        Self { severity: Severity::Warning, problem }
    }
}
