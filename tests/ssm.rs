//! Systems Manager: what each group's last session was worth, told to a service that is as strict as the real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{ExecHook, Simulated, expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::aws::{Aws, Call, INSTANCE};
use quiesced_bed::coordinator::Coordinator;
use quiesced_bed::{Authority, wait_until};
use serde_json::{Value, json};

/// Pauses between attempts are seconds.
const LONG: Duration = Duration::from_secs(30);

fn options(host: &Simulated, aws: &str, more: &str) -> AgentOptions {
    let config = format!("[aws]\nendpoint = {aws:?}\n[report.ssm]\nenabled = true\n{more}");
    host.options(&config).variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws)
}

fn cycle(agent: &Agent, session: &str, group: &str) {
    expect(0, &agent.cli(["pre-script", "--execution-id", session, "--group", group]).unwrap());
    expect(0, &agent.post_script(session).unwrap());
}

fn waiting(agent: &Agent) -> usize {
    std::fs::read_dir(agent.state_dir().join("spool/ssm")).map_or(0, Iterator::count)
}

fn wait_until_told(agent: &Agent) {
    wait_until("nothing waits any more", LONG, || waiting(agent) == 0)
        .unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
}

/// The last call of this action; all calls so far were sound.
fn last_call(aws: &Aws, action: &str) -> Value {
    let calls = aws.calls();
    let unsound: Vec<&Call> = calls.iter().filter(|call| !call.faults.is_empty()).collect();
    assert!(unsound.is_empty(), "{unsound:#?}");
    calls.into_iter().rfind(|call| call.action == action).unwrap().body
}

#[test]
fn each_group_is_told_with_what_its_last_session_was_worth() {
    let (host, hook, aws) = (Simulated::new(&json!({})), ExecHook::new(), Aws::start().unwrap());
    let table = hook.table("queue", "exit 0", &host.data());
    let agent = start(options(
        &host,
        &aws.url(),
        &format!("{table}[group.plain]\nhooks = []\nfilesystems = [\"/logs\"]\n"),
    ));
    cycle(&agent, &id(1), "default");
    cycle(&agent, &id(2), "plain");
    // The report is put into the spool a moment after post-script was answered.
    let is_told = || {
        aws.calls().iter().any(|call| call.action == "PutInventory" && call.body.to_string().contains(&id(2)))
    };
    wait_until("the second session is told", LONG, is_told).unwrap();
    wait_until_told(&agent);
    let compliance = last_call(&aws, "PutComplianceItems");
    assert_eq!(compliance["ComplianceType"], "Custom:ApplicationConsistency");
    assert_eq!(compliance["ResourceId"], INSTANCE);
    assert_eq!(compliance["UploadType"], "COMPLETE");
    let item = |group: &str| {
        let items = compliance["Items"].as_array().unwrap();
        items.iter().find(|item| item["Id"] == group).unwrap_or_else(|| panic!("{compliance:#}")).clone()
    };
    assert_eq!(
        (&item("default")["Status"], &item("default")["Severity"]),
        (&json!("COMPLIANT"), &json!("INFORMATIONAL"))
    );
    assert_eq!(
        (&item("plain")["Status"], &item("plain")["Severity"]),
        (&json!("NON_COMPLIANT"), &json!("MEDIUM"))
    );
    assert_eq!(item("default")["Details"]["Hooks"], "queue");
    let inventory = last_call(&aws, "PutInventory");
    let entries = inventory["Items"][0]["Content"].as_array().unwrap();
    assert_eq!(inventory["Items"][0]["TypeName"], "Custom:QuiescedSession");
    let entry = entries.iter().find(|entry| entry["Group"] == "plain").unwrap();
    assert_eq!(entry["ExecutionId"], id(2));
    assert_eq!(entry["Verdict"], "filesystem-consistent");
    assert_eq!(entry["EndedAt"], last(&agent)["host"]["ended_at"]);
}

#[test]
fn a_hold_that_ended_early_is_not_compliant() {
    let (host, aws) = (Simulated::new(&json!({})), Aws::start().unwrap());
    let agent = start(options(&host, &aws.url(), "[agent]\nlease = \"2s\"\npre_script_budget = \"1s\"\n"));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    common::wait_until_idle(&agent);
    wait_until("it is told", LONG, || !aws.calls().is_empty()).unwrap();
    wait_until_told(&agent);
    let item = last_call(&aws, "PutComplianceItems")["Items"][0].clone();
    assert_eq!((&item["Status"], &item["Severity"]), (&json!("NON_COMPLIANT"), &json!("HIGH")));
    assert!(item["Details"]["Reasons"].as_str().unwrap().contains("the lease ended"), "{item:#}");
}

#[test]
fn errors_that_pass_are_tried_again_until_both_calls_were_taken() {
    let (host, aws) = (Simulated::new(&json!({})), Aws::start().unwrap());
    aws.fail(["ThrottlingException", "InternalServerError", "InvalidResourceId", "AccessDeniedException"]);
    let agent = start(options(&host, &aws.url(), ""));
    cycle(&agent, &id(1), "default");
    wait_until("it is taken", LONG, || aws.calls().iter().any(|call| call.action == "PutInventory")).unwrap();
    wait_until_told(&agent);
    assert_eq!(aws.calls().iter().filter(|call| call.action == "PutComplianceItems").count(), 5);
    last_call(&aws, "PutInventory");
}

#[test]
fn errors_that_would_come_again_are_told_and_the_report_is_given_up() {
    let host = Simulated::new(&json!({}));
    for error in [
        "InvalidItemContentException",
        "TotalSizeLimitExceededException",
        "ItemSizeLimitExceededException",
        "ComplianceTypeCountLimitExceededException",
        "ValidationException",
    ] {
        let aws = Aws::start().unwrap();
        aws.fail([error]);
        let agent = start(options(&host, &aws.url(), ""));
        cycle(&agent, &id(1), "default");
        wait_until("it is told", LONG, || agent.log().contains(error)).unwrap();
        wait_until_told(&agent);
        assert_eq!(aws.calls().len(), 1, "{error}");
        assert!(
            agent.log().contains("a report is not sent: ssm:PutComplianceItems failed"),
            "{}",
            agent.log()
        );
    }
}

#[test]
fn a_host_without_a_network_loses_nothing_but_the_upload() {
    let host = Simulated::new(&json!({}));
    let agent = start(options(&host, "http://127.0.0.1:9", ""));
    cycle(&agent, &id(1), "default");
    cycle(&agent, &id(2), "default");
    wait_until("it is told", LONG, || agent.log().contains("instance id cannot be asked")).unwrap();
    wait_until("both wait", LONG, || waiting(&agent) == 2).unwrap();
}

#[test]
fn nothing_is_told_unless_it_is_asked_for() {
    let (host, aws) = (Simulated::new(&json!({})), Aws::start().unwrap());
    let config = format!("[aws]\nendpoint = {:?}\n", aws.url());
    let agent = start(host.options(&config).variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url()));
    cycle(&agent, &id(1), "default");
    assert!(!agent.state_dir().join("spool/ssm").exists());
}

/// moto's Parameter Store, if `scripts/install-test-tools` could fetch it.
struct Moto {
    child: std::process::Child,
    url: String,
}

impl Moto {
    fn start() -> Option<Self> {
        if !engines().join("moto").is_dir() {
            eprintln!("left out: moto is not there (scripts/install-test-tools)");
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = python();
        server.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()]);
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { child, url: format!("http://127.0.0.1:{port}") };
        wait_until("moto answers", LONG, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
            .unwrap();
        Some(moto)
    }

    fn put(&self, name: &str, value: &str) {
        let code = "import sys, boto3\n\
                    ssm = boto3.client('ssm', endpoint_url=sys.argv[1], region_name='eu-central-1')\n\
                    ssm.put_parameter(Name=sys.argv[2], Value=sys.argv[3], Type='SecureString', Overwrite=True)";
        let mut put = python();
        put.args(["-c", code, &self.url, name, value]).envs(CREDENTIALS);
        let output = put.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn options(&self, host: &Simulated, more: &str) -> AgentOptions {
        let config = format!("[aws]\nendpoint = {:?}\nregion = \"eu-central-1\"\n{more}", self.url);
        CREDENTIALS
            .iter()
            .fold(host.options(&config), |options, (name, value)| options.variable(*name, *value))
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CREDENTIALS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example")];

fn engines() -> PathBuf {
    std::env::var_os("QUIESCED_ENGINES").unwrap_or_else(|| "/var/cache/quiesced-engines".into()).into()
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", engines().join("moto"));
    python
}

#[test]
fn a_secret_comes_from_parameter_store_and_is_shown_nowhere() {
    let Some(moto) = Moto::start() else { return };
    let host = Simulated::new(&json!({}));
    moto.put("/prod/webhook", "kept in the cloud");
    let authority = Authority::new().unwrap();
    let coordinator = Coordinator::start(&authority).unwrap();
    let webhook = format!(
        "[log]\nlevel = \"trace\"\n[report.webhook]\nurl = {:?}\nca = {:?}\nsecret = {{ ssm_parameter = \"/prod/webhook\" }}\n",
        coordinator.url(),
        authority.file("ca.pem")
    );
    let agent = start(moto.options(&host, &webhook));
    cycle(&agent, &id(1), "default");
    wait_until("it has arrived", LONG, || !coordinator.received().is_empty())
        .unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
    let received = &coordinator.received()[0];
    assert!(received.is_signed_with("kept in the cloud"), "{:?}", received.headers);
    let shown = agent.cli(["config", "show"]).unwrap().stdout + &agent.log() + &last(&agent).to_string();
    assert!(!shown.contains("kept in the cloud"), "{shown}");
}

#[test]
fn a_parameter_that_is_not_there_is_found_before_the_first_session() {
    let Some(moto) = Moto::start() else { return };
    let host = Simulated::new(&json!({}));
    let hook = "[hook.cache.redis]\nhost = \"127.0.0.1\"\nport = 9\npassword = { ssm_parameter = \"/prod/absent\" }\n";
    let agent = start(moto.options(&host, hook));
    let dry_run = agent.cli(["dry-run"]).unwrap();
    expect(206, &dry_run);
    for part in ["the parameter /prod/absent cannot be had", "aws ssm put-parameter --type SecureString"] {
        assert!(dry_run.stdout.contains(part), "{part} is not in {}", dry_run.stdout);
    }
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(206, &pre);
}

/// The actions that each statement of a policy allows, and on what.
fn allowed(file: &str) -> Vec<(Value, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/iam").join(file);
    let policy: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert!(
        statements.iter().all(|statement| statement["Effect"] == "Allow" && statement["NotAction"].is_null())
    );
    statements.iter().map(|statement| (statement["Action"].clone(), statement["Resource"].clone())).collect()
}

#[test]
fn the_policies_allow_what_is_called_and_nothing_else() {
    let report = [(json!(["ssm:PutComplianceItems", "ssm:PutInventory"]), json!("*"))];
    assert_eq!(allowed("report-ssm.json"), report);
    let parameters = [
        (json!("ssm:GetParameter"), json!("arn:aws:ssm:*:ACCOUNT:parameter/quiesced/*")),
        (json!("kms:Decrypt"), json!("arn:aws:kms:*:ACCOUNT:key/KEY")),
    ];
    assert_eq!(allowed("parameters.json"), parameters);
}
