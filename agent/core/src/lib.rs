//! The rules of a session, and nothing else.
//!
//! This crate does no I/O, reads no clock and knows neither tokio nor nix: time comes in as [`time::BootTime`],
//! effects go out as values. Everything here can therefore be tested exhaustively.
#![forbid(unsafe_code)]

pub mod block;
pub mod coverage;
pub mod exit;
pub mod finding;
pub mod id;
pub mod plan;
pub mod problem;
pub mod proof;
pub mod report;
pub mod session;
pub mod superblock;
pub mod time;
pub mod verdict;
