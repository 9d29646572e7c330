//! What a session would hold, on which volumes, and what is outside, on a host that never was.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{ExecHook, expect, id, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use serde_json::Value;
use tempfile::TempDir;

const MOUNTS: &str = "\
    21 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw\n\
    30 21 253:0 / /q/db rw,relatime - xfs /dev/mapper/vg-db rw\n\
    31 30 259:5 / /q/db/wal rw,relatime - ext4 /dev/nvme3n1 rw\n\
    32 21 259:6 / /q/scratch rw,relatime - ext4 /dev/nvme4n1 rw\n\
    33 21 0:48 / /q/efs rw,relatime - nfs4 fs-0c0ffee.efs.eu-west-1.amazonaws.com:/ rw\n\
    34 21 253:0 /pub /q/public rw,relatime - xfs /dev/mapper/vg-db rw\n";

const DEVICES: &str = "\
    nvme0n1   259:0 ebs vol0aaaaaaaaaaaaaaaa\n\
    nvme0n1p1 259:1 partition nvme0n1\n\
    nvme1n1   259:3 ebs vol0bbbbbbbbbbbbbbbb\n\
    nvme2n1   259:4 ebs vol0cccccccccccccccc\n\
    dm-0      253:0 mapped vg-db LVM-JSO9kQx over nvme1n1 nvme2n1\n\
    nvme3n1   259:5 ebs vol0dddddddddddddddd\n\
    nvme4n1   259:6 instance-store AWS6AAAAAAAAAAAAAAA0\n";

const ALL: &str = "vol-0aaaaaaaaaaaaaaaa,vol-0bbbbbbbbbbbbbbbb,vol-0cccccccccccccccc,vol-0dddddddddddddddd";

/// Data must exist, so `/q` stands for a directory of the test's.
struct Host {
    root: TempDir,
    data: TempDir,
    hook: ExecHook,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        for path in ["db/base", "db/reports", "db/wal", "efs/dump", "root", "scratch/sort"] {
            std::fs::create_dir_all(data.path().join(path)).unwrap();
        }
        let host = Self { root, data, hook: ExecHook::new() };
        let proc = host.root.path().join("proc/self");
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::write(proc.join("mountinfo"), host.real(MOUNTS)).unwrap();
        quiesced_bed::sysfs::make(host.root.path(), DEVICES).unwrap();
        host
    }

    fn real(&self, text: &str) -> String {
        text.replace("/q/", &format!("{}/", self.data.path().display()))
    }

    fn shown(&self, text: &str) -> String {
        text.replace(&self.data.path().display().to_string(), "/q")
    }

    /// An agent with the hooks `name: data, more`.
    fn agent(&self, hooks: &[(&str, &str)], more: &str) -> Agent {
        let hooks: String = hooks.iter().map(|(name, keys)| self.hook.table(name, "exit 0", keys)).collect();
        self.started(&format!("{hooks}{more}"))
    }

    fn started(&self, config: &str) -> Agent {
        start(AgentOptions::configured(&self.real(config)).variable("QUIESCED_SIMULATE", self.root.path()))
    }
}

const ORDERS: (&str, &str) = ("orders", "data = [\"/q/db/base\", \"/q/db/wal\"]");
const REPORTS: (&str, &str) = (
    "reports",
    "data = [\"/q/db/reports\", \"/q/efs/dump\", \"/q/scratch/sort\", \"/q/root\"]\nafter = [\"orders\"]",
);

#[test]
fn the_plan_leads_from_each_hook_to_its_volumes() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS, REPORTS], "");
    let plan = agent.cli(["plan"]).unwrap();
    expect(0, &plan);
    let expected = "\
group default: 2 hook(s) and 3 filesystem(s) would be held
├─ hook orders, quiesced at once
│  ├─ /q/db/base (data), held
│  │  └─ /q/db (xfs, 253:0, also at /q/public), frozen in step 2
│  │     └─ dm-0 lvm vg-db
│  │        ├─ nvme1n1: vol-0bbbbbbbbbbbbbbbb
│  │        └─ nvme2n1: vol-0cccccccccccccccc
│  └─ /q/db/wal (data), held
│     └─ /q/db/wal (ext4, 259:5), frozen in step 1
│        └─ nvme3n1: vol-0dddddddddddddddd
└─ hook reports, quiesced after orders
   ├─ /q/db/reports (data), held
   │  └─ /q/db (xfs, 253:0, also at /q/public), as above
   ├─ /q/efs/dump (data), outside: /q/efs is nfs4: its data lies on another machine, and is in no snapshot of this one
   │  └─ fs-0c0ffee.efs.eu-west-1.amazonaws.com:/
   ├─ /q/root (data), quiesced but not frozen: / is the root filesystem: with it frozen, nothing on this host is sure to run \
the post-script
   │  └─ nvme0n1p1 partition
   │     └─ nvme0n1: vol-0aaaaaaaaaaaaaaaa
   └─ /q/scratch/sort (data), outside: nvme4n1 is instance store, which no snapshot has
      └─ /q/scratch (ext4, 259:6), frozen in step 1
         └─ nvme4n1 (instance store)
";
    assert_eq!(host.shown(&plan.stdout), expected);
}

#[test]
fn a_plan_that_the_snapshot_covers_exits_with_0() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS], "");
    expect(0, &agent.cli(["plan", "--expect-volumes", ALL]).unwrap());
}

#[test]
fn what_the_snapshot_lacks_is_named_by_path_hook_and_volume() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS, REPORTS], "");
    let some = "vol-0bbbbbbbbbbbbbbbb,vol-0cccccccccccccccc,vol-0aaaaaaaaaaaaaaaa";
    let plan = agent.cli(["plan", "--expect-volumes", some]).unwrap();
    expect(1, &plan);
    let stderr = host.shown(&plan.stderr);
    for expected in [
        "error: /q/db/wal of hook orders lies on vol-0dddddddddddddddd, which is not among the expected volumes",
        "error: /q/efs/dump of hook reports is in no snapshot: fs-0c0ffee.efs.eu-west-1.amazonaws.com:/ is another",
        "error: /q/scratch/sort of hook reports is in no snapshot: nvme4n1 is instance store",
    ] {
        assert!(stderr.contains(expected), "{expected}\nnot in\n{stderr}");
    }
    assert_eq!(stderr.matches("error: ").count(), 3, "{stderr}");
}

#[test]
fn the_expected_volumes_may_stand_in_the_configuration_and_the_option_takes_their_place() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS], "[group.default]\nexpect_volumes = [\"vol-0bbbbbbbbbbbbbbbb\"]\n");
    expect(1, &agent.cli(["plan"]).unwrap());
    expect(0, &agent.cli(["plan", "--expect-volumes", ALL]).unwrap());
}

#[test]
fn what_is_no_id_of_a_volume_is_refused() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS], "");
    for wrong in ["vol0bbbbbbbbbbbbbbbb", "vol-0BBBBBBBBBBBBBBBB", "vol-1", ""] {
        expect(2, &agent.cli(["plan", "--expect-volumes", wrong]).unwrap());
    }
}

#[test]
fn machines_read_the_same_in_one_document() {
    let host = Host::new();
    let agent = host.agent(&[ORDERS, REPORTS], "");
    let plan = agent.cli(["plan", "--json", "--expect-volumes", ALL]).unwrap();
    expect(1, &plan);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let states: Vec<&str> =
        plan["coverage"].as_array().unwrap().iter().map(|part| part["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["held", "held", "held", "outside", "not_frozen", "outside"]);
    let devices = plan["filesystems"][2]["devices"].as_array().unwrap();
    assert_eq!(devices[0]["below"], serde_json::json!(["nvme1n1", "nvme2n1"]));
    assert_eq!(plan["coverage"][0]["volumes"][1]["id"], "vol-0cccccccccccccccc");
    assert_eq!(plan["uncovered"].as_array().unwrap().len(), 2);
}

#[test]
fn hooks_are_told_the_volumes_of_what_is_held() {
    let host = Host::new();
    let told = host.hook.directory().join("told");
    let script = format!("echo \"$QUIESCED_VOLUMES\" > {}", told.display());
    let agent = host.started(&host.hook.table("orders", &script, ORDERS.1));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
    let told = std::fs::read_to_string(told).unwrap();
    assert_eq!(told.trim(), "vol-0bbbbbbbbbbbbbbbb vol-0cccccccccccccccc vol-0dddddddddddddddd");
}

#[test]
fn a_stack_that_cannot_be_read_is_in_the_way_of_a_session() {
    let host = Host::new();
    std::fs::remove_dir_all(host.root.path().join("sys/class/block")).unwrap();
    let agent = host.agent(&[ORDERS], "");
    let refused = agent.pre_script(&id(1)).unwrap();
    expect(206, &refused);
    let said = host.shown(&refused.stdout);
    assert!(said.contains("/q/db lies on the device dm-0, which is gone"), "{said}");
}

const README_MOUNTS: &str = "\
    21 1 259:1 / / rw,relatime - ext4 /dev/nvme0n1p1 rw\n\
    30 21 253:0 / /q/ledger rw,relatime - xfs /dev/mapper/vg-ledger rw\n\
    31 21 259:5 / /q/queue rw,relatime - ext4 /dev/nvme3n1 rw\n";

const README_DEVICES: &str = "\
    nvme0n1   259:0 ebs vol0aaaaaaaaaaaaaaaa\n\
    nvme0n1p1 259:1 partition nvme0n1\n\
    nvme1n1   259:3 ebs vol0bbbbbbbbbbbbbbbb\n\
    nvme2n1   259:4 ebs vol0cccccccccccccccc\n\
    dm-0      253:0 mapped vg-ledger LVM-JSO9kQx over nvme1n1 nvme2n1\n\
    nvme3n1   259:5 instance-store AWS6AAAAAAAAAAAAAAA0\n";

#[test]
fn the_plan_in_readme_is_that_of_the_configuration_in_readme() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let block = |language: &str, part: &str| {
        let fence = format!("```{language}\n");
        let mut blocks = readme.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
        let found = blocks.find(|block| block.contains(part));
        found.unwrap_or_else(|| panic!("README has no block with {part}")).to_owned()
    };
    let host = Host::new();
    std::fs::write(host.root.path().join("proc/self/mountinfo"), host.real(README_MOUNTS)).unwrap();
    std::fs::remove_dir_all(host.root.path().join("sys")).unwrap();
    quiesced_bed::sysfs::make(host.root.path(), README_DEVICES).unwrap();
    for folder in ["ledger", "queue"] {
        std::fs::create_dir(host.data.path().join(folder)).unwrap();
    }
    std::fs::write(host.data.path().join("ledger/ledger.db"), "").unwrap();
    let commands = host.hook.directory().display().to_string();
    for name in ["queue-pause", "queue-resume", "queue-is-paused"] {
        common::script(host.hook.directory(), name, "exit 0");
    }
    let config = block("toml", "[hook.ledger.sqlite]").replace("/srv/", "/q/");
    let agent = host.started(&config.replace("/usr/local/libexec", &commands));
    let plan = agent.cli(["plan"]).unwrap();
    expect(0, &plan);
    assert_eq!(block("text", "group default"), host.shown(&plan.stdout).replace("/q/", "/srv/"));
}
