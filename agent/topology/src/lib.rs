//! What lies on what: which mount a path is on, which filesystem that is, what is nested in what, which block devices
//! and volumes a filesystem lies on, and what must never be frozen.
//!
//! Everything is read as text from `/proc` and `/sys` under a root that can be replaced (`/` on a host, a directory of
//! fixtures in tests and in simulated mode). Nothing else is opened and no path is looked at: a `stat` of a dead
//! network mount would hang for good.
#![forbid(unsafe_code)]

mod error;
mod escape;
mod fstab;
mod kind;
mod mountinfo;
mod mounts;
mod order;
mod procfs;
mod rules;
mod stack;
mod swaps;

pub use error::{BadLine, LineProblem, TopologyError};
pub use fstab::boot_mounts;
pub use kind::{Kind, Unfreezable};
pub use mountinfo::Mount;
pub use mounts::Mounts;
pub use order::freeze_ranks;
pub use rules::{Denial, OwnPath, Rules};
pub use stack::BlockStack;
pub use swaps::swap_files;
