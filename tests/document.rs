//! The SSM document, run as the SSM agent runs it, under the decisions of the lifecycle manager.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{ExecHook, SOON, Simulated, expect, frozen, id, is_idle, last, start, status, wait_until_idle};
use quiesced_bed::agent::{Agent, AgentOptions, Signal};
use quiesced_bed::dlm::{
    Document, Edge, Faults, Policy, RetryId, Ssm, SsmDelivery, Status, Tag, run_cycle, validate_document,
};
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};
use serde_json::json;

fn text() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("scripts/ssm/quiesced.yaml")).unwrap()
}

fn document() -> Document {
    Document::parse(&text()).unwrap()
}

fn ssm_of(agent: &Agent) -> Ssm {
    quiesced_bed::agent::refuse_installed().unwrap_or_else(|error| panic!("{error}"));
    Ssm::new(&agent.directory().join("ssm")).first_in_path(&agent.bin_dir())
}

fn run(ssm: &Ssm, command: &str, id: &str) -> (i32, String) {
    let done = ssm.run(&document(), &[("command", command), ("executionId", id)]).unwrap();
    assert_eq!(done.violation, None);
    (done.code, format!("{}{}", done.stdout, done.stderr))
}

#[test]
fn the_document_keeps_every_clause_of_the_contract() {
    assert_eq!(validate_document(&text()), []);
}

#[test]
fn the_codes_of_the_agent_pass_unchanged() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    let ssm = ssm_of(&agent);
    assert_eq!(run(&ssm, "dry-run", "None").0, 0);
    assert_eq!(run(&ssm, "post-script", &id(1)).0, 205);
    assert_eq!(run(&ssm, "pre-script", &id(1)).0, 0);
    assert_eq!(run(&ssm, "pre-script", &id(2)).0, 204);
    assert_eq!(run(&ssm, "post-script", &id(1)).0, 0);
    host.set_faults(&json!({ "/data": "freeze-fails" }));
    assert_eq!(run(&ssm, "pre-script", &id(3)).0, 201);
    host.set_faults(&json!({ "/data": "thawed-by-other" }));
    assert_eq!(run(&ssm, "pre-script", &id(4)).0, 0);
    assert_eq!(run(&ssm, "post-script", &id(4)).0, 203);
    host.set_faults(&json!({ "/data": "thaw-fails" }));
    assert_eq!(run(&ssm, "pre-script", &id(5)).0, 0);
    assert_eq!(run(&ssm, "post-script", &id(5)).0, 202);
    agent.kill();
    let (code, output) = run(&ssm, "pre-script", &id(6));
    assert_eq!(code, 206);
    assert!(output.contains("hint: start it with"), "{output}");
}

#[test]
fn without_the_agent_installed_it_is_206_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    if Path::new("/usr/bin/quiesced").exists() || Path::new("/usr/local/bin/quiesced").exists() {
        panic!("quiesced is installed on this machine, so its absence cannot be tested: remove it first");
    }
    quiesced_bed::agent::refuse_installed().unwrap_or_else(|error| panic!("{error}"));
    let (code, output) = run(&Ssm::new(directory.path()), "pre-script", "None");
    assert_eq!(code, 206);
    assert!(output.contains("error: quiesced is not installed") && output.contains("hint: "), "{output}");
}

#[test]
fn hostile_parameters_run_nothing() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let trace = agent.directory().join("pwned");
    let hostile = format!("$(touch {}); `touch {}`", trace.display(), trace.display());
    let (code, _) = run(&ssm_of(&agent), "pre-script", &hostile);
    assert_ne!(code, 0);
    assert!(!trace.exists() && is_idle(&agent));
}

#[test]
fn a_script_that_ssm_kills_has_given_up_and_its_session_unwinds() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "sleep 20", "")));
    let ssm = ssm_of(&agent).timeout(Duration::from_secs(1));
    let done = ssm.run(&document(), &[("command", "pre-script"), ("executionId", &id(1))]).unwrap();
    assert_eq!((done.status, done.code), (Status::TimedOut, 137));
    wait_until_idle(&agent);
    assert_eq!(last(&agent)["ending"], "client-gone");
    assert_eq!(hook.resumed(), 1);
}

const SHORT_LEASE: &str = "[agent]\nlease = \"5s\"\npre_script_budget = \"4s\"\n";

/// An agent that holds two real volumes and a hook.
struct Scene {
    agent: Agent,
    hook: ExecHook,
    mounts: [PathBuf; 2],
    _bed: Bed,
}

impl Scene {
    fn new(quiesce: &str) -> Self {
        let bed = Bed::new().unwrap();
        let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
        let logs = bed.host_volume("logs", Fs::Xfs, 320 * MIB).unwrap().mount_point;
        let hook = ExecHook::new();
        let table = hook.table("queue", quiesce, &format!("data = [{data:?}, {logs:?}]"));
        let agent = start(AgentOptions::configured(&table));
        Self { agent, hook, mounts: [data, logs], _bed: bed }
    }

    /// Makes the idle agent read one more file.
    fn reconfigure(&self, text: &str) {
        self.agent.write_fragment("60-more.toml", text).unwrap();
        self.agent.signal(Signal::SIGHUP);
        let read = || self.agent.log().contains("was read again");
        wait_until("the configuration is read again", SOON, read).unwrap();
    }

    fn delivery(&self) -> SsmDelivery {
        SsmDelivery::new(ssm_of(&self.agent), document())
    }

    /// What the lifecycle manager calls a snapshot: whether both volumes were still when it was taken.
    fn look(&self) -> Result<bool, std::io::Error> {
        Ok(self.mounts.iter().all(|mount| frozen(mount)))
    }
}

#[test]
fn a_whole_cycle_is_success_and_the_snapshot_is_taken_of_frozen_volumes() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0");
    let cycle = run_cycle(&Policy::default(), &mut scene.delivery(), || scene.look());
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
    assert_eq!(cycle.snapshot, Some(true));
    assert!(!cycle.crash_consistent_fallback);
    assert!(!scene.look().unwrap(), "everything is thawed afterwards");
    assert_eq!(last(&scene.agent)["verdict"], "application-consistent");
}

#[test]
fn a_retry_with_another_id_finds_nothing_in_its_way() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("[ -e \"${0%/*}/once\" ] && exit 0; touch \"${0%/*}/once\"; exit 1");
    let policy = Policy { maximum_retry_count: 1, retry_id: RetryId::Fresh, ..Policy::default() };
    let cycle = run_cycle(&policy, &mut scene.delivery(), || scene.look());
    assert_eq!(cycle.pre.len(), 2);
    assert_ne!(cycle.pre[0].execution_id, cycle.pre[1].execution_id);
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
    assert_eq!(cycle.snapshot, Some(true));
    assert_eq!(scene.hook.resumed(), 2);
}

#[test]
fn when_pre_fails_for_good_the_fallback_finds_nothing_held() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 1");
    let cycle = run_cycle(&Policy::default(), &mut scene.delivery(), || scene.look());
    assert!(cycle.crash_consistent_fallback);
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Failed), None));
    assert_eq!(cycle.snapshot, Some(false), "nobody will call post-script, so nothing may be frozen");
    assert!(is_idle(&scene.agent));
}

#[test]
fn a_pre_script_that_takes_too_long_is_answered_before_the_lifecycle_manager_walks_away() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("sleep 30");
    scene.reconfigure("[agent]\npre_script_budget = \"2s\"\n");
    let cycle = run_cycle(&Policy::default(), &mut scene.delivery(), || scene.look());
    assert_eq!(cycle.pre[0].invocation.as_ref().map(|done| done.code), Some(201));
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Failed), None));
    assert_eq!(cycle.snapshot, Some(false));
    wait_until_idle(&scene.agent);
    assert_eq!(scene.hook.resumed(), 1);
}

#[test]
fn scripts_that_are_delivered_twice_change_nothing() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0");
    let mut delivery = scene.delivery();
    delivery.set_faults(Faults { duplicate: Some(Duration::from_millis(200)), ..Faults::default() });
    let cycle = run_cycle(&Policy::default(), &mut delivery, || {
        // The second pre-script must come while the session is held.
        std::thread::sleep(Duration::from_secs(3));
        scene.look()
    });
    assert_eq!((cycle.pre_tag, cycle.post_tag), (Some(Tag::Success), Some(Tag::Success)));
    assert_eq!(cycle.snapshot, Some(true));
    for edge in [Edge::Pre, Edge::Post] {
        let (which, duplicate) = delivery.unseen(SOON).expect("it was delivered twice");
        assert_eq!((which, duplicate.code), (edge, 0));
    }
    assert!(is_idle(&scene.agent) && !scene.look().unwrap());
    assert_eq!(scene.hook.resumed(), 1);
}

#[test]
fn a_post_script_whose_answer_was_lost_is_repeated_and_answered_the_same() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0");
    let mut delivery = scene.delivery();
    // The answer to the first one comes when nobody waits for it any more.
    delivery.set_faults(Faults { post_delay: Duration::from_secs(3), ..Faults::default() });
    let policy = Policy {
        execution_timeout: Duration::from_millis(2_500),
        maximum_retry_count: 1,
        ..Policy::default()
    };
    let cycle = run_cycle(&policy, &mut delivery, || scene.look());
    assert_eq!((cycle.post.len(), cycle.post_tag), (2, Some(Tag::Failed)));
    for _ in 0..2 {
        let (edge, answer) = delivery.unseen(SOON).expect("both were run all the same");
        assert_eq!((edge, answer.code), (Edge::Post, 0));
    }
    assert!(!scene.look().unwrap());
    assert_eq!(scene.hook.resumed(), 1);
}

#[test]
fn a_snapshot_that_outlasts_the_lease_is_tagged_as_failed() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0");
    scene.reconfigure(SHORT_LEASE);
    let policy = Policy { maximum_retry_count: 1, ..Policy::default() };
    let cycle = run_cycle(&policy, &mut scene.delivery(), || {
        let was_held = scene.look();
        wait_until("the lease has ended", 2 * SOON, || is_idle(&scene.agent)).unwrap();
        was_held
    });
    assert_eq!((cycle.snapshot, cycle.pre_tag), (Some(true), Some(Tag::Success)));
    assert_eq!(cycle.post_tag, Some(Tag::Failed));
    let codes: Vec<_> = cycle.post.iter().filter_map(|post| Some(post.invocation.as_ref()?.code)).collect();
    assert_eq!(codes, [203, 203]);
}

#[test]
fn a_post_script_that_is_lost_leaves_nothing_frozen_beyond_the_lease() {
    if !require_root("a freeze") {
        return;
    }
    let scene = Scene::new("exit 0");
    scene.reconfigure(SHORT_LEASE);
    expect(0, &scene.agent.pre_script(&id(1)).unwrap());
    assert!(status(&scene.agent)["session"]["lease_left_ms"].as_u64().unwrap() <= 5_000);
    wait_until("the lease has ended", 2 * SOON, || is_idle(&scene.agent)).unwrap();
    assert!(!scene.look().unwrap());
    assert_eq!(run(&ssm_of(&scene.agent), "post-script", &id(1)).0, 203);
}
