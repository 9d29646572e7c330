//! What people are told: what happened, why, and what to do about it. On a made-up host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{ExecHook, SOON, Simulated, expect, id, is_idle, start, status};
use quiesced_bed::agent::{Agent, Signal};
use quiesced_bed::{Bed, Fs, MIB, require_root, wait_until};
use serde_json::{Value, json};

fn told(agent: &Agent, command: &[&str], code: i32) -> String {
    let output = agent.cli(command.iter().copied()).unwrap();
    expect(code, &output);
    output.stdout + &output.stderr
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_203_says_why_the_hold_ended_and_blames_the_lease_only_when_it_was_the_lease() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("[agent]\nlease = \"2s\"\npre_script_budget = \"1s\"\n"));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    told(&agent, &["thaw", "--all"], 0);
    let released = told(&agent, &["post-script", "--execution-id", &id(1)], 203);
    has(&released, &["crash-consistent: ", "an operator asked for everything to be released"]);
    assert!(!released.contains("`lease`"), "{released}");
    expect(0, &agent.pre_script(&id(2)).unwrap());
    wait_until("the lease has ended", SOON, || is_idle(&agent)).unwrap();
    let late = told(&agent, &["post-script", "--execution-id", &id(2)], 203);
    has(&late, &["crash-consistent: ", "the lease ended before post-script was called", "raise `lease`"]);
}

#[test]
fn a_dead_agent_is_told_with_what_it_may_have_left_held() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    agent.kill();
    let left = format!("session {}, of an agent that has died, may still hold /data, /logs", id(1));
    let text = told(&agent, &["status"], 1);
    has(&text, &[&left, "hint: run `quiesced recover`", "systemctl start quiesced"]);
    let post = told(&agent, &["post-script", "--execution-id", &id(1)], 203);
    has(&post, &[&left, "the agent or the host died while it was open", "systemctl start quiesced"]);
}

#[test]
fn while_a_session_is_open_nothing_else_is_ready() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let open = format!("session {} is open", id(1));
    has(&told(&agent, &["dry-run"], 206), &[&open]);
    has(&told(&agent, &["check"], 1), &[&open, "group default is not ready"]);
    has(
        &told(&agent, &["post-script", "--execution-id", &id(2)], 205),
        &[&format!("but session {} is", id(1))],
    );
    expect(0, &agent.post_script(&id(1)).unwrap());
    has(&told(&agent, &["dry-run"], 0), &["everything is ready"]);
}

#[test]
fn check_says_that_no_agent_runs() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    assert!(!told(&agent, &["check"], 0).contains("warning"));
    agent.kill();
    has(&told(&agent, &["check"], 0), &["warning: the agent is not running", "systemctl start quiesced"]);
}

#[test]
fn a_file_that_the_agent_has_not_read_again_is_named() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let file = agent.config_dir().join("conf.d/99-late.toml");
    std::fs::write(&file, "[agent]\nlease = \"eternal\"\n").unwrap();
    let stale = format!("not read these files since they changed: {}", file.display());
    has(&told(&agent, &["status"], 0), &[&stale, "systemctl reload quiesced"]);
    agent.signal(Signal::SIGHUP);
    let refused = format!("{}:2: `eternal` is not a duration", file.display());
    wait_until("the reload is refused", SOON, || told(&agent, &["status"], 0).contains(&refused)).unwrap();
    std::fs::write(&file, "[agent]\nlease = \"20s\"\n").unwrap();
    has(&told(&agent, &["check"], 0), &[&stale, &refused]);
    agent.signal(Signal::SIGHUP);
    let is_clean = || !told(&agent, &["status"], 0).contains("warning");
    wait_until("the file is read", SOON, is_clean).unwrap();
}

#[test]
fn a_group_that_does_not_exist_opens_no_session() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    has(
        &told(&agent, &["pre-script", "--group", "defualt"], 206),
        &["there is no group defualt", "did you mean default?"],
    );
    assert_eq!(status(&agent)["last"], Value::Null);
}

#[test]
fn a_hook_that_is_not_ready_is_told_with_the_line_that_configures_it() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "")));
    std::fs::remove_file(hook.directory().join("queue-quiesce")).unwrap();
    let place = agent.config_dir().join("conf.d");
    has(&told(&agent, &["check"], 1), &[&format!("hook queue is configured at {}", place.display())]);
}

#[test]
fn what_is_wrong_with_a_file_keeps_its_place_in_json() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let file = agent.config_dir().join("conf.d/99-wrong.toml");
    std::fs::write(&file, "[agent]\nlease = 30\n").unwrap();
    let output = agent.cli(["check", "--json"]).unwrap();
    expect(1, &output);
    let told: Value = serde_json::from_str(&output.stdout).unwrap();
    let problem = &told["problems"][0];
    assert_eq!(
        (&problem["file"], &problem["line"], &problem["column"]),
        (&json!(file), &json!(2), &json!(9))
    );
    has(problem["hint"].as_str().unwrap(), &["\"8s\""]);
}

#[test]
fn what_proves_the_hold_stands_before_the_times() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "")));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let post = told(&agent, &["post-script", "--execution-id", &id(1)], 0);
    let place = |part: &str| post.find(part).unwrap_or_else(|| panic!("{part:?} is missing in:\n{post}"));
    assert!(place("verify queue: ") < place(" prepare "), "{post}");
    assert!(
        post.lines().all(|line| line.trim_end() == line),
        "nothing of what SSM shows is spent on spaces:\n{post}"
    );
}

#[test]
fn an_agent_whose_journal_would_lie_on_a_disk_does_not_start_and_check_says_so() {
    if !require_root("a volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let disk = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let runtime = disk.join("run/quiesced").display().to_string();
    for (command, code) in [("daemon", 1), ("check", 1), ("pre-script", 206)] {
        let text = told(&agent, &[command, "--runtime-dir", &runtime], code);
        if command != "pre-script" {
            has(
                &text,
                &[
                    "does not lie on tmpfs",
                    "mount -t tmpfs -o mode=700 tmpfs",
                    "--runtime-dir /dev/shm/quiesced",
                ],
            );
        }
    }
    assert!(!Path::new(&runtime).exists(), "nothing was made there");
}

#[test]
fn a_runtime_directory_that_others_can_write_to_is_refused() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(runtime.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let text = told(&agent, &["daemon", "--runtime-dir", runtime.path().to_str().unwrap()], 1);
    has(&text, &["others can write to the runtime directory", "chmod 700"]);
}

#[test]
fn data_that_is_not_frozen_is_a_warning_before_anything_is_held() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let outside = tempfile::tempdir().unwrap();
    let agent =
        start(host.options(&hook.table("queue", "exit 0", &format!("data = [{:?}]", outside.path()))));
    let checked = told(&agent, &["check"], 0);
    has(&checked, &["warning: ", "of hook queue is quiesced but not frozen: ", "crash-consistent at best"]);
}
