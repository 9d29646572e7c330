//! Reports: what is kept of a session, who can read it, and what it says of itself on its own disks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{ExecHook, Simulated, binary, expect, freezing, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::{Bed, Fs, MIB, require_root};
use serde_json::{Value, json};

fn cycle(agent: &Agent, session: &str) {
    expect(0, &agent.pre_script(session).unwrap());
    expect(0, &agent.post_script(session).unwrap());
}

fn told(agent: &Agent, command: &[&str]) -> String {
    let output = agent.cli(command.iter().copied()).unwrap();
    expect(0, &output);
    output.stdout
}

/// The command without any agent, over a directory of reports.
fn offline(state: &Path, command: &[&str]) -> std::process::Output {
    let runtime = state.join("run");
    let mut program = Command::new(binary());
    program.args(command).env("QUIESCED_STATE_DIR", state).env("QUIESCED_RUNTIME_DIR", runtime);
    program.output().unwrap()
}

/// The reports of an agent of the first version, as it left them.
fn first_version() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    std::fs::create_dir(state.path().join("sessions")).unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/reports");
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_prefix("1-").unwrap().to_owned();
        std::fs::copy(&path, state.path().join("sessions").join(name)).unwrap();
    }
    state
}

#[test]
fn reports_of_the_first_version_are_read_without_an_agent() {
    let state = first_version();
    let listed = offline(state.path(), &["history", "--json"]);
    let sessions: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let endings: Vec<_> = sessions.iter().map(|report| report["ending"].as_str().unwrap()).collect();
    assert_eq!(endings, ["post", "released", "lost"]);
    let shown = offline(state.path(), &["show", "None"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with("the session without an id"), "{shown}");
    assert!(shown.contains(": filesystem-consistent (exit 0)"), "{shown}");
    let page = state.path().join("page.html");
    let written = offline(state.path(), &["show", "21", "--html", page.to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    assert!(std::fs::read_to_string(page).unwrap().contains("crash-consistent"));
}

#[test]
fn a_host_without_sessions_says_so() {
    let state = tempfile::tempdir().unwrap();
    let listed = offline(state.path(), &["history"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "no session has ended yet\n");
    assert_eq!(offline(state.path(), &["show"]).status.code(), Some(1));
}

#[test]
fn every_report_fits_the_published_schema() {
    let host = Simulated::new(&json!({"/logs": "thaw-fails"}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", &host.data())));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    agent.post_script(&id(1)).unwrap();
    let schema: Value = serde_json::from_str(&told(&agent, &["config", "schema", "--report"])).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let state = first_version();
    let listed = offline(state.path(), &["history", "--json"]);
    let mut sessions: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    sessions.push(last(&agent));
    for report in sessions {
        let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{report:#}");
    }
    assert!(!validator.is_valid(&json!({"version": 1})), "the schema refuses what is no report");
}

#[test]
fn a_report_says_what_was_proved_and_for_how_long_it_was_frozen() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", &host.data())));
    cycle(&agent, &id(1));
    let report = last(&agent);
    assert_eq!(report["proofs"][0]["hook"], "queue", "{report:#}");
    assert_eq!(report["proofs"][0]["standing"], "proved", "{report:#}");
    let frozen = report["frozen"].as_array().unwrap();
    assert_eq!(frozen.len(), 3, "{report:#}");
    for span in frozen {
        assert!(span["until"].as_u64().unwrap() > span["from"].as_u64().unwrap(), "{span}");
        assert!(span["until"].as_u64() < report["lease_ends"].as_u64(), "{span}");
    }
    assert!(report["host"]["ended_at"].as_str().unwrap() >= report["host"]["opened_at"].as_str().unwrap());
}

#[test]
fn history_lists_sessions_of_a_group_and_show_finds_one_by_the_beginning_of_its_id() {
    let host = Simulated::new(&json!({}));
    let more = "[group.other]\nhooks = []\nfilesystems = [\"/data\"]\n";
    let agent = start(host.options(more));
    cycle(&agent, &id(1));
    cycle(&agent, "aaaaaaaa-0000-4000-8000-000000000001");
    let pre = agent.cli(["pre-script", "--group", "other", "--execution-id", &id(2)]).unwrap();
    expect(0, &pre);
    expect(0, &agent.post_script(&id(2)).unwrap());
    let listed = told(&agent, &["history"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.starts_with("OPENED"), "{listed}");
    assert_eq!(told(&agent, &["history", "--group", "other"]).lines().count(), 2);
    assert_eq!(told(&agent, &["history", "-n", "1"]).lines().count(), 2);
    let shown = told(&agent, &["show", "aaaa"]);
    assert!(shown.contains("aaaaaaaa-0000-4000-8000-000000000001"), "{shown}");
    assert!(shown.contains("━"), "the hold is drawn: {shown}");
    let ambiguous = agent.cli(["show", "0000"]).unwrap();
    expect(1, &ambiguous);
    assert!(
        ambiguous.stderr.contains("the ids of several sessions begin with `0000`"),
        "{}",
        ambiguous.stderr
    );
    let unknown = agent.cli(["show", "beef"]).unwrap();
    expect(1, &unknown);
    assert!(unknown.stderr.contains("quiesced history"), "{}", unknown.stderr);
}

#[test]
fn a_page_escapes_what_hooks_say_and_loads_nothing() {
    let host = Simulated::new(&json!({}));
    let hook = ExecHook::new();
    let table = hook.table("queue", "echo '<script>alert(1)</script>' >&2; exit 1", &host.data());
    let agent = start(host.options(&table));
    expect(201, &agent.pre_script(&id(1)).unwrap());
    let page = hook.directory().join("page.html");
    told(&agent, &["show", "--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    for foreign in ["<script", "http://", "https://", "url("] {
        assert!(!page.contains(foreign), "{foreign} in:\n{page}");
    }
}

#[test]
fn only_as_many_reports_are_kept_as_are_asked_for() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options("[report]\nkeep = 10\n"));
    for digit in 1..=12 {
        cycle(&agent, &id(digit));
    }
    let sessions: Vec<Value> = serde_json::from_str(&told(&agent, &["history", "--json"])).unwrap();
    let ids: Vec<_> = sessions.iter().map(|report| report["execution_id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), ids[0], ids[9]), (10, &*id(3), &*id(12)));
    expect(0, &agent.post_script(&id(12)).unwrap());
}

#[test]
fn status_is_watched_until_nobody_reads_it() {
    let host = Simulated::new(&json!({}));
    let agent = start(host.options(""));
    let mut watching = Command::new(binary());
    watching.args(["status", "--watch=100ms"]).envs(agent.environment()).stdout(Stdio::piped());
    let mut child = watching.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let idle = |line: &String| line == "idle";
    assert!(lines.find_map(|line| line.ok().filter(idle)).is_some());
    assert!(lines.find_map(|line| line.ok().filter(idle)).is_some(), "it is shown a second time");
    drop(lines);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_manifest_is_part_of_the_snapshot_and_goes_when_it_is_not_wanted() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let hook = ExecHook::new();
    let data = format!("data = [{:?}]", volume.mount_point);
    let config = |manifest: bool| {
        let hook = hook.table("queue", "exit 0", &data);
        format!("[report]\nmanifest = {manifest}\n{hook}{}", freezing(&[&volume.mount_point]))
    };
    let agent = start(AgentOptions::configured(&config(true)));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let image = bed.snapshot_volume(&volume).unwrap();
    expect(0, &agent.post_script(&id(1)).unwrap());
    let restored = bed.restore(&image).unwrap();
    let text = std::fs::read(restored.mount_point.join(".quiesced/session.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(manifest["execution_id"], id(1), "{manifest:#}");
    assert_eq!(manifest["hooks"][0]["kind"], "exec", "{manifest:#}");
    assert_eq!(manifest["mount_point"], volume.mount_point.to_str().unwrap(), "{manifest:#}");
    drop(agent);
    let agent = start(AgentOptions::configured(&config(false)));
    cycle(&agent, &id(2));
    assert!(!volume.mount_point.join(".quiesced").exists());
}

#[test]
fn a_full_disk_costs_the_manifest_and_the_report_and_not_the_session() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let state = bed.volume("state", Fs::Ext4, 32 * MIB).unwrap();
    let config = format!("[report]\nmanifest = true\n{}", freezing(&[&volume.mount_point]));
    let options = AgentOptions::configured(&config).variable("QUIESCED_STATE_DIR", &state.mount_point);
    let agent = start(options);
    for full in [&volume.mount_point, &state.mount_point] {
        fill(full);
    }
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let post = agent.post_script(&id(1)).unwrap();
    expect(0, &post);
    assert!(post.stdout.contains("has no manifest"), "{}", post.stdout);
    assert!(post.stdout.contains("the session is not on record"), "{}", post.stdout);
    assert_eq!(last(&agent)["execution_id"], id(1), "the agent itself still knows");
    assert_eq!(std::fs::read_dir(state.mount_point.join("sessions")).unwrap().count(), 0);
}

/// Leaves no block that root could have.
fn fill(mount_point: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(mount_point.join("full")).unwrap();
    for size in [4096, 512] {
        let block = vec![7; size];
        while file.write_all(&block).is_ok() {}
    }
    // What was accepted may not fit the disk either; then it is full all the more.
    let _ = file.sync_all();
}
