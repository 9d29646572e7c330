//! Every exit code and every row of the request table, through the binary, on a made-up host without root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::{ExecHook, SOON, Simulated, expect, id, is_idle, last, start, status, wait_until_idle};
use quiesced_bed::wait_until;
use serde_json::{Value, json};

#[test]
fn a_session_is_0_and_0_and_post_is_0_again() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(0, &pre);
    assert!(pre.stdout.starts_with("done: everything is held (exit 0)"), "{}", pre.stdout);
    let post = agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("filesystem-consistent: "), "{}", post.stdout);
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn with_a_hook_whose_data_is_frozen_the_verdict_is_application_consistent() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", &host.data())));
    expect(0, &agent.pre_script("None").unwrap());
    let post = agent.post_script("None").unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("application-consistent: "), "{}", post.stdout);
    assert_eq!(hook.resumed(), 1);
}

#[test]
fn a_hook_that_names_no_data_lowers_the_verdict_and_not_the_code() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "")));
    expect(0, &agent.pre_script("None").unwrap());
    let post = agent.post_script("None").unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("filesystem-consistent: "), "{}", post.stdout);
    assert!(post.stdout.contains("hook queue names no data"), "{}", post.stdout);
}

#[test]
fn a_hook_that_cannot_prove_its_hold_lowers_the_verdict_and_not_the_code() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.without_proof("queue", "exit 0", "")));
    expect(0, &agent.pre_script("None").unwrap());
    let post = agent.post_script("None").unwrap();
    expect(0, &post);
    assert!(post.stdout.starts_with("filesystem-consistent: "), "{}", post.stdout);
    assert!(post.stdout.contains("nothing proves that hook queue held its application"), "{}", post.stdout);
}

#[test]
fn a_proof_that_fails_is_203_and_the_application_is_resumed() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.without_proof("queue", "exit 0", "verify = [\"/bin/false\"]")));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(203, &agent.post_script(&id(1)).unwrap());
    assert_eq!(hook.resumed(), 1);
}

#[test]
fn without_the_agent_a_post_script_without_an_id_is_told_no_success() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    for session in ["None".to_owned(), id(1)] {
        expect(0, &agent.pre_script(&session).unwrap());
        expect(0, &agent.post_script(&session).unwrap());
    }
    agent.kill();
    expect(205, &agent.post_script("None").unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn a_failing_step_is_201_and_everything_is_released() {
    for fault in ["freeze-fails", "sync-fails", "changed"] {
        let host = Simulated::new(&json!({ "/logs": fault }));
        let hook = ExecHook::new();
        let agent = start(host.options(&hook.table("queue", "exit 0", "")));
        let pre = agent.pre_script(&id(1)).unwrap();
        expect(201, &pre);
        assert!(
            pre.stdout.contains("error: /logs could not be frozen") || fault == "sync-fails",
            "{}",
            pre.stdout
        );
        assert!(is_idle(&agent));
        // Data that cannot be written out is noticed before anything is asked of the hook.
        assert_eq!(hook.resumed(), usize::from(fault != "sync-fails"), "{fault}");
        expect(205, &agent.post_script(&id(1)).unwrap());
    }
}

#[test]
fn a_freeze_of_somebody_else_is_204() {
    let host = Simulated::new(&json!({ "/data": "frozen-by-other" }));
    let agent = start(host.options(""));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(204, &pre);
    assert!(pre.stdout.contains("already frozen by somebody else"), "{}", pre.stdout);
}

#[test]
fn what_cannot_be_thawed_is_202_and_the_next_pre_is_206() {
    let host = Simulated::new(&json!({ "/data": "thaw-fails" }));
    let agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let post = agent.post_script(&id(1)).unwrap();
    expect(202, &post);
    assert!(post.stdout.contains("/data could not be thawed"), "{}", post.stdout);
    assert_eq!(status(&agent)["residue"][0]["name"], "/data");
    expect(206, &agent.pre_script(&id(2)).unwrap());
}

#[test]
fn a_hook_that_cannot_resume_is_202_until_thaw_all_has_run_its_resume_again() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "")));
    let works = std::fs::read_to_string(hook.directory().join("queue-resume")).unwrap();
    common::script(hook.directory(), "queue-resume", "exit 1");
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(202, &agent.post_script(&id(1)).unwrap());
    expect(206, &agent.pre_script(&id(2)).unwrap());
    std::fs::write(hook.directory().join("queue-resume"), works).unwrap();
    expect(0, &agent.cli(["thaw", "--all"]).unwrap());
    assert_eq!(hook.resumed(), 1);
    expect(0, &agent.pre_script(&id(2)).unwrap());
}

#[test]
fn a_freeze_that_somebody_else_undid_is_203() {
    let host = Simulated::new(&json!({ "/data": "thawed-by-other" }));
    let agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let post = agent.post_script(&id(1)).unwrap();
    expect(203, &post);
    assert!(post.stdout.starts_with("crash-consistent: "), "{}", post.stdout);
}

#[test]
fn the_end_of_the_lease_is_203_twice_and_decided_before_205() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let short = "[agent]\nlease = \"2s\"\npre_script_budget = \"1s\"\n";
    let agent = start(host.options(&format!("{short}{}", hook.table("queue", "exit 0", "timeout = \"1s\""))));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    wait_until_idle(&agent);
    assert_eq!(hook.resumed(), 1);
    expect(203, &agent.post_script(&id(1)).unwrap());
    expect(203, &agent.post_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(2)).unwrap());
    expect(203, &agent.post_script(&id(1)).unwrap());
    assert!(!is_idle(&agent), "the running session is untouched");
}

#[test]
fn out_of_turn_requests_are_204_and_205_and_touch_nothing() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    expect(205, &agent.post_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(204, &agent.pre_script(&id(2)).unwrap());
    expect(204, &agent.pre_script("None").unwrap());
    expect(205, &agent.post_script(&id(2)).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn a_repeated_pre_script_is_204_when_too_little_of_the_lease_is_left() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("[agent]\nlease = \"10s\"\n"));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let left = || status(&agent)["session"]["lease_left_ms"].as_u64().unwrap();
    wait_until("half of the lease is over", Duration::from_secs(8), || left() < 4_900).unwrap();
    let repeated = agent.pre_script(&id(1)).unwrap();
    expect(204, &repeated);
    assert!(left() < 4_900, "no new lease has begun");
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn nothing_disturbs_a_session_that_is_not_held_yet() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "sleep 2", "timeout = \"6s\"")));
    let pre = agent.start_cli(["pre-script", "--execution-id", &id(1)]).unwrap();
    wait_until("its hooks are quiesced", SOON, || status(&agent)["session"]["phase"] == "quiescing").unwrap();
    expect(205, &agent.post_script(&id(1)).unwrap());
    expect(204, &agent.pre_script(&id(1)).unwrap());
    expect(204, &agent.pre_script(&id(2)).unwrap());
    expect(205, &agent.post_script(&id(2)).unwrap());
    expect(206, &agent.cli(["dry-run"]).unwrap());
    assert_eq!(status(&agent)["session"]["phase"], "quiescing", "all of that came in time");
    expect(0, &pre.wait().unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn replace_releases_the_running_session_and_its_post_is_203() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("[agent]\non_conflict = \"replace\"\n"));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(2)).unwrap());
    expect(203, &agent.post_script(&id(1)).unwrap());
    expect(0, &agent.post_script(&id(2)).unwrap());
}

#[test]
fn a_budget_that_is_over_is_201() {
    let host = Simulated::new(&json!({ "/data": { "freeze-takes": 3000 } }));
    let agent = start(host.options("[agent]\npre_script_budget = \"1s\"\n"));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    assert!(pre.stdout.contains("budget"), "{}", pre.stdout);
    // Its freeze is still under way; it is thawed when it returns, and is residue until then.
    wait_until("the residue is gone", Duration::from_secs(10), || status(&agent)["residue"] == json!([]))
        .unwrap();
}

#[test]
fn a_dry_run_touches_nothing_and_says_what_it_found() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "")));
    expect(0, &agent.cli(["dry-run"]).unwrap());
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(206, &agent.cli(["dry-run", "--execution-id", &id(1)]).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
    assert_eq!(hook.resumed(), 1, "only the session has resumed");
    std::fs::remove_file(hook.directory().join("queue-quiesce")).unwrap();
    let refused = agent.cli(["dry-run"]).unwrap();
    expect(206, &refused);
    assert!(refused.stdout.contains("queue-quiesce"), "{}", refused.stdout);
    expect(206, &agent.pre_script(&id(2)).unwrap());
}

#[test]
fn an_unknown_group_is_206_and_the_nearest_name_is_given() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let pre = agent.cli(["pre-script", "--group", "defualt"]).unwrap();
    expect(206, &pre);
    assert!(pre.stdout.contains("default"), "{}", pre.stdout);
}

#[test]
fn an_agent_that_does_not_run_is_206_and_203_for_a_session_that_it_lost() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    agent.kill();
    let pre = agent.pre_script(&id(2)).unwrap();
    expect(206, &pre);
    let starts: Vec<&str> = pre.stderr.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(starts, ["error", "  caused by", "  hint"], "{}", pre.stderr);
    expect(206, &agent.cli(["dry-run"]).unwrap());
    expect(203, &agent.post_script(&id(1)).unwrap());
    expect(206, &agent.post_script(&id(2)).unwrap());
    agent.restart().unwrap();
    expect(203, &agent.post_script(&id(1)).unwrap());
    assert_eq!(last(&agent)["ending"], "lost");
}

#[test]
fn an_execution_id_of_another_form_is_refused() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    for hostile in ["$(reboot)", "none", "", "../../etc"] {
        let refused = agent.pre_script(hostile).unwrap();
        assert_eq!(refused.code, Some(2), "{hostile:?}");
    }
    assert!(is_idle(&agent));
}

#[test]
fn every_answer_fits_into_what_ssm_shows_whatever_hooks_print() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let noisy = "i=0; while [ $i -lt 2000 ]; do printf '%0300d\\n' $i >&2; i=$((i+1)); done; exit 1";
    let hooks: String = (0..12).map(|n| hook.table(&format!("queue-{n}"), noisy, "")).collect();
    let agent = start(host.options(&hooks));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(201, &pre);
    assert!(pre.stdout.chars().count() <= 2_500, "{} characters", pre.stdout.chars().count());
    assert!(pre.stdout.lines().next().unwrap().contains("201"), "{}", pre.stdout);
    assert!(pre.stdout.contains("could not quiesce"), "{}", pre.stdout);
    assert!(pre.stdout.ends_with("the rest is shown by: quiesced status\n"), "{}", pre.stdout);
    let status = agent.cli(["status"]).unwrap().stdout;
    assert!((0..12).all(|n| status.contains(&format!("queue-{n} "))), "{status}");
}

#[test]
fn every_command_speaks_json() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let commands: [&[&str]; 10] = [
        &["dry-run"],
        &["pre-script"],
        &["status"],
        &["post-script"],
        &["plan"],
        &["check"],
        &["check", "--config-only"],
        &["thaw", "--all"],
        &["config", "show"],
        &["config", "schema"],
    ];
    for command in commands {
        let output = agent.cli(command.iter().copied().chain(["--json"])).unwrap();
        expect(0, &output);
        let parsed: Result<Value, _> = serde_json::from_str(&output.stdout);
        assert!(parsed.is_ok(), "{command:?}: {}", output.stdout);
    }
    let refused = agent.cli(["recover", "--json"]).unwrap();
    expect(1, &refused);
    let parsed: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert!(parsed["problems"][0]["hint"].as_str().unwrap().contains("thaw --all"));
}

#[test]
fn json_stays_json_when_there_is_no_agent() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    agent.kill();
    let parsed = |code, command: &[&str]| -> Value {
        let output = agent.cli(command.iter().copied().chain(["--json"])).unwrap();
        expect(code, &output);
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{command:?}: {}", output.stdout))
    };
    for command in ["pre-script", "post-script", "dry-run"] {
        assert_eq!(parsed(206, &[command])["code"], 206);
    }
    assert_eq!(parsed(1, &["status"])["code"], 1);
    let nowhere = agent.directory().join("nowhere").display().to_string();
    for command in [&["recover"][..], &["thaw", "--all"], &["recover", "--runtime-dir", &nowhere]] {
        assert_eq!(parsed(0, command)["things"], json!([]));
    }
}

#[test]
fn only_the_owner_may_reach_the_control_socket() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let mode = std::fs::metadata(agent.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_agent_on_the_same_runtime_directory_is_refused() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let second = agent.cli(["daemon"]).unwrap();
    expect(1, &second);
    assert!(second.stderr.contains("another agent already uses"), "{}", second.stderr);
    expect(0, &agent.pre_script(&id(1)).unwrap());
}

#[test]
fn an_error_in_the_configuration_keeps_the_agent_from_starting_and_points_at_it() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    agent.write_fragment("60-typo.toml", "[agent]\nleese = \"30s\"\n").unwrap();
    let refused = agent.cli(["check", "--config-only"]).unwrap();
    expect(1, &refused);
    for part in ["60-typo.toml:2:1", "leese", "lease"] {
        assert!(refused.stderr.contains(part), "{part} is missing in {}", refused.stderr);
    }
}

#[test]
fn an_emergency_exit_does_not_disturb_the_one_before_it() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let log = hook.directory().join("log");
    // The first time it fails; then it takes its time.
    let resume = format!(
        "echo began >> {log:?}; [ $(wc -l < {log:?}) -gt 1 ] || exit 1; sleep 2; echo ended >> {log:?}"
    );
    let resume = common::script(hook.directory(), "slow-resume", &resume);
    let table =
        format!("[hook.queue.exec]\nquiesce = [\"/bin/true\"]\nresume = [{resume:?}]\ntimeout = \"6s\"\n");
    let agent = start(host.options(&table));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(202, &agent.post_script(&id(1)).unwrap());
    let exits = [0; 2].map(|_| agent.start_cli(["thaw", "--all"]).unwrap());
    for exit in exits {
        expect(0, &exit.wait().unwrap());
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "began\nbegan\nended\n");
}
