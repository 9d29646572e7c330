//! HTTP/1.1 on a unix socket: how the commands talk to the daemon.

pub mod client;
pub mod server;
pub mod wire;
