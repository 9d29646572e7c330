//! Figures: what is counted, who may ask, and that asking costs the sessions nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{ExecHook, SOON, Simulated, expect, id, is_idle, start};
use quiesced_bed::agent::Agent;
use quiesced_bed::wait_until;
use serde_json::{Value, json};

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: quiesced\r\nConnection: close\r\n\r\n";

/// What is answered, without its head.
fn body(mut stream: impl std::io::Read + std::io::Write) -> String {
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

fn scrape(agent: &Agent) -> String {
    // Figures are made no more than twice in a second.
    std::thread::sleep(Duration::from_millis(600));
    body(UnixStream::connect(agent.socket()).unwrap())
}

/// The value of the series that begins so.
fn value(text: &str, series: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(series));
    let values: Vec<f64> = lines.map(|rest| rest.trim().parse().unwrap()).collect();
    assert_eq!(values.len(), 1, "{series} in:\n{text}");
    values[0]
}

fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(monitoring()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A session of each end, so that every figure there is has a series.
fn lived(host: &Simulated, hook: &ExecHook, more: &str) -> Agent {
    let short = "[agent]\nlease = \"2s\"\npre_script_budget = \"1s\"\n";
    let hook = hook.table("queue", "exit 0", &format!("timeout = \"1s\"\n{}", host.data()));
    let agent = start(host.options(&format!("{short}{more}{hook}[group.idle]\nhooks = []\n")));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(2)).unwrap());
    wait_until("the lease has ended", SOON, || is_idle(&agent)).unwrap();
    agent
}

#[test]
fn sessions_are_counted_by_verdict_and_dated_across_a_restart() {
    let (host, hook) = (Simulated::new(&json!({})), ExecHook::new());
    let mut agent = lived(&host, &hook, "");
    let text = scrape(&agent);
    let good = r#"group="default",verdict="application-consistent",code="0",ending="post""#;
    assert_eq!(value(&text, &format!("quiesced_sessions_total{{{good}}}")), 1.0);
    let thawed = r#"group="default",verdict="crash-consistent",code="203",ending="lease-ended""#;
    assert_eq!(value(&text, &format!("quiesced_sessions_total{{{thawed}}}")), 1.0);
    assert_eq!(value(&text, r#"quiesced_auto_thaws_total{ending="lease-ended"}"#), 1.0);
    assert_eq!(value(&text, r#"quiesced_window_duration_seconds_count{group="default"}"#), 2.0);
    assert_eq!(value(&text, "quiesced_session_open"), 0.0);
    let dated = r#"quiesced_last_application_consistent_timestamp_seconds{group="default"}"#;
    let when = value(&text, dated);
    assert!(when > 1.7e9, "{when}");
    let never = r#"quiesced_last_application_consistent_timestamp_seconds{group="idle"}"#;
    assert_eq!(value(&text, never), 0.0, "a group without a session is told too, or nobody could be alarmed");
    agent.kill();
    agent.restart().unwrap();
    let text = scrape(&agent);
    assert_eq!(value(&text, dated), when);
    assert!(!text.contains("quiesced_sessions_total{"), "counters begin anew: {text}");
}

#[test]
fn an_open_session_shows_with_what_is_left_of_its_lease() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let text = scrape(&agent);
    assert_eq!(value(&text, "quiesced_session_open"), 1.0);
    let left = value(&text, "quiesced_lease_remaining_seconds");
    assert!((1.0..30.0).contains(&left), "{left}");
    expect(0, &agent.post_script(&id(1)).unwrap());
    assert_eq!(value(&scrape(&agent), "quiesced_lease_remaining_seconds"), 0.0);
}

#[test]
fn figures_have_the_form_that_prometheus_reads() {
    let (host, hook) = (Simulated::new(&json!({})), ExecHook::new());
    let agent = lived(&host, &hook, "");
    let text = scrape(&agent);
    assert!(text.ends_with("# EOF\n"), "{text}");
    // promtool reads the older form, in which a counter is described by its full name.
    let mut older = text.replace("# EOF\n", "");
    let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    for counter in typed {
        older = older.replace(&format!(" {counter} "), &format!(" {counter}_total "));
    }
    promtool(&["check", "metrics"], &older);
}

#[test]
fn alerts_are_sound_and_each_is_raised_when_it_should_be() {
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts_test.yml"], "");
    let rules = std::fs::read_to_string(monitoring().join("alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(monitoring().join("alerts_test.yml")).unwrap();
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "nothing raises {alert}");
    }
}

#[test]
fn alerts_and_dashboard_name_only_figures_that_there_are() {
    let (host, hook) = (Simulated::new(&json!({})), ExecHook::new());
    let text = scrape(&lived(&host, &hook, ""));
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|letter| !is_part(letter));
        words.filter(|word| word.starts_with("quiesced_")).map(str::to_owned).collect()
    };
    let there = names(&text);
    for file in ["alerts.yml", "dashboard.json"] {
        let named = names(&std::fs::read_to_string(monitoring().join(file)).unwrap());
        assert!(named.len() >= 5, "{file} names hardly a figure");
        let strange: Vec<_> = named.difference(&there).collect();
        assert!(strange.is_empty(), "{file} names {strange:?}, which are not in:\n{text}");
    }
    let dashboard = std::fs::read(monitoring().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
}

#[test]
fn scrapers_that_hang_keep_neither_sessions_nor_the_socket_waiting() {
    let host = Simulated::new(&json!({}));
    let port = free_port();
    let agent = start(host.options(&format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n")));
    let connect = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert!(body(connect()).contains("quiesced_build_info"));
    // More than are let in, each in the middle of its request.
    let hanging: Vec<TcpStream> = (0..32).map(|_| connect()).collect();
    for mut stream in &hanging {
        stream.write_all(b"GET /metrics HT").unwrap();
    }
    expect(0, &agent.pre_script(&id(1)).unwrap());
    assert!(body(UnixStream::connect(agent.socket()).unwrap()).contains("quiesced_session_open"));
    expect(0, &agent.post_script(&id(1)).unwrap());
    drop(hanging);
    wait_until("scrapers are let in again", Duration::from_secs(30), || {
        let mut stream = connect();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        stream.write_all(REQUEST).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).is_ok_and(|()| &first == b"HTTP/1.1 200")
    })
    .unwrap();
}

#[test]
fn the_port_serves_figures_and_nothing_else() {
    let host = Simulated::new(&json!({}));
    let port = free_port();
    let _agent = start(host.options(&format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n")));
    for request in ["GET /v1/status", "POST /v1/release", "GET /v1/sessions"] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: quiesced\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{request}: {answer}");
    }
}
