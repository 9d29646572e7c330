use std::time::Duration;

use super::*;
use crate::testing::{Scripts, common, process_exists, step, until};

const LIMIT: Duration = Duration::from_secs(10);

/// A well-behaved child, which leaves a trace of everything that it is told.
const GOOD: &str =
    "echo $$ > $T/pid; while read line; do echo $line >> $T/told; echo ok; done; echo eof >> $T/told";

async fn prepared(scripts: &Scripts, body: &str) -> SessionHook {
    let mut hook = SessionHook::new(SessionSettings {
        common: common(LIMIT),
        command: scripts.write("child", body),
        user: None,
        data: vec![],
    });
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook
}

#[tokio::test]
async fn one_child_lives_from_prepare_to_resume_and_is_told_each_step() {
    let scripts = Scripts::new();
    let mut hook = prepared(&scripts, GOOD).await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
    hook.resume(&step(LIMIT)).await.unwrap();
    let pid = scripts.read("pid");
    until("the child has exited", || !process_exists(&pid)).await;
    assert_eq!(scripts.read("told"), "quiesce\nverify\nresume\neof\n");
}

#[tokio::test]
async fn an_error_is_passed_on_and_resume_still_comes() {
    let scripts = Scripts::new();
    let body = "while read line; do echo $line >> $T/told; case $line in quiesce) echo error too busy;; *) echo ok;; esac; done";
    let mut hook = prepared(&scripts, body).await;
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert!(error.to_string().contains("too busy"), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
    assert!(scripts.read("told").ends_with("resume\n"));
}

#[tokio::test]
async fn anything_else_than_an_answer_is_refused() {
    let scripts = Scripts::new();
    let mut hook = prepared(&scripts, "while read line; do echo 'Query OK'; done").await;
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Session(SessionError::Garbled { .. })), "{error}");
}

#[tokio::test]
async fn a_child_that_dies_while_it_holds_has_lost_the_hold() {
    let scripts = Scripts::new();
    let mut hook = prepared(&scripts, "read line; echo ok; echo connection lost >&2; exit 3").await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = hook.verify(&step(LIMIT)).await.unwrap_err().to_string();
    assert!(error.contains("exited with code 3") && error.contains("connection lost"), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_child_that_speaks_without_being_asked_is_not_trusted() {
    let scripts = Scripts::new();
    let mut hook = prepared(&scripts, "read line; echo ok; echo reconnecting; read line; echo ok").await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = hook.verify(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Session(SessionError::Unasked { .. })), "{error}");
}

#[tokio::test]
async fn a_child_that_ignores_everything_is_ended_with_its_group_at_resume() {
    let scripts = Scripts::new();
    let body = "trap '' TERM; echo $$ > $T/pid; sleep 60 & echo $! > $T/child; while :; do sleep 1; done";
    let mut hook = prepared(&scripts, body).await;
    let asked = step(LIMIT);
    tokio::time::timeout(Duration::from_millis(300), hook.quiesce(&asked)).await.unwrap_err();
    hook.resume(&step(Duration::from_secs(1))).await.unwrap();
    let (pid, child) = (scripts.read("pid"), scripts.read("child"));
    until("all are gone", || !process_exists(&pid) && !process_exists(&child)).await;
}

#[tokio::test]
async fn a_flood_of_output_is_cut_off() {
    let scripts = Scripts::new();
    let mut hook = prepared(&scripts, "read line; exec head -c 100000000 /dev/zero").await;
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert!(error.to_string().len() < 2_000);
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn what_undoes_the_hold_ends_the_child() {
    let scripts = Scripts::new();
    let hook = prepared(&scripts, GOOD).await;
    until("the child runs", || !scripts.read("pid").is_empty()).await;
    hook.undo(&step(LIMIT)).unwrap().carry_out().await.unwrap();
    let pid = scripts.read("pid");
    until("the child is gone", || !process_exists(&pid)).await;
}
