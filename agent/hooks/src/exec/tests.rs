use std::time::Duration;

use super::*;
use crate::settings::ExecSettings;
use crate::testing::{Scripts, common, process_exists, step, until};

const LIMIT: Duration = Duration::from_secs(10);

fn hook(scripts: &Scripts, quiesce: &str, resume: &str) -> ExecHook {
    ExecHook::new(ExecSettings {
        common: common(LIMIT),
        quiesce: scripts.write("quiesce", quiesce),
        resume: scripts.write("resume", resume),
        verify: None,
        user: None,
        data: vec![],
    })
}

async fn give_up(hook: &mut ExecHook, after: Duration) {
    let step = step(LIMIT);
    assert!(tokio::time::timeout(after, hook.quiesce(&step)).await.is_err(), "it ended by itself");
}

#[tokio::test]
async fn commands_are_told_the_edge_the_session_and_the_time_they_have() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "env | sort > $T/env", "true");
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    let environment = scripts.read("env");
    for line in [
        "QUIESCED_EDGE=quiesce",
        "QUIESCED_EXECUTION_ID=None",
        "QUIESCED_HOOK=queue",
        "QUIESCED_VOLUMES=vol-1 vol-2",
    ] {
        assert!(environment.lines().any(|found| found == line), "{line} is missing in\n{environment}");
    }
    let deadline = environment.lines().find_map(|line| line.strip_prefix("QUIESCED_DEADLINE_MS="));
    let millis: u128 = deadline.unwrap().parse().unwrap();
    assert!(millis > 0 && millis <= LIMIT.as_millis());
    assert!(!environment.contains("CARGO"), "the agent's own environment is not passed on");
}

#[tokio::test]
async fn a_command_that_fails_says_how_and_what_it_wrote_last() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "echo the queue is stuck >&2; exit 7", "true");
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("exited with code 7") && text.contains("the queue is stuck"), "{text}");
    assert!(error.hint().unwrap().contains("QUIESCED_EDGE=quiesce"), "it can be run by hand");
}

#[tokio::test]
async fn a_command_killed_by_a_signal_has_failed() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "kill -9 $$", "true");
    let text = hook.quiesce(&step(LIMIT)).await.unwrap_err().to_string();
    assert!(text.contains("SIGKILL"), "{text}");
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_with_its_children_before_resume_runs() {
    let scripts = Scripts::new();
    let quiesce = "trap '' TERM; echo $$ > $T/parent; (trap '' TERM; while :; do sleep 1; done) & echo $! > $T/child; wait";
    let mut hook = hook(&scripts, quiesce, "echo resumed > $T/resumed");
    give_up(&mut hook, Duration::from_millis(500)).await;
    hook.resume(&step(LIMIT)).await.unwrap();
    assert_eq!(scripts.read("resumed"), "resumed\n");
    let (parent, child) = (scripts.read("parent"), scripts.read("child"));
    until("both are gone", || !process_exists(&parent) && !process_exists(&child)).await;
}

#[tokio::test]
async fn a_command_that_floods_its_output_is_neither_blocked_nor_kept() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "head -c 100000000 /dev/zero; echo; echo done; exit 1", "true");
    let text = hook.quiesce(&step(LIMIT)).await.unwrap_err().to_string();
    assert!(text.contains("done") && text.len() < 4_000, "{} bytes", text.len());
}

#[tokio::test]
async fn a_background_child_that_keeps_the_pipe_does_not_delay_the_command() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "sleep 30 & echo $! > $T/child; exit 0", "true");
    let within = tokio::time::timeout(Duration::from_secs(5), hook.quiesce(&step(LIMIT))).await;
    within.expect("it waited for the pipe").unwrap();
    let child = scripts.read("child");
    assert!(process_exists(&child), "what holds the application is left alone");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.trim().parse().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
}

#[tokio::test]
async fn a_program_that_others_may_write_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "true", "true");
    std::fs::set_permissions(scripts.path("quiesce"), std::fs::Permissions::from_mode(0o775)).unwrap();
    let error = hook.inspect(&step(LIMIT)).await.unwrap_err();
    assert!(error.hint().unwrap().starts_with("chmod go-w "), "{error}");
}

#[tokio::test]
async fn without_a_verify_command_the_hold_is_claimed_and_with_one_it_is_proved() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "true", "true");
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Claimed { .. }));
    hook.settings.verify = Some(scripts.write("verify", "exit 0"));
    hook.programs = None;
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
    scripts.write("verify", "exit 1");
    hook.verify(&step(LIMIT)).await.unwrap_err();
}

#[tokio::test]
async fn what_undoes_the_hold_is_the_resume_command_with_its_environment() {
    let scripts = Scripts::new();
    let hook = hook(&scripts, "true", "echo $QUIESCED_EDGE > $T/undone");
    let journaled = serde_json::to_string(&hook.undo(&step(LIMIT)).unwrap()).unwrap();
    let undo: Undo = serde_json::from_str(&journaled).unwrap();
    undo.carry_out().await.unwrap();
    assert_eq!(scripts.read("undone"), "resume\n");
}

#[tokio::test]
async fn data_that_does_not_exist_is_named() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "true", "true");
    hook.settings.data = vec!["/no/such/data".into()];
    assert!(hook.inspect(&step(LIMIT)).await.unwrap_err().to_string().contains("/no/such/data"));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_told_of_with_what_it_wrote_last() {
    let scripts = Scripts::new();
    let mut hook = hook(&scripts, "echo waiting for the queue; exec sleep 60", "true");
    let error = hook.quiesce(&step(Duration::from_secs(1))).await.unwrap_err().to_string();
    assert!(error.contains("did not end within") && error.contains("waiting for the queue"), "{error}");
}
