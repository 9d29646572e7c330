//! A simulator of what stands above the agent on EC2: the Data Lifecycle Manager, which decides, and the SSM agent,
//! which runs the document on the host.
//!
//! ```text
//! policy::run_cycle ─▶ Delivery (ssm::SsmDelivery, or a scripted one) ─▶ ssm::Ssm ─▶ sh -c _script.sh ─▶ quiesced
//! ```
//!
//! [`ssm`] behaves as the genuine SSM agent was observed to, [`policy`] as AWS documents the lifecycle manager, and
//! [`contract`] checks a document against what the lifecycle manager demands of it.

pub mod contract;
pub mod delivery;
pub mod document;
pub mod output;
pub mod policy;
pub mod ssm;

pub use contract::{Violation, validate_document};
pub use delivery::{Faults, SsmDelivery};
pub use document::{Document, DocumentError};
pub use policy::{Cycle, Deliver, Edge, Event, Policy, RetryId, Script, Stages, Tag, run_cycle};
pub use ssm::{Invocation, Running, Ssm, SsmError, Status};
