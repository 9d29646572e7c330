//! What a snapshot taken inside a session is worth.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the snapshot is worth, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No better than a copy of the disks at the moment of a power cut.
    CrashConsistent,
    /// Every target filesystem was frozen without a gap, but not every application is proved to have been held still.
    FilesystemConsistent,
    /// Every application is proved to have been held still, and everything it stores lies on filesystems frozen without a gap.
    ApplicationConsistent,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CrashConsistent => "crash-consistent",
            Self::FilesystemConsistent => "filesystem-consistent",
            Self::ApplicationConsistent => "application-consistent",
        })
    }
}

/// What was found out about a session when it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The hold was given up, lost or broken before post-script asked for its end; one sentence for each reason.
    pub broken: Vec<String>,
    /// Data of a hook that lies outside the frozen filesystems; one sentence each.
    pub data_not_frozen: Vec<String>,
    /// Hooks that claim to have held and cannot prove it; one sentence each.
    pub unproved: Vec<String>,
    /// Hooks that were quiesced.
    pub hooks: usize,
    /// Filesystems that were frozen.
    pub filesystems: usize,
}

impl Evidence {
    /// The verdict, and each reason why it is not a better one.
    ///
    /// Data that was quiesced but not frozen makes a session crash-consistent: without the freeze nothing proves
    /// that what the application had flushed reached the disk, or that nothing followed it there.
    pub fn verdict(&self) -> (Verdict, Vec<String>) {
        let mut reasons = self.broken.clone();
        reasons.extend(self.data_not_frozen.iter().cloned());
        if self.filesystems == 0 {
            reasons.push("no filesystem was frozen".to_owned());
        }
        let is_crash = !reasons.is_empty();
        reasons.extend(self.unproved.iter().cloned());
        if is_crash {
            return (Verdict::CrashConsistent, reasons);
        }
        if self.hooks == 0 {
            reasons.push("the group has no hook, so no application was quiesced".to_owned());
        }
        if !reasons.is_empty() {
            return (Verdict::FilesystemConsistent, reasons);
        }
        (Verdict::ApplicationConsistent, reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Evidence {
        Evidence { hooks: 2, filesystems: 3, ..Evidence::default() }
    }

    #[test]
    fn only_the_whole_proof_is_application_consistent() {
        assert_eq!(whole().verdict(), (Verdict::ApplicationConsistent, vec![]));
    }

    #[test]
    fn every_doubt_lowers_the_verdict_and_is_named() {
        let doubt = vec!["doubt".to_owned()];
        let cases = [
            (Evidence { broken: doubt.clone(), ..whole() }, Verdict::CrashConsistent),
            (Evidence { data_not_frozen: doubt.clone(), ..whole() }, Verdict::CrashConsistent),
            (Evidence { unproved: doubt, ..whole() }, Verdict::FilesystemConsistent),
            (Evidence { filesystems: 0, ..whole() }, Verdict::CrashConsistent),
            (Evidence { hooks: 0, ..whole() }, Verdict::FilesystemConsistent),
        ];
        for (evidence, expected) in cases {
            let (verdict, reasons) = evidence.verdict();
            assert_eq!(verdict, expected, "{evidence:?}");
            assert!(!reasons.is_empty(), "{evidence:?}");
        }
    }

    #[test]
    fn a_better_verdict_is_greater() {
        assert!(Verdict::ApplicationConsistent > Verdict::FilesystemConsistent);
        assert!(Verdict::FilesystemConsistent > Verdict::CrashConsistent);
    }
}
