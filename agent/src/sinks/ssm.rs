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
use aws_sdk_ssm::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::primitives::DateTime;
use aws_sdk_ssm::types::{
    ComplianceExecutionSummary, ComplianceItemEntry, ComplianceSeverity, ComplianceStatus,
    ComplianceUploadType, InventoryItem,
};

use quiesced_core::problem::Problem;
use quiesced_core::report::SessionReport;
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

    /// The last session of each group, by the reports on disk and the one at hand.
    fn last(&self, report: SessionReport) -> Vec<SessionReport> {
        // A disk that cannot be read has no more to tell than the report itself.
        let on_disk = store::ended_on_disk(&self.sessions).unwrap_or_default();
        let mut last: BTreeMap<String, SessionReport> = BTreeMap::from([(report.group.clone(), report)]);
        last.extend(on_disk.into_iter().map(|report| (report.group.clone(), report)));
        last.into_values().collect()
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
        let last = self.last(report);
        self.put_compliance(&last).await?;
        self.put_inventory(&last).await
    }
}

fn never(error: &dyn std::error::Error) -> Undelivered {
    Undelivered::Never(Problem::from_error(error).within("the session cannot be told to Systems Manager"))
}

fn undelivered<E, R>(action: &str, error: &SdkError<E, R>) -> Undelivered
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let code = error.code().unwrap_or_default();
    let hint = match code {
        "AccessDeniedException" => format!("allow {action} to the role of this host"),
        "InvalidResourceId" | "InvalidInstanceId" => {
            "is this host managed? aws ssm describe-instance-information".to_owned()
        }
        _ => "look at `aws sts get-caller-identity` on this host".to_owned(),
    };
    let problem = Problem::new(DisplayErrorContext(error).to_string())
        .within(format!("{action} failed"))
        .with_hint(Some(hint));
    if FINAL.contains(&code) {
        Undelivered::Never(problem)
    } else {
        Undelivered::Later { problem, after: None }
    }
}

fn ended_at(report: &SessionReport) -> String {
    let host = report.host.as_ref();
    host.map(|host| host.ended_at.clone().unwrap_or_else(|| host.opened_at.clone())).unwrap_or_default()
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
