//! Stage three: *settings*, the configuration as the rest of the agent sees it.
//!
//! The doc comments of these types are the descriptions in `quiesced config schema`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use quiesced_hooks::server::PasswordSource;
use quiesced_hooks::settings::HookSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of the group that exists without being written.
pub const DEFAULT_GROUP: &str = "default";

/// The configuration of quiesced: everything that the files of `conf.d` may say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "quiesced")]
pub struct Settings {
    /// The agent itself.
    pub agent: AgentSettings,
    /// The agent's log files.
    pub log: LogSettings,
    /// What is kept and told of sessions.
    pub report: ReportSettings,
    /// Figures for Prometheus.
    pub metrics: MetricsSettings,
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// The hooks by name: one kind each, as in `[hook.orders.sqlite]`.
    pub hook: BTreeMap<String, HookSettings>,
    /// The consistency groups by name. `default` is present without being written.
    pub group: BTreeMap<String, GroupSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            agent: AgentSettings::default(),
            log: LogSettings::default(),
            report: ReportSettings::default(),
            metrics: MetricsSettings::default(),
            aws: AwsSettings::default(),
            hook: BTreeMap::new(),
            group: BTreeMap::from([(DEFAULT_GROUP.to_owned(), GroupSettings::default())]),
        }
    }
}

impl Settings {
    /// The consistency group of this name.
    pub fn group(&self, name: &str) -> Option<&GroupSettings> {
        self.group.get(name)
    }

    /// The hooks of a group, in the order of their names.
    pub fn hooks_of<'a>(
        &'a self,
        group: &'a GroupSettings,
    ) -> impl Iterator<Item = (&'a str, &'a HookSettings)> {
        self.hook
            .iter()
            .map(|(name, hook)| (name.as_str(), hook))
            .filter(|(name, _)| group.hooks.contains(name))
    }
}

/// `[agent]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The longest that a window may last: everything is released when it ends. From 1s to 10m.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "humantime"))]
    pub lease: Duration,
    /// How long pre-script may take. It must end before the policy's script timeout. From 1s to 100s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "humantime"))]
    pub pre_script_budget: Duration,
    /// The script timeout of the lifecycle policy: what is configured here is checked against it. From 10s to 120s.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "humantime"))]
    pub script_timeout: Duration,
    /// What happens to a pre-script that meets another one's session.
    pub on_conflict: OnConflict,
    /// Whether the filesystem of `/` may be frozen. SSM cannot run post-script while it is.
    pub allow_root: bool,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            pre_script_budget: Duration::from_secs(8),
            script_timeout: Duration::from_secs(10),
            on_conflict: OnConflict::Reject,
            allow_root: false,
        }
    }
}

/// What happens to a pre-script that meets another one's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// It is refused, and the running session is untouched.
    Reject,
    /// The running session is released first. For hosts with one policy, whose retry may carry a new id.
    Replace,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// The least important messages that are still logged.
    pub level: LogLevel,
    /// Where the daily log files lie; the agent's log directory when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// How many daily files are kept.
    #[schemars(range(min = 1, max = 3650))]
    pub keep: u32,
    /// How lines are written, to files and to standard error; the journal always gets fields.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object on each line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info, directory: None, keep: 14, format: LogFormat::Text }
    }
}

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something that was asked for did not happen.
    Error,
    /// Something that an operator should know.
    Warn,
    /// The course of each session.
    Info,
    /// The steps of each session.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The word for it in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `[report]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSettings {
    /// How many reports are kept: the oldest go first.
    #[schemars(range(min = 10, max = 10000))]
    pub keep: u32,
    /// How long reports are kept. At least 1h.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String", extend("format" = "humantime"))]
    pub keep_for: Duration,
    /// Whether each target gets a manifest, `.quiesced/session.json`, which is then part of the snapshot.
    pub manifest: bool,
    /// A coordinator that gets each report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
    /// Compliance and inventory of Systems Manager.
    pub ssm: SsmSettings,
}

/// `[report.ssm]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SsmSettings {
    /// Whether the last session of each group is told to Systems Manager.
    pub enabled: bool,
}

/// `[report.webhook]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Where reports are posted to: an https address. One with http only on this host itself.
    pub url: String,
    /// What both sides know, and each message is signed with.
    pub secret: PasswordSource,
    /// The certificates of the authorities that are trusted, as PEM; those of the system when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// How long an answer is waited for.
    #[serde(with = "humantime_serde", default = "WebhookSettings::timeout")]
    #[schemars(with = "String", extend("format" = "humantime"))]
    pub timeout: Duration,
}

impl WebhookSettings {
    const fn timeout() -> Duration {
        Duration::from_secs(10)
    }
}

impl Default for ReportSettings {
    fn default() -> Self {
        // A day of one snapshot every five minutes, or a year of one every second day.
        let year = Duration::from_secs(31_557_600);
        Self { keep: 288, keep_for: year, manifest: false, webhook: None, ssm: SsmSettings::default() }
    }
}

/// `[aws]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AwsSettings {
    /// The region; that of the environment or the metadata service when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The id of this host, `i-…` or `mi-…`; asked from the metadata service when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Where Systems Manager is, if it is reached through an endpoint of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Where figures are served beside the control socket: an address of the loopback interface with a port, such as
    /// "127.0.0.1:9464". In force from the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

impl MetricsSettings {
    /// The address, which the rules have found sound.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.as_ref()?.parse().ok()
    }
}

/// `[group.NAME]`: what must hold still together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupSettings {
    /// The hooks: a list of names, or `"all"`.
    pub hooks: HookSelection,
    /// The filesystems: a list of mount points, or `"auto"` for those that the hooks' data lies on.
    pub filesystems: FilesystemSelection,
    /// The EBS volumes that the snapshot will have; `quiesced plan` fails if anything of the group lies elsewhere.
    pub expect_volumes: Vec<String>,
}

/// The hooks of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WordOr<All, String>", into = "WordOr<All, String>")]
#[schemars(inline)]
pub enum HookSelection {
    /// Every hook there is.
    #[default]
    All,
    /// These.
    Named(Vec<String>),
}

impl HookSelection {
    /// Whether the hook of this name is selected.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|chosen| chosen == name),
        }
    }
}

/// The filesystems of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WordOr<Auto, PathBuf>", into = "WordOr<Auto, PathBuf>")]
#[schemars(inline)]
pub enum FilesystemSelection {
    /// Those that the hooks' data lies on.
    #[default]
    Auto,
    /// Those mounted here.
    Paths(Vec<PathBuf>),
}

/// How a selection is written: one word, or a list.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum WordOr<W, T> {
    Word(W),
    List(Vec<T>),
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum All {
    All,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Auto {
    Auto,
}

impl From<WordOr<All, String>> for HookSelection {
    fn from(written: WordOr<All, String>) -> Self {
        match written {
            WordOr::Word(All::All) => Self::All,
            WordOr::List(names) => Self::Named(names),
        }
    }
}

impl From<HookSelection> for WordOr<All, String> {
    fn from(selection: HookSelection) -> Self {
        match selection {
            HookSelection::All => Self::Word(All::All),
            HookSelection::Named(names) => Self::List(names),
        }
    }
}

impl From<WordOr<Auto, PathBuf>> for FilesystemSelection {
    fn from(written: WordOr<Auto, PathBuf>) -> Self {
        match written {
            WordOr::Word(Auto::Auto) => Self::Auto,
            WordOr::List(paths) => Self::Paths(paths),
        }
    }
}

impl From<FilesystemSelection> for WordOr<Auto, PathBuf> {
    fn from(selection: FilesystemSelection) -> Self {
        match selection {
            FilesystemSelection::Auto => Self::Word(Auto::Auto),
            FilesystemSelection::Paths(paths) => Self::List(paths),
        }
    }
}
