//! The bed itself: can its snapshots, its sweeper, its simulator and its writers be believed?

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by its helpers too; clippy.toml covers the test functions only"
)]

mod agent;
mod contract;
mod policy;
mod servers;
mod snapshots;
mod ssm;
mod sweeping;
mod writers;
