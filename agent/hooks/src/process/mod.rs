//! Child processes of hooks: which programs may run, how they are started, watched and ended.
//!
//! There is no shell anywhere: a command is an argument vector. A child has an environment of its own, `/` as its
//! working directory, `/dev/null` as its standard input unless the hook speaks to it, and a process group of its own,
//! so that it can be ended together with everything it started.

pub(crate) mod account;
pub(crate) mod group;
pub(crate) mod mark;
pub(crate) mod output;
pub(crate) mod program;
pub(crate) mod supervise;
mod trust;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

/// How a process ended, as the end of a sentence.
pub(crate) fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("was killed by signal {number} ({})", signal.as_str()),
            Err(_) => format!("was killed by signal {number}"),
        },
        (None, None) => "ended in a way that the kernel does not tell".to_owned(),
    }
}
