//! What a snapshot of certain volumes would have of a plan, and in which state.

use std::path::Path;

use serde::{Serialize, Serializer};

use crate::block::{Stack, Volume};
use crate::plan::{DataPath, FilesystemIndex, Plan};
use crate::problem::Problem;

/// One part of a plan: the data of a hook, or a filesystem without any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part<'a> {
    /// The hook whose data it is.
    pub hook: Option<&'a str>,
    /// Where it is.
    pub path: &'a Path,
    /// What a hook stores there.
    pub what: Option<&'a str>,
    /// What a session does with it.
    #[serde(flatten)]
    pub state: State,
    /// Its filesystem, if that is frozen.
    pub filesystem: Option<FilesystemIndex>,
    /// What it lies on.
    #[serde(rename = "volumes", serialize_with = "volumes")]
    pub stack: &'a Stack,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn volumes<S: Serializer>(stack: &&Stack, serializer: S) -> Result<S::Ok, S::Error> {
    stack.volumes.serialize(serializer)
}

/// What a session does with a part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It is held still: quiesced if it is a hook's, and frozen.
    Held,
    /// Its application is quiesced, but its filesystem is not frozen.
    NotFrozen {
        /// Why.
        why: String,
    },
    /// No snapshot of the instance's volumes has it.
    Outside {
        /// Why.
        why: String,
    },
}

impl Plan {
    /// Every part of the plan: the hooks' data in the order of the hooks, then filesystems that hold no hook's data.
    pub fn coverage(&self) -> Vec<Part<'_>> {
        let data = self
            .hooks
            .iter()
            .flat_map(|hook| hook.data.iter().filter_map(|data| self.data(&hook.name, data)));
        let bare = self.filesystems.iter().enumerate().filter(|(_, filesystem)| filesystem.data.is_empty());
        let bare = bare.map(|(index, filesystem)| Part {
            hook: None,
            path: &filesystem.mount_point,
            what: None,
            state: state(&filesystem.stack, None),
            filesystem: Some(index),
            stack: &filesystem.stack,
        });
        data.chain(bare).collect()
    }

    fn data<'a>(&'a self, hook: &'a str, data: &'a DataPath) -> Option<Part<'a>> {
        let DataPath { path, what } = data;
        let on = self.filesystems.iter().position(|filesystem| filesystem.data.contains(path));
        let (stack, not_frozen) = match on {
            Some(index) => (&self.filesystems[index].stack, None),
            None => {
                let outside =
                    self.outside.iter().find(|outside| outside.hook == hook && outside.path == *path)?;
                (&outside.stack, Some(&outside.reason))
            }
        };
        let state = state(stack, not_frozen);
        Some(Part { hook: Some(hook), path, what: Some(what), state, filesystem: on, stack })
    }

    /// What a snapshot of these volumes lacks, or may lack for all that is known.
    pub fn uncovered(&self, volume_ids: &[String]) -> Vec<Problem> {
        let parts = self.coverage();
        let lacking = parts
            .iter()
            .flat_map(|part| part.stack.volumes.iter().filter_map(|volume| lack(part, volume, volume_ids)));
        lacking.collect()
    }
}

fn state(stack: &Stack, not_frozen: Option<&String>) -> State {
    match (stack.volumes.iter().find_map(Volume::never_in_a_snapshot), not_frozen) {
        // The reason why it is not frozen says where it lies, and more.
        (Some(_), Some(why)) => State::Outside { why: why.clone() },
        (Some(why), None) => State::Outside { why },
        (None, Some(why)) => State::NotFrozen { why: why.clone() },
        (None, None) => State::Held,
    }
}

fn lack(part: &Part<'_>, volume: &Volume, volume_ids: &[String]) -> Option<Problem> {
    let path = part.path.display();
    let what = match &part.hook {
        Some(hook) => format!("{path} of hook {hook}"),
        None => path.to_string(),
    };
    if let Some(why) = volume.never_in_a_snapshot() {
        let hint = "keep it on an EBS volume, or leave it out of the group";
        return Some(Problem::new(format!("{what} is in no snapshot: {why}")).with_hint(Some(hint)));
    }
    match volume.ebs_id() {
        Some(id) if volume_ids.iter().any(|expected| expected == id) => None,
        Some(id) => {
            let message = format!("{what} lies on {id}, which is not among the expected volumes");
            let hint = format!("see how it is attached: aws ec2 describe-volumes --volume-ids {id}");
            Some(Problem::new(message).with_hint(Some(hint)))
        }
        None => {
            let message = format!("{what} lies on {volume}: nothing shows that the snapshot has it");
            let hint = "compare `lsblk --output NAME,MODEL,SERIAL` with the volumes that are attached";
            Some(Problem::new(message).with_hint(Some(hint)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::plan::{Outside, PlannedFilesystem, PlannedHook};
    use crate::superblock::Superblock;

    const DATA: &str = "vol-0bbbbbbbbbbbbbbbb";
    const ROOT: &str = "vol-0aaaaaaaaaaaaaaaa";

    fn stack(volumes: Vec<Volume>) -> Stack {
        Stack { devices: Vec::new(), volumes }
    }

    fn ebs(id: &str) -> Volume {
        Volume::Ebs { id: id.into(), device: format!("nvme-{id}") }
    }

    fn filesystem(mount_point: &str, data: &[&str], volumes: Vec<Volume>) -> PlannedFilesystem {
        PlannedFilesystem {
            mount_point: mount_point.into(),
            superblock: Superblock { major: 259, minor: 1 },
            fs_type: "xfs".into(),
            rank: 0,
            also_at: vec![],
            data: data.iter().map(PathBuf::from).collect(),
            stack: stack(volumes),
        }
    }

    /// One hook with data on two frozen filesystems, on `/` and on NFS.
    fn plan() -> Plan {
        let outside = |path: &str, reason: &str, volume| Outside {
            hook: "orders".into(),
            path: path.into(),
            reason: reason.into(),
            stack: stack(vec![volume]),
        };
        let data = ["/data/db", "/scratch/sort", "/var/db", "/nfs/dump"];
        Plan {
            hooks: vec![PlannedHook {
                name: "orders".into(),
                after: vec![],
                data: data.map(|path| DataPath { path: path.into(), what: "data".into() }).to_vec(),
            }],
            filesystems: vec![
                filesystem("/data", &["/data/db"], vec![ebs(DATA)]),
                filesystem(
                    "/scratch",
                    &["/scratch/sort"],
                    vec![Volume::InstanceStore { device: "nvme3n1".into() }],
                ),
                filesystem("/more", &[], vec![ebs(DATA), Volume::Xen { device: "xvdf".into() }]),
            ],
            outside: vec![
                outside("/var/db", "/ is the root filesystem", ebs(ROOT)),
                outside("/nfs/dump", "/nfs is nfs4", Volume::Network { source: "fs-1:/".into() }),
            ],
        }
    }

    fn lacking(expected: &[&str]) -> Vec<String> {
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        plan().uncovered(&expected).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn each_part_is_held_or_not_frozen_or_outside() {
        let plan = plan();
        let states: Vec<(&Path, State)> =
            plan.coverage().into_iter().map(|part| (part.path, part.state)).collect();
        let expected = [
            ("/data/db", State::Held),
            (
                "/scratch/sort",
                State::Outside { why: "nvme3n1 is instance store, which no snapshot has".into() },
            ),
            ("/var/db", State::NotFrozen { why: "/ is the root filesystem".into() }),
            ("/nfs/dump", State::Outside { why: "/nfs is nfs4".into() }),
            ("/more", State::Held),
        ];
        assert_eq!(states, expected.map(|(path, state)| (Path::new(path), state)));
    }

    #[test]
    fn what_no_snapshot_has_is_lacking_whatever_is_expected() {
        let always = [
            "/scratch/sort of hook orders is in no snapshot: nvme3n1 is instance store, which no snapshot has",
            "/nfs/dump of hook orders is in no snapshot: fs-1:/ is another machine's, which no snapshot of this one \
             has",
            "/more lies on xvdf (Xen tells no volume id): nothing shows that the snapshot has it",
        ];
        assert_eq!(lacking(&[DATA, ROOT]), always);
    }

    #[test]
    fn a_volume_that_is_not_expected_is_named_with_the_path_and_the_hook() {
        let lacking = lacking(&[DATA]);
        let expected =
            format!("/var/db of hook orders lies on {ROOT}, which is not among the expected volumes");
        assert!(lacking.contains(&expected), "{lacking:#?}");
        assert_eq!(lacking.len(), 4);
    }

    #[test]
    fn volumes_that_are_expected_and_hold_nothing_do_no_harm() {
        let all = lacking(&[DATA, ROOT]);
        assert_eq!(lacking(&[DATA, ROOT, "vol-0ddddddddddddddd0"]), all);
    }

    #[test]
    fn volume_ids_of_a_plan_are_those_of_what_is_held_once_each() {
        assert_eq!(plan().volume_ids(), [DATA]);
    }
}
