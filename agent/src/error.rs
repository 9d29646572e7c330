//! How a command tells people that it failed.

use std::fmt;

use quiesced_core::exit::ExitCode;
use quiesced_core::problem::Problem;

use crate::api::client::ClientError;
use crate::config::ConfigErrors;

/// Why a command failed: shown as `error:`, `caused by:` and `hint:` lines.
#[derive(Clone, Debug)]
pub struct CliError {
    /// Everything that went wrong.
    pub problems: Vec<Problem>,
    /// What is wrong with the configuration, each with its place.
    pub config: Option<ConfigErrors>,
    /// What the process exits with.
    pub code: u8,
}

impl CliError {
    /// The configuration has errors.
    pub const fn config(errors: ConfigErrors) -> Self {
        Self { problems: Vec::new(), config: Some(errors), code: 1 }
    }

    /// The error as machines read it; a mistake in a file has `file`, `line` and `column` beside the sentence.
    pub fn to_json(&self) -> serde_json::Value {
        let findings =
            self.config.iter().flat_map(ConfigErrors::findings).map(|finding| serde_json::json!(finding));
        let problems = self.problems.iter().map(|problem| serde_json::json!(problem));
        serde_json::json!({ "code": self.code, "problems": findings.chain(problems).collect::<Vec<_>>() })
    }

    /// The daemon could not be asked.
    pub fn client(error: &ClientError) -> Self {
        Problem::from_error(error).with_hint(Some(error.hint())).into()
    }

    /// The same error with a code of the lifecycle manager's.
    #[must_use]
    pub const fn exit(mut self, code: ExitCode) -> Self {
        self.code = code.number();
        self
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        vec![problem].into()
    }
}

impl From<Vec<Problem>> for CliError {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems, config: None, code: 1 }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(errors) = &self.config {
            writeln!(f, "{}", errors.to_string().trim_end())?;
        }
        self.problems.iter().try_for_each(|problem| write_problem(f, problem))
    }
}

/// Writes a problem as people read it.
///
/// # Errors
/// When the writer fails.
pub fn write_problem(f: &mut impl fmt::Write, problem: &Problem) -> fmt::Result {
    write_as(f, "error", problem)
}

/// Writes a warning as people read it.
///
/// # Errors
/// When the writer fails.
pub fn write_warning(f: &mut impl fmt::Write, problem: &Problem) -> fmt::Result {
    write_as(f, "warning", problem)
}

fn write_as(f: &mut impl fmt::Write, word: &str, problem: &Problem) -> fmt::Result {
    writeln!(f, "{word}: {}", problem.message)?;
    problem.causes.iter().try_for_each(|cause| writeln!(f, "  caused by: {cause}"))?;
    problem.hint.iter().try_for_each(|hint| writeln!(f, "  hint: {hint}"))
}
