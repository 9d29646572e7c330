//! The exit codes of the one-shot commands, as Data Lifecycle Manager reads them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `pre-script`, `post-script` and `dry-run` exit with.
///
/// The codes and their meanings are the lifecycle manager's. The daemon never exits with them, because systemd reads
/// 200 to 243 as its own start-up failures (`systemd.exec(5)`); and no command of ours may ever exit with 137, 168,
/// 169 or 194, to which the SSM agent gives meanings of its own (194 reboots the host).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCode {
    /// Everything that was asked for was done and proved.
    Done,
    /// The pre-script failed; everything that it held has been released.
    PreScriptFailed,
    /// The post-script could not release everything; the residue is listed.
    PostScriptFailed,
    /// The hold ended, or was broken, before the post-script: the snapshot is crash-consistent.
    AutoThawed,
    /// A pre-script came while a session, or somebody else, already holds the host.
    AlreadyFrozen,
    /// A post-script came for a session that is not open.
    AlreadyThawed,
    /// Preflight found something in the way; nothing was touched.
    NotReady,
}

impl ExitCode {
    /// Every code, in numerical order.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::PreScriptFailed,
        Self::PostScriptFailed,
        Self::AutoThawed,
        Self::AlreadyFrozen,
        Self::AlreadyThawed,
        Self::NotReady,
    ];

    /// The number a process exits with.
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::PreScriptFailed => 201,
            Self::PostScriptFailed => 202,
            Self::AutoThawed => 203,
            Self::AlreadyFrozen => 204,
            Self::AlreadyThawed => 205,
            Self::NotReady => 206,
        }
    }

    /// The code with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The code in words that hold for each of its causes: the lifecycle manager's own name only the commonest.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::PreScriptFailed => "pre-script failed",
            Self::PostScriptFailed => "post-script failed",
            Self::AutoThawed => "the hold ended, or was broken, before post-script",
            Self::AlreadyFrozen => "something else is in the way of pre-script",
            Self::AlreadyThawed => "no session for post-script to end",
            Self::NotReady => "application not ready",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code() {
        for code in ExitCode::ALL {
            assert_eq!(ExitCode::from_number(code.number()), Some(code));
        }
        let known = (0..=u8::MAX).filter(|number| ExitCode::from_number(*number).is_some()).count();
        assert_eq!(known, ExitCode::ALL.len());
    }

    #[test]
    fn no_code_has_a_meaning_to_the_ssm_agent() {
        for reserved in [137, 168, 169, 194] {
            assert_eq!(ExitCode::from_number(reserved), None);
        }
    }
}
