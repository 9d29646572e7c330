//! Sinks: what is sent, how it is signed, and that whatever a sink does costs the sessions nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Simulated, expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::coordinator::{Behaviour, Coordinator};
use quiesced_bed::http::Request;
use quiesced_bed::{Authority, wait_until};
use serde_json::{Value, json};

/// Pauses between attempts are seconds.
const LONG: Duration = Duration::from_secs(30);

const SECRET: &str = "a word that both sides know";

struct Scene {
    host: Simulated,
    authority: Authority,
    coordinator: Coordinator,
    secret: PathBuf,
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let authority = Authority::new().unwrap();
        let coordinator = Coordinator::start(&authority).unwrap();
        Self { host: Simulated::new(&json!({})), authority, coordinator, secret, directory }
    }

    fn options(&self, ca: &Path, timeout: &str) -> AgentOptions {
        let (url, secret) = (self.coordinator.url(), &self.secret);
        self.host.options(&format!(
            "[report.webhook]\nurl = {url:?}\nsecret = {{ file = {secret:?} }}\nca = {ca:?}\ntimeout = {timeout:?}\n"
        ))
    }

    fn agent(&self) -> Agent {
        start(self.options(&self.authority.file("ca.pem"), "1s"))
    }

    fn wait_for(&self, reports: usize) -> Vec<Request> {
        let arrived = || self.coordinator.received().len() >= reports;
        wait_until("the reports have arrived", LONG, arrived).unwrap();
        self.coordinator.received()
    }
}

fn cycle(agent: &Agent, session: &str) {
    expect(0, &agent.pre_script(session).unwrap());
    expect(0, &agent.post_script(session).unwrap());
}

fn waiting(agent: &Agent) -> usize {
    let spool = agent.state_dir().join("spool/webhook");
    std::fs::read_dir(spool).map_or(0, Iterator::count)
}

fn session_of(received: &Request) -> String {
    let report: Value = serde_json::from_slice(&received.body).unwrap();
    report["execution_id"].as_str().unwrap().to_owned()
}

/// What `docs/reporting.md` tells receivers to do.
fn is_genuine(scene: &Scene, received: &Request) -> bool {
    use std::io::Write as _;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reporting.md");
    let page = std::fs::read_to_string(page).unwrap();
    let recipe = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let body = scene.directory.path().join("body");
    std::fs::write(&body, &received.body).unwrap();
    let mut command = Command::new("python3");
    command.arg("-c").arg(format!(
        "{recipe}\nimport sys\nbody = open(sys.argv[2], 'rb').read()\nsys.exit(0 if is_genuine(sys.argv[1], body, {SECRET:?}) else 1)"
    ));
    command.arg(&received.headers["quiesced-signature"]).arg(&body).stderr(Stdio::piped());
    let output = command.stdin(Stdio::null()).output().unwrap();
    std::io::stderr().write_all(&output.stderr).unwrap();
    output.status.success()
}

#[test]
fn a_report_arrives_whole_signed_and_without_the_secret() {
    let scene = Scene::new();
    let agent = scene.agent();
    cycle(&agent, &id(1));
    let received = scene.wait_for(1);
    let report: Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(report, last(&agent));
    assert!(is_genuine(&scene, &received[0]), "{:?}", received[0].headers);
    let mut forged = received[0].clone();
    forged.body.push(b' ');
    assert!(!is_genuine(&scene, &forged));
    wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
    let shown = agent.cli(["config", "show"]).unwrap().stdout + &agent.log();
    assert!(!shown.contains(SECRET) && !String::from_utf8_lossy(&received[0].body).contains(SECRET));
}

#[test]
fn a_sink_that_fails_in_every_way_gets_the_report_in_the_end_and_always_with_the_same_key() {
    let scene = Scene::new();
    scene.coordinator.behave([
        Behaviour::Cut,
        Behaviour::Answer(503, ""),
        Behaviour::Answer(429, "Retry-After: 1"),
        Behaviour::HangAfterRequest,
    ]);
    let agent = scene.agent();
    cycle(&agent, &id(1));
    let received = scene.wait_for(5);
    let keys: Vec<_> = received.iter().map(|received| &received.headers["idempotency-key"]).collect();
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
    assert_eq!(agent.log().matches("reports cannot be sent, and wait").count(), 1, "{}", agent.log());
}

#[test]
fn a_final_no_is_told_and_not_repeated() {
    let scene = Scene::new();
    scene
        .coordinator
        .behave([Behaviour::Answer(400, ""), Behaviour::Answer(307, "Location: https://example.com/")]);
    let agent = scene.agent();
    for digit in 1..=3 {
        cycle(&agent, &id(digit));
        // The report is put into the spool a moment after post-script was answered.
        scene.wait_for(usize::from(digit));
        wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
    }
    let received = scene.coordinator.received();
    assert_eq!(received.iter().map(session_of).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    for answer in ["it answered 400", "it answered 307"] {
        assert!(agent.log().contains(answer), "{}", agent.log());
    }
    assert_eq!(scene.coordinator.connections(), 3);
}

#[test]
fn a_sink_that_hangs_delays_no_step_and_no_exit_code() {
    let scene = Scene::new();
    scene.coordinator.behave((0..50).map(|_| Behaviour::HangInTls));
    let limit = Duration::from_secs(60);
    let agent = start(scene.options(&scene.authority.file("ca.pem"), "60s"));
    for digit in 1..=4 {
        cycle(&agent, &id(digit));
        let report = last(&agent);
        let phases = report["phases"].as_array().unwrap();
        let end = phases.last().unwrap()["ended"].as_u64().unwrap();
        let took = Duration::from_nanos(end - phases[0]["began"].as_u64().unwrap());
        // A session that waited for the sink would be as long as the sink's own limit.
        assert!(took < limit, "{report:#}");
    }
    wait_until("it was tried", LONG, || scene.coordinator.connections() > 0).unwrap();
    wait_until("nothing is lost", LONG, || waiting(&agent) == 4).unwrap();
}

#[test]
fn nothing_is_sent_while_a_session_is_open() {
    let scene = Scene::new();
    scene.coordinator.behave([Behaviour::Answer(503, ""), Behaviour::Answer(503, "")]);
    let agent = scene.agent();
    cycle(&agent, &id(1));
    scene.wait_for(1);
    expect(0, &agent.pre_script(&id(2)).unwrap());
    let before = scene.coordinator.connections();
    // The first pause is no longer than a second.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.coordinator.connections(), before);
    expect(0, &agent.post_script(&id(2)).unwrap());
    wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
}

#[test]
fn what_waits_survives_the_agent() {
    let scene = Scene::new();
    scene.coordinator.behave([Behaviour::HangInTls, Behaviour::HangInTls]);
    let mut agent = scene.agent();
    cycle(&agent, &id(1));
    wait_until("it waits", LONG, || waiting(&agent) == 1).unwrap();
    agent.kill();
    assert!(scene.coordinator.received().is_empty());
    agent.restart().unwrap();
    assert_eq!(session_of(&scene.wait_for(1)[0]), id(1));
}

#[test]
fn a_session_that_was_lost_with_the_agent_is_told_when_it_runs_again() {
    let scene = Scene::new();
    let mut agent = scene.agent();
    expect(0, &agent.pre_script(&id(1)).unwrap());
    agent.kill();
    agent.restart().unwrap();
    let report: Value = serde_json::from_slice(&scene.wait_for(1)[0].body).unwrap();
    assert_eq!((&report["ending"], &report["verdict"]), (&json!("lost"), &json!("crash-consistent")));
    assert_eq!(report["execution_id"], id(1));
    // It was told, and is not lost a second time.
    wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
    agent.kill();
    agent.restart().unwrap();
    assert_eq!(waiting(&agent), 0);
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let scene = Scene::new();
    let stranger = Authority::new().unwrap();
    let agent = start(scene.options(&stranger.file("ca.pem"), "1s"));
    cycle(&agent, &id(1));
    wait_until("it was tried", LONG, || agent.log().contains("reports cannot be sent, and wait")).unwrap();
    assert!(scene.coordinator.received().is_empty());
    assert_eq!(waiting(&agent), 1);
}

#[test]
fn an_answer_without_end_is_not_read() {
    let scene = Scene::new();
    scene.coordinator.behave([Behaviour::Endless]);
    let agent = scene.agent();
    cycle(&agent, &id(1));
    scene.wait_for(1);
    wait_until("nothing waits any more", LONG, || waiting(&agent) == 0).unwrap();
    assert_eq!(scene.coordinator.connections(), 1);
}

#[test]
fn a_secret_that_others_can_read_keeps_reports_waiting_and_says_how_to_mend_it() {
    let scene = Scene::new();
    std::fs::set_permissions(&scene.secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    let agent = scene.agent();
    cycle(&agent, &id(1));
    wait_until("it is told", LONG, || agent.log().contains("chmod 600")).unwrap();
    assert_eq!(waiting(&agent), 1);
    std::fs::set_permissions(&scene.secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.wait_for(1);
}

#[test]
fn a_spool_that_cannot_be_written_costs_the_message_and_not_the_session() {
    let scene = Scene::new();
    let agent = scene.agent();
    std::fs::write(agent.state_dir().join("spool"), "in the way").unwrap();
    cycle(&agent, &id(1));
    wait_until("it is told", LONG, || agent.log().contains("the report is not sent")).unwrap();
    cycle(&agent, &id(2));
}
