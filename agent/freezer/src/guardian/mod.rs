//! The guardian: a process of its own that freezes, and that thaws whatever becomes of everybody else.
//!
//! It is armed before anything is held: every target's directory open, memory locked, a thread waiting for each target
//! (the state chart of one is in `worker`), and a timer on the boot clock. From then on it allocates nothing, opens
//! nothing, executes nothing and writes only to its socket.
//!
//! | what happens | what follows |
//! | --- | --- |
//! | the agent commands a thaw | every rank in reverse, each target once |
//! | the lease ends | the same, and the agent is told |
//! | the agent dies, or closes the socket | the same; then the guardian ends |
//! | a FIFREEZE sleeps | the others are thawed; this one as soon as the ioctl returns |
//! | the agent is stopped | the lease ends |
//! | the guardian is stopped or dies | the agent thaws through its own descriptors |
//! | both die | `quiesced recover` reads the journal |

mod child;
mod handle;
#[cfg(test)]
mod tests;
mod watch;
mod wire;
mod worker;

pub use child::main;
pub use handle::{ArmError, Guardian, Lost, Target};
pub use wire::{FreezeFailure, Report, ThawEnd, Took};
