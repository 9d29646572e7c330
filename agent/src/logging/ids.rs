//! What journald calls `MESSAGE_ID`: one for each message that programs wait for, the same in every version
//! (systemd.journal-fields(7)). `docs/logs.md` lists them.

/// The agent takes requests.
pub const READY: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be001";
/// The agent has stopped.
pub const STOPPED: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be002";
/// A session was opened.
pub const SESSION_OPENED: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be003";
/// A session has ended, and its post-script exits with 0.
pub const SESSION_DONE: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be004";
/// A session has ended in any other way.
pub const SESSION_FAILED: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be005";
/// Something could not be released.
pub const RESIDUE: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be006";
/// An earlier agent had left something held.
pub const LEFT_HELD: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be007";
/// The configuration could not be read again.
pub const RELOAD_REFUSED: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be008";
/// Log lines were lost.
pub const LINES_LOST: &str = "5d0c3a6f2d6e4a0f8f1f0c6a7d1be009";

/// The field that carries them. It is for programs, so text leaves it out.
pub(super) const FIELD: &str = "message_id";
