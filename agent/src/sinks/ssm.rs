//! `[report.ssm]`: what each group's last session was worth, as compliance items and custom inventory of Systems Manager.
//!
//! Both calls replace everything of their type on this host, so each carries the last session of every group. An upload of
//! type `PARTIAL` would need an association that this host may not have
//! (<https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutComplianceItems.html>).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::primitives::DateTime;
use aws_sdk_ssm::types::{
    ComplianceExecutionSummary, ComplianceItemEntry, ComplianceSeverity, ComplianceStatus,
    ComplianceUploadType, InventoryItem,
};

use quiesced_core::problem::Problem;
use quiesced_core::report::{HostFacts, SessionReport};
use quiesced_core::verdict::Verdict;

use super::{Sink, Undelivered};
use crate::aws;
use crate::config::AwsSettings;
use crate::daemon::store;

/// The type of compliance items; one item for each group.
pub const COMPLIANCE_TYPE: &str = "Custom:ApplicationConsistency";

/// The type of inventory; one entry for each group.
pub const INVENTORY_TYPE: &str = "Custom:QuiescedSession";

/// Raised when an attribute is added to an entry or taken away.
const SCHEMA_VERSION: &str = "1.0";

/// The longest value of an attribute in both calls.
const LONGEST_VALUE: usize = 4096;

/// Errors that the same call would get again.
const FINAL: [&str; 12] = [
    "ValidationException",
    "InvalidItemContentException",
    "ItemContentMismatchException",
    "ItemSizeLimitExceededException",
    "TotalSizeLimitExceededException",
    "ComplianceTypeCountLimitExceededException",
    "CustomSchemaCountLimitExceededException",
    "SubTypeCountLimitExceededException",
    "UnsupportedInventorySchemaVersionException",
    "UnsupportedInventoryItemContextException",
    "InvalidInventoryItemContextException",
    "InvalidTypeNameException",
];

/// A client, and which host it speaks for.
#[derive(Debug)]
pub struct Ssm {
    client: Client,
    instance: String,
    sessions: PathBuf,
}

impl Ssm {
    /// A client for this host.
    ///
    /// # Errors
    /// When the instance id is nowhere to be had.
    pub async fn open(settings: &AwsSettings, sessions: PathBuf) -> Result<Self, Problem> {
        let instance = aws::instance_id(settings).await?;
        Ok(Self { client: Client::new(&aws::config(settings).await), instance, sessions })
    }

    async fn put_compliance(&self, last: &[SessionReport]) -> Result<(), Undelivered> {
        let newest = last.iter().max_by_key(|report| ended_at(report));
        let summary = ComplianceExecutionSummary::builder()
            .execution_time(
                newest
                    .and_then(|report| humantime::parse_rfc3339(&ended_at(report)).ok())
                    .map_or_else(|| DateTime::from(SystemTime::UNIX_EPOCH), DateTime::from),
            )
            .set_execution_id(newest.map(|report| report.execution_id.to_string()))
            .execution_type("Command")
            .build()
            .map_err(|error| never(&error))?;
        let items: Result<Vec<_>, _> = last.iter().map(compliance_item).collect();
        let sent = self
            .client
            .put_compliance_items()
            .resource_id(&self.instance)
            .resource_type("ManagedInstance")
            .compliance_type(COMPLIANCE_TYPE)
            .execution_summary(summary)
            .set_items(Some(items?))
            .upload_type(ComplianceUploadType::Complete)
            .send()
            .await;
        sent.map(drop).map_err(|error| undelivered("ssm:PutComplianceItems", &error))
    }

    async fn put_inventory(&self, last: &[SessionReport]) -> Result<(), Undelivered> {
        let newest = last.iter().map(ended_at).max().unwrap_or_default();
        let item = InventoryItem::builder()
            .type_name(INVENTORY_TYPE)
            .schema_version(SCHEMA_VERSION)
            .capture_time(newest)
            .set_content(Some(last.iter().map(inventory_entry).collect()))
            .build()
            .map_err(|error| never(&error))?;
        let sent = self.client.put_inventory().instance_id(&self.instance).items(item).send().await;
        sent.map(drop).map_err(|error| undelivered("ssm:PutInventory", &error))
    }
}

#[async_trait]
impl Sink for Ssm {
    async fn deliver(&mut self, _key: &str, report: &[u8]) -> Result<(), Undelivered> {
        let report: SessionReport = serde_json::from_slice(report).map_err(|error| never(&error))?;
        // A disk that cannot be read has no more to tell than the report itself, which a full one may not have.
        let mut all = store::ended_on_disk(&self.sessions).unwrap_or_default();
        all.push(report);
        let last = last_of_each_group(all);
        self.put_compliance(&last).await?;
        self.put_inventory(&last).await
    }
}

fn last_of_each_group(mut all: Vec<SessionReport>) -> Vec<SessionReport> {
    all.sort_by_cached_key(store::key);
    let by_group = all.into_iter().map(|report| (report.group.clone(), report));
    by_group.collect::<BTreeMap<_, _>>().into_values().collect()
}

fn never(error: &dyn std::error::Error) -> Undelivered {
    Undelivered::Never(Problem::from_error(error).within("the session cannot be told to Systems Manager"))
}

fn undelivered<E, R>(action: &str, error: &SdkError<E, R>) -> Undelivered
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let code = error.code().unwrap_or_default();
    let hint = match code {
        "AccessDeniedException" => format!("allow {action} to the role of this host"),
        "InvalidResourceId" | "InvalidInstanceId" => {
            "is this host managed? aws ssm describe-instance-information".to_owned()
        }
        _ => "look at `aws sts get-caller-identity` on this host".to_owned(),
    };
    // Not the SDK's own `DisplayErrorContext`, which shows the whole answer.
    let problem = Problem::from_error(error).within(format!("{action} failed")).with_hint(Some(hint));
    if FINAL.contains(&code) {
        Undelivered::Never(problem)
    } else {
        Undelivered::Later { problem, after: None }
    }
}

fn ended_at(report: &SessionReport) -> String {
    report.host.as_ref().map(HostFacts::last_seen_at).unwrap_or_default().to_owned()
}

fn compliance_item(report: &SessionReport) -> Result<ComplianceItemEntry, Undelivered> {
    let (status, severity) = match report.verdict {
        _ if !report.residue.is_empty() => (ComplianceStatus::NonCompliant, ComplianceSeverity::Critical),
        Some(Verdict::ApplicationConsistent) => {
            (ComplianceStatus::Compliant, ComplianceSeverity::Informational)
        }
        Some(Verdict::FilesystemConsistent) => (ComplianceStatus::NonCompliant, ComplianceSeverity::Medium),
        Some(Verdict::CrashConsistent) | None => (ComplianceStatus::NonCompliant, ComplianceSeverity::High),
    };
    let verdict = report.verdict.map(|verdict| verdict.to_string()).unwrap_or_default();
    ComplianceItemEntry::builder()
        .id(&report.group)
        .title(format!("Last snapshot of group {}: {verdict}", report.group))
        .status(status)
        .severity(severity)
        .set_details(Some(inventory_entry(report)))
        .build()
        .map_err(|error| never(&error))
}

/// What is told of a session in both calls.
fn inventory_entry(report: &SessionReport) -> HashMap<String, String> {
    let hooks: Vec<&str> = report.plan.hooks.iter().map(|hook| hook.name.as_str()).collect();
    let version = report.host.as_ref().map(|host| host.agent_version.clone()).unwrap_or_default();
    let entry = [
        ("Group", report.group.clone()),
        ("ExecutionId", report.execution_id.to_string()),
        ("Verdict", report.verdict.map(|verdict| verdict.to_string()).unwrap_or_default()),
        ("ExitCode", report.code.map(|code| code.number().to_string()).unwrap_or_default()),
        ("EndedAt", ended_at(report)),
        ("WindowMilliseconds", report.window().map(|time| time.as_millis().to_string()).unwrap_or_default()),
        ("Hooks", hooks.join(", ")),
        ("Volumes", report.plan.volume_ids().join(", ")),
        ("Reasons", report.reasons.join("; ")),
        ("AgentVersion", version),
    ];
    entry.into_iter().map(|(name, value)| (name.to_owned(), cut(value))).collect()
}

fn cut(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(LONGEST_VALUE));
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(group: &str, opened_at: &str) -> SessionReport {
        serde_json::from_value(json!({
            "version": 1, "execution_id": "None", "group": group, "verdict": "crash-consistent", "reasons": [],
            "ending": "post", "code": null, "plan": {"hooks": [], "filesystems": [], "outside": []}, "phases": [],
            "steps": [], "residue": [], "problems": [],
            "host": {"boot_id": "b", "agent_version": "0", "opened_at": opened_at},
        }))
        .unwrap()
    }

    #[test]
    fn of_each_group_the_last_counts_wherever_it_comes_from() {
        let [old, new] = ["2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"];
        // What is at hand stands last: once newer than the disk, once older, having waited for long.
        for all in [
            vec![report("a", old), report("b", old), report("a", new)],
            vec![report("a", new), report("b", old), report("a", old)],
        ] {
            let last = last_of_each_group(all);
            let told: Vec<_> = last.iter().map(|report| (report.group.as_str(), ended_at(report))).collect();
            assert_eq!(told, [("a", new.to_owned()), ("b", old.to_owned())]);
        }
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_between_characters() {
        assert_eq!(cut("ä".repeat(LONGEST_VALUE)).len(), LONGEST_VALUE);
        assert_eq!(cut("a".repeat(LONGEST_VALUE - 1) + "ä").len(), LONGEST_VALUE - 1);
    }
}
