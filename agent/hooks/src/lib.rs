//! Hooks: what quiesces one application, and the runner that drives them.
//!
//! A [`Hook`] knows one application. The [`Runner`] gives each hook a task of its own, a time limit for each step, and
//! a guarantee: whatever a hook does, fail, hang, panic, each step that was asked for is answered once, and the hook
//! can still be released. In which order hooks are quiesced is decided by the caller.
//!
//! To add a kind of hook: a type in [`settings`], a module here that implements [`Hook`], one arm in [`build`].
#![deny(unsafe_code)]

pub mod clock;
pub mod error;
mod exec;
mod hook;
pub mod mariadb;
pub mod mysql;
pub mod mysql_client;
pub mod postgresql;
mod process;
pub mod redis;
pub mod runner;
pub mod server;
mod session;
pub mod settings;
mod sqlite;
#[cfg(test)]
mod testing;
mod undo;

pub use error::HookError;
pub use hook::{DataPath, Hook, Inspection, Proof, StepContext, build};
pub use runner::{NamedHook, Outcome, Prepared, Released, Runner, SessionContext, StepDone, Timed, Vouched};
pub use undo::Undo;
