//! The bodies that go over the control socket.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use quiesced_core::exit::ExitCode;
use quiesced_core::id::ExecutionId;
use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;
use quiesced_core::report::{Ending, Phase, Residue, SessionReport};
use quiesced_core::session::{Answer, Status, Why};
use quiesced_core::time::BootTime;

use crate::config::Stamp;

/// `POST /v1/sessions`, `POST /v1/dry-run`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The id of the session.
    pub execution_id: ExecutionId,
    /// The consistency group.
    pub group: String,
}

/// The answer to every request that may hold or release something.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// What the command exits with: 0, or 201 to 206.
    pub code: u8,
    /// The code in words.
    pub meaning: String,
    /// Which rule decided, in one sentence.
    pub why: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What stands in the way; for a dry-run and for preflight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What preflight found and what does not stand in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Problem>,
    /// What would be held; for a dry-run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The session that the answer is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<SessionReport>>,
}

impl Reply {
    /// A reply that concerns no session.
    pub fn new(code: ExitCode, why: impl Into<String>) -> Self {
        Self {
            code: code.number(),
            meaning: code.meaning().to_owned(),
            why: why.into(),
            hint: None,
            problems: Vec::new(),
            warnings: Vec::new(),
            plan: None,
            report: None,
        }
    }

    /// The same reply with what stands in the way.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let mut reply = Self::new(answer.code, answer.why.to_string());
        reply.hint = hint(&answer.why, answer.report.as_deref());
        reply.problems = answer.report.as_ref().map(|report| report.problems.clone()).unwrap_or_default();
        reply.warnings = answer.report.as_ref().map(|report| report.warnings.clone()).unwrap_or_default();
        reply.report = answer.report;
        reply
    }
}

fn hint(why: &Why, report: Option<&SessionReport>) -> Option<String> {
    let ending = match why {
        Why::Ended(ending) => Some(*ending),
        _ => report.and_then(|report| report.ending),
    };
    let hint = match why {
        Why::SessionOpen(_) => "run `quiesced status` to see it; it ends with its post-script or its lease",
        Why::ResidueLeft(_) => "run `quiesced status` to see why, then `quiesced thaw --all` to try again",
        Why::LeaseTooShort => "call post-script for it, or wait until its lease has ended",
        Why::Stopping => "start it again with `systemctl start quiesced`",
        Why::NotHeldYet => "call post-script only after pre-script has exited with 0",
        Why::Ended(_) | Why::AlreadyThawed(_) => return ending.and_then(hint_after).map(str::to_owned),
        Why::Unknown { open: Some(_), .. } => "run `quiesced status` to see the session that is open",
        Why::Held
        | Why::StillHeld
        | Why::AlreadyPosted(_)
        | Why::NeverHeld(_)
        | Why::Unknown { open: None, .. }
        | Why::NothingHeld => return None,
    };
    Some(hint.to_owned())
}

/// What to do about a hold that ended too early.
const fn hint_after(ending: Ending) -> Option<&'static str> {
    match ending {
        Ending::LeaseEnded => Some("take the snapshot sooner, or raise `lease` in the [agent] table"),
        Ending::Lost => Some("see what became of the agent: `journalctl -u quiesced`"),
        Ending::BudgetEnded => {
            Some("raise `pre_script_budget` in the [agent] table, and the policy's script timeout with it")
        }
        _ => None,
    }
}

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StatusReply {
    /// The version of the agent.
    pub version: String,
    /// The process id of the agent.
    pub pid: u32,
    /// Whether the agent is stopping.
    pub stopping: bool,
    /// The open session.
    pub session: Option<OpenSession>,
    /// What earlier sessions could not release.
    pub residue: Vec<Residue>,
    /// The last session that ended.
    pub last: Option<Box<SessionReport>>,
    /// Where the settings in force come from.
    pub config: ConfigStatus,
}

/// What the agent knows of its configuration files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// What the directories held when they were read.
    pub stamp: Stamp,
    /// Why they could not be read again, if they could not: the earlier settings stay in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Problem>,
}

/// The session that is open.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OpenSession {
    /// Its id.
    pub execution_id: ExecutionId,
    /// Its consistency group.
    pub group: String,
    /// Where it stands.
    pub phase: Phase,
    /// How much of its lease is left, in milliseconds; absent while nothing is held.
    pub lease_left_ms: Option<u64>,
    /// Everything known of it so far.
    pub report: Box<SessionReport>,
}

impl StatusReply {
    /// What is told of `status` at `now`.
    pub fn new(
        status: Status,
        last: Option<Box<SessionReport>>,
        config: ConfigStatus,
        now: BootTime,
    ) -> Self {
        let session = status.session.map(|open| OpenSession {
            execution_id: open.id,
            group: open.group,
            phase: open.phase,
            lease_left_ms: open.lease_ends.map(|end| millis(end - now)),
            report: open.report,
        });
        Self {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            stopping: status.stopping,
            session,
            residue: status.residue,
            last,
            config,
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
