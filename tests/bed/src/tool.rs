//! Runs the system's own tools (mkfs, losetup, mount, btrfs …), with errors that can be repeated by hand.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Command, ExitStatus, Stdio};

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The tool could not be started.
    #[error("cannot run `{line}`: {source}")]
    Start {
        /// The command line.
        line: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tool ran and failed.
    #[error("`{line}` ended with {status}: {printed}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed, errors first.
        printed: String,
    },
}

impl ToolError {
    /// What to run against it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("scripts/install-test-tools installs the tools that the tests need")
            }
            Self::Start { .. } | Self::Failed { .. } => None,
        }
    }
}

/// A command line under construction.
#[derive(Debug)]
pub struct Tool {
    command: Command,
}

impl Tool {
    /// The tool `program`, found through `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(Command::new(program))
    }

    /// A command that was put together elsewhere.
    pub fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).env("LC_ALL", "C");
        Self { command }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Runs it to its end and gives back what it printed, without surrounding white space.
    ///
    /// # Errors
    /// When it cannot be started, or exits with anything but 0.
    pub fn run(mut self) -> Result<String, ToolError> {
        let line = line(&self.command);
        let output =
            self.command.output().map_err(|source| ToolError::Start { line: line.clone(), source })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            // Checkers report what they find on standard output.
            let printed = format!("{}\n{}", text(&output.stderr), text(&output.stdout)).trim().to_owned();
            Err(ToolError::Failed { line, status: output.status, printed })
        }
    }
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(OsStr::to_owned).collect();
    words.iter().map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_line_and_what_it_printed() {
        let error = Tool::new("sh").args(["-c", "echo no such luck >&2; exit 3"]).run().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo no such luck >&2; exit 3'` ended with exit status: 3: no such luck"
        );
    }

    #[test]
    fn a_missing_tool_says_what_installs_it() {
        let error = Tool::new("no-such-tool-here").run().unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("install-test-tools")));
    }
}
