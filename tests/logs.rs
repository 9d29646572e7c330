//! Logs: every line of a session says which, programs get fields, and nothing is written while anything is frozen.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;

use common::{ExecHook, Simulated, expect, id, start, wait_until_idle};
use quiesced_bed::agent::{Agent, Signal};
use serde_json::{Value, json};

/// A hook that fails, so that there is something to tell in the midst of a session.
fn failing(hook: &ExecHook) -> String {
    hook.table("queue", "exit 3", "timeout = \"1s\"")
}

/// What the agent logged, once it has ended.
fn lines(mut agent: Agent) -> Vec<String> {
    agent.signal(Signal::SIGTERM);
    agent.wait_exit(common::SOON);
    agent.log().lines().map(str::to_owned).collect()
}

#[test]
fn in_json_every_line_of_a_session_has_its_execution_id() {
    let (host, hook) = (Simulated::new(&json!({})), ExecHook::new());
    let config = format!("[log]\nformat = \"json\"\nlevel = \"debug\"\n{}", failing(&hook));
    let agent = start(host.options(&config));
    expect(201, &agent.pre_script(&id(1)).unwrap());
    wait_until_idle(&agent);
    let lines: Vec<Value> = lines(agent).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
    let first = lines.iter().position(|line| message(line) == "a session is opened").unwrap();
    let last = lines.iter().position(|line| message(line) == "the session has ended").unwrap();
    assert!(last > first + 1, "{lines:#?}");
    for line in &lines[first..=last] {
        assert_eq!(line["span"]["execution_id"], id(1), "{line:#}");
    }
    assert_eq!(lines[last]["code"], 201);
    assert!(lines.last().unwrap()["span"].is_null(), "{lines:#?}");
}

#[test]
fn in_text_every_line_of_a_session_has_its_execution_id_and_no_line_an_id_for_programs() {
    let (host, hook) = (Simulated::new(&json!({})), ExecHook::new());
    let agent = start(host.options(&failing(&hook)));
    expect(201, &agent.pre_script(&id(1)).unwrap());
    wait_until_idle(&agent);
    let lines = lines(agent);
    let of_session: Vec<_> = lines.iter().filter(|line| line.contains(&id(1))).collect();
    assert!(of_session.len() >= 3, "{lines:#?}");
    assert!(of_session.iter().all(|line| line.contains("session{execution_id=")), "{of_session:#?}");
    assert!(!lines.iter().any(|line| line.contains("message_id")), "{lines:#?}");
}

#[test]
fn the_option_of_the_command_takes_the_place_of_the_setting() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("").argument("--log-format=json"));
    for line in lines(agent) {
        serde_json::from_str::<Value>(&line).unwrap();
    }
}

/// The entries that were sent to a journald of ours; values of several lines are left out.
fn entries(socket: &UnixDatagram) -> Vec<BTreeMap<String, String>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut entries = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let fields = text.lines().filter_map(|line| line.split_once('='));
        entries.push(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    }
    entries
}

#[test]
fn journald_gets_a_message_id_for_what_programs_wait_for_and_nothing_inside_the_window() {
    let host = Simulated::new(&json!({}));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    // As systemd does for a service whose standard error is the journal (systemd.exec(5)).
    let as_a_service = "JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec \"$@\"";
    let options = host.options("").variable("QUIESCED_JOURNAL_SOCKET", &path);
    let agent = start(options.wrapped_in(["bash", "-c", as_a_service, "bash"]));
    let before = entries(&socket);
    assert_eq!(before.last().unwrap()["MESSAGE"], "ready", "{before:#?}");
    assert_eq!(before.last().unwrap()["MESSAGE_ID"], quiesced::logging::ids::READY);
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let opened = entries(&socket);
    assert_eq!(opened.last().unwrap()["MESSAGE_ID"], quiesced::logging::ids::SESSION_OPENED, "{opened:#?}");
    // It has something to say now, and keeps it to itself.
    agent.signal(Signal::SIGHUP);
    expect(0, &agent.cli(["status"]).unwrap());
    assert_eq!(entries(&socket), []);
    expect(0, &agent.post_script(&id(1)).unwrap());
    wait_until_idle(&agent);
    let after = entries(&socket);
    assert!(after[0]["MESSAGE"].contains("not read again while a session is open"), "{after:#?}");
    let ended = after.iter().find(|entry| entry["MESSAGE"] == "the session has ended").unwrap();
    assert_eq!(ended["MESSAGE_ID"], quiesced::logging::ids::SESSION_DONE);
    assert_eq!(ended["EXECUTION_ID"], id(1));
    assert_eq!(ended["PRIORITY"], "6");
    assert_eq!(ended["CODE"], "0");
    assert_eq!(agent.log(), "", "the journal has it; standard error would be the journal a second time");
}

#[test]
fn the_page_lists_every_message_id() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/logs.md")).unwrap();
    let source = std::fs::read_to_string(root.join("agent/src/logging/ids.rs")).unwrap();
    let ids: Vec<&str> = source.split('"').filter(|word| word.len() == 32).collect();
    assert!(ids.len() >= 9, "{ids:?}");
    for id in ids {
        assert!(page.contains(id), "{id} is not in docs/logs.md");
    }
}
