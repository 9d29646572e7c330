//! Test beds: loop volumes and their snapshots, writers, a simulator of the Data Lifecycle Manager and of the SSM
//! agent, and the agent under test. Used by the end-to-end tests, the demo and the benchmarks.
//!
//! Nothing here knows the product's code: what a filesystem or a snapshot is worth is judged from outside.

pub mod agent;
mod authority;
pub mod aws;
pub mod bench;
pub mod claim;
pub mod coordinator;
pub mod cycles;
pub mod demo;
pub mod dlm;
pub mod http;
pub mod machine;
pub mod observe;
pub mod root;
pub mod servers;
pub mod sysfs;
pub mod tool;
pub mod volumes;
pub mod writers;

pub use authority::Authority;
pub use observe::{frozen, wait_until};
pub use root::require_root;
pub use volumes::{Bed, Fs, MIB, Volume, VolumeSpec, sweep_leftovers};
