//! What the daemon tells systemd and its log.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::time::Duration;

use common::{ExecHook, SOON, Simulated, expect, id, start};
use quiesced_bed::agent::Agent;
use quiesced_bed::wait_until;
use serde_json::json;

fn log_files(agent: &Agent) -> String {
    let directory = agent.state_dir().join("log");
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn systemd_is_told_that_the_agent_is_ready_and_what_it_does() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let held = format!("STATUS=held: {}", id(1));
    let told = |line: &str| agent.notifications().iter().any(|told| told == line);
    wait_until("the status is told", SOON, || told(&held)).unwrap();
    expect(0, &agent.post_script(&id(1)).unwrap());
    wait_until("it is idle again", SOON, || {
        agent.notifications().last().is_some_and(|last| last == "STATUS=idle")
    })
    .unwrap();
    let ready = agent.notifications().iter().position(|line| line == "READY=1").unwrap();
    assert!(agent.notifications()[..ready].iter().all(|line| !line.starts_with("STATUS=held")));
}

#[test]
fn the_watchdog_is_served_while_the_agent_is_idle_and_while_it_holds() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("").variable("WATCHDOG_USEC", "400000"));
    let served = || agent.notifications().iter().filter(|line| *line == "WATCHDOG=1").count();
    wait_until("the idle agent serves it", SOON, || served() >= 2).unwrap();
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let before = served();
    wait_until("the agent that holds serves it", SOON, || served() >= before + 2).unwrap();
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn the_log_is_written_to_a_file_and_to_stderr_and_nothing_of_the_window_is_lost() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let config = format!("[log]\nlevel = \"debug\"\n{}", hook.table("queue", "exit 0", ""));
    let agent = start(host.options(&config));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    assert!(!agent.log().contains("the session has ended"));
    expect(0, &agent.post_script(&id(1)).unwrap());
    for line in ["a session is opened", "the session has ended"] {
        wait_until("the log has it", SOON, || agent.log().contains(line) && log_files(&agent).contains(line))
            .unwrap();
    }
}

#[test]
fn a_report_is_kept_of_every_session_and_read_again_by_the_next_agent() {
    let host = Simulated::new(&json!({}));
    let mut agent = start(host.options(""));
    for digit in 1..=3 {
        expect(0, &agent.pre_script(&id(digit)).unwrap());
        expect(0, &agent.post_script(&id(digit)).unwrap());
    }
    agent.signal(quiesced_bed::agent::Signal::SIGTERM);
    assert_eq!(agent.wait_exit(Duration::from_secs(10)).unwrap().code(), Some(0));
    agent.restart().unwrap();
    for digit in 1..=3 {
        expect(0, &agent.post_script(&id(digit)).unwrap());
    }
}
