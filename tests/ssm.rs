//! Systems Manager: what each group's last session was worth, told to a service that is as strict as the real one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{ExecHook, Simulated, expect, id, last, start};
use quiesced_bed::agent::{Agent, AgentOptions};
use quiesced_bed::aws::{Aws, Call, INSTANCE};
use quiesced_bed::wait_until;
use serde_json::{Value, json};

/// Pauses between attempts are seconds.
const LONG: Duration = Duration::from_secs(30);

fn options(host: &Simulated, aws: &str, more: &str) -> AgentOptions {
    let config = format!("[report.ssm]\nenabled = true\nendpoint = {aws:?}\n{more}");
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
    assert_eq!(waiting(&agent), 2);
}

#[test]
fn nothing_is_told_unless_it_is_asked_for() {
    let (host, aws) = (Simulated::new(&json!({})), Aws::start().unwrap());
    let config = format!("[report.ssm]\nendpoint = {:?}\n", aws.url());
    let agent = start(host.options(&config).variable("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url()));
    cycle(&agent, &id(1), "default");
    assert!(!agent.state_dir().join("spool/ssm").exists());
}

#[test]
fn the_policy_allows_these_two_actions_and_no_others() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/iam/report-ssm.json");
    let policy: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let allowed = json!([{
        "Sid": "TellWhatSnapshotsAreWorth",
        "Effect": "Allow",
        "Action": ["ssm:PutComplianceItems", "ssm:PutInventory"],
        "Resource": "*",
    }]);
    assert_eq!(policy["Statement"], allowed);
}
