//! What a session will hold, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::block::{Stack, Volume};
use crate::superblock::Superblock;

/// The position of a hook in its plan.
pub type HookIndex = usize;
/// The position of a filesystem in its plan.
pub type FilesystemIndex = usize;

/// Everything that one session will hold: a consistency group, resolved on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The hooks, in the order of their names.
    pub hooks: Vec<PlannedHook>,
    /// The filesystems, in the order in which they are frozen.
    pub filesystems: Vec<PlannedFilesystem>,
    /// What hooks store on filesystems that will not be frozen.
    pub outside: Vec<Outside>,
}

impl Plan {
    /// The EBS volumes that the held filesystems lie on.
    pub fn volume_ids(&self) -> Vec<String> {
        let volumes = self.filesystems.iter().flat_map(|filesystem| &filesystem.stack.volumes);
        let ids: BTreeSet<&str> = volumes.filter_map(Volume::ebs_id).collect();
        ids.into_iter().map(str::to_owned).collect()
    }
}

/// One hook of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedHook {
    /// The name that the hook has in the configuration.
    pub name: String,
    /// The hooks that must be quiesced before this one, and resumed after it.
    pub after: Vec<HookIndex>,
    /// What it stores.
    pub data: Vec<DataPath>,
}

/// Something that a hook stores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct DataPath {
    /// Where: a file or a directory.
    pub path: PathBuf,
    /// What it is: "data directory", "write-ahead log".
    pub what: String,
}

/// One filesystem of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedFilesystem {
    /// The mount through which it is opened.
    pub mount_point: PathBuf,
    /// Its identity.
    pub superblock: Superblock,
    /// Its type, as the kernel names it.
    pub fs_type: String,
    /// All of rank 0 are frozen first, together; then rank 1, and so on. They are thawed the other way round.
    pub rank: u16,
    /// The other places where it can be reached.
    #[serde(default)]
    pub also_at: Vec<PathBuf>,
    /// The data of hooks that lies on it.
    #[serde(default)]
    pub data: Vec<PathBuf>,
    /// What it lies on.
    #[serde(flatten)]
    pub stack: Stack,
}

/// Data of a hook that lies where nothing will be frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outside {
    /// The hook whose data it is.
    pub hook: String,
    /// Where the data lies.
    pub path: PathBuf,
    /// Why that filesystem is not frozen, in one sentence.
    pub reason: String,
    /// What that filesystem lies on.
    #[serde(flatten)]
    pub stack: Stack,
}

/// Why hooks cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A hook waits for one that is not in the group.
    #[error("hook {hook} is to be quiesced after {missing}, which is not in the group")]
    Missing {
        /// The hook that waits.
        hook: String,
        /// What it waits for.
        missing: String,
    },
    /// Hooks wait for each other.
    #[error("hooks wait for each other: {}", cycle.join(" after "))]
    Cycle {
        /// The hooks of the cycle; the first is repeated at the end.
        cycle: Vec<String>,
    },
}

/// Puts hooks in order: takes each hook's name, the names it comes `after`, and where its data lies.
///
/// # Errors
/// When a hook waits for one that is not among them, or hooks wait for each other.
pub fn order_hooks(hooks: &[(String, Vec<String>, Vec<DataPath>)]) -> Result<Vec<PlannedHook>, OrderError> {
    let index: BTreeMap<&str, HookIndex> =
        hooks.iter().enumerate().map(|(at, (name, ..))| (name.as_str(), at)).collect();
    let planned = hooks
        .iter()
        .map(|(name, after, data)| {
            let after = after
                .iter()
                .map(|other| {
                    index
                        .get(other.as_str())
                        .copied()
                        .ok_or_else(|| OrderError::Missing { hook: name.clone(), missing: other.clone() })
                })
                .collect::<Result<_, _>>()?;
            Ok(PlannedHook { name: name.clone(), after, data: data.clone() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    match find_cycle(&planned) {
        Some(cycle) => Err(OrderError::Cycle { cycle }),
        None => Ok(planned),
    }
}

/// Removes hooks that wait for nobody until none is left; what cannot be removed contains a cycle.
fn find_cycle(hooks: &[PlannedHook]) -> Option<Vec<String>> {
    let mut waiting: Vec<HookIndex> = (0..hooks.len()).collect();
    loop {
        let before = waiting.len();
        let still = waiting.clone();
        waiting.retain(|&hook| hooks[hook].after.iter().any(|other| still.contains(other)));
        if waiting.len() == before {
            break;
        }
    }
    let mut path = vec![*waiting.first()?];
    loop {
        let last = path[path.len() - 1];
        let next = *hooks[last].after.iter().find(|other| waiting.contains(other))?;
        if let Some(start) = path.iter().position(|&seen| seen == next) {
            path.push(next);
            return Some(path[start..].iter().map(|&hook| hooks[hook].name.clone()).collect());
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(name: &str, after: &[&str]) -> (String, Vec<String>, Vec<DataPath>) {
        (name.to_owned(), after.iter().map(ToString::to_string).collect(), vec![])
    }

    #[test]
    fn names_become_positions() {
        let planned = order_hooks(&[hook("a", &[]), hook("b", &["a"]), hook("c", &["a", "b"])]).unwrap();
        assert_eq!(planned[2].after, vec![0, 1]);
    }

    #[test]
    fn a_report_from_before_volumes_were_known_still_reads() {
        let old = r#"{
            "hooks": [],
            "filesystems": [
                {"mount_point": "/data", "superblock": {"major": 259, "minor": 1}, "fs_type": "xfs", "rank": 0}
            ],
            "outside": [{"hook": "h", "path": "/var", "reason": "it is /"}]
        }"#;
        let plan: Plan = serde_json::from_str(old).unwrap();
        assert_eq!((plan.filesystems[0].stack.clone(), plan.volume_ids()), (Stack::default(), vec![]));
        let again: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(again, plan);
    }

    #[test]
    fn a_cycle_is_named_without_what_merely_waits_for_it() {
        let hooks = [hook("a", &["b"]), hook("b", &["c"]), hook("c", &["b"]), hook("d", &[])];
        let error = order_hooks(&hooks).unwrap_err();
        assert_eq!(error.to_string(), "hooks wait for each other: b after c after b");
    }

    #[test]
    fn a_hook_outside_the_group_is_named() {
        let error = order_hooks(&[hook("a", &["zebra"])]).unwrap_err();
        assert_eq!(error.to_string(), "hook a is to be quiesced after zebra, which is not in the group");
    }
}
