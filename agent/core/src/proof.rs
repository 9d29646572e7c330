//! What shows that a hold was a hold: what hooks prove of their applications, and how long each filesystem stood still.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::BootTime;

/// Where an application stands, in its own terms: "WAL LSN" → "0/3000148". A restore begins from here.
pub type Positions = BTreeMap<String, String>;

/// What a hook says of its hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookProof {
    /// The hook.
    pub hook: String,
    /// Whether it has proved that it held.
    pub standing: Standing,
    /// What shows it, why it cannot be shown, or how the hold was lost.
    pub how: String,
    /// Where the application stood while it was held, as far as it tells.
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    pub positions: Positions,
}

/// How much a hook has proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It held all along.
    Proved,
    /// It did its part, but nothing shows that the application stayed still.
    Claimed,
    /// It did not hold, or nobody can say.
    Lost,
}

/// When a filesystem was known to be frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FrozenSpan {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// When its freeze had returned.
    pub from: BootTime,
    /// When its thaw began, which found it frozen; absent while it is frozen, or when somebody else had thawed it.
    pub until: Option<BootTime>,
    /// How many sectors of 512 bytes reached its devices between the last freeze and the first thaw: 0 is stillness. Absent when
    /// nothing counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sectors_written: Option<u64>,
}
