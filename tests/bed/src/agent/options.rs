//! How an agent under test is started.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The options of [`super::Agent::start`].
#[derive(Clone, Debug)]
pub struct AgentOptions {
    pub(super) fragments: Vec<(String, String)>,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) wrapper: Vec<OsString>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) ready_within: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            fragments: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            state_dir: None,
            ready_within: Duration::from_secs(20),
        }
    }
}

impl AgentOptions {
    /// One drop-in with this text.
    pub fn configured(text: &str) -> Self {
        Self::default().fragment("50-test.toml", text)
    }

    /// Adds a drop-in.
    #[must_use]
    pub fn fragment(mut self, name: &str, text: &str) -> Self {
        self.fragments.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds an argument after `daemon`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable, also for commands that talk to the agent.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it under another program, for example `strace -f -o FILE`, which must pass signals or be killed by the
    /// end of its child.
    #[must_use]
    pub fn wrapped_in<W: Into<OsString>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps its state elsewhere.
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// How long it may take until it is ready.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }
}
