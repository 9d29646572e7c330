//! FIFREEZE and FITHAW, the guardian process that enforces the lease, and the journal from which both are undone.
//!
//! All unsafe code of the product is in this crate, but for one closure between fork and exec in the hooks. It knows no hooks, no network, no configuration and no tokio.

pub mod clock;
pub mod counter;
pub mod guardian;
pub mod journal;
pub mod lock;
pub mod process;
pub mod recover;
pub mod rights;
pub mod simulated;
pub mod sys;
pub mod target;
