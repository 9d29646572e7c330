//! The `quiesced` binary as a library: command line, configuration, daemon, API.
#![forbid(unsafe_code)]

pub mod api;
pub mod aws;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod facts;
pub mod files;
pub mod init;
pub mod logging;
pub mod metrics;
pub mod parameters;
pub mod paths;
pub mod preflight;
pub mod sinks;
pub mod timeline;

/// The version of the agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time by the wall clock, for people: RFC 3339 in UTC. No deadline may depend on it.
#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
pub fn wall_clock() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
