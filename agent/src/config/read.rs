//! Into stage three: turns the merged tree into settings.
//!
//! Each table is read for itself and without the entries that are wrong, so that one mistake hides no other.

use std::collections::BTreeMap;
use std::ops::Range;

use quiesced_hooks::settings::HookSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeValue, ValueDeserializer};

use super::errors::Finding;
use super::merged::Merged;
use super::settings::{
    AgentSettings, AwsSettings, DEFAULT_GROUP, GroupSettings, LogSettings, MetricsSettings, ReportSettings,
    Settings,
};
use super::shape::Shape;
use super::texts::Texts;
use super::{rules, schema::schema};

/// What has the right shape. A table that says nothing which can be relied upon is `None`.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) agent: Option<AgentSettings>,
    pub(super) log: Option<LogSettings>,
    pub(super) report: Option<ReportSettings>,
    pub(super) metrics: Option<MetricsSettings>,
    pub(super) aws: Option<AwsSettings>,
    pub(super) hook: BTreeMap<String, Option<HookSettings>>,
    pub(super) group: BTreeMap<String, Option<GroupSettings>>,
}

/// The settings, if every table can be read; they are only good when there are no findings.
pub(super) fn settings(merged: &Merged<'_>, texts: &Texts, findings: &mut Vec<Finding>) -> Option<Settings> {
    let complete = findings.is_empty();
    let (draft, mut misshapen) = draft(merged, texts, &schema(), complete);
    findings.append(&mut misshapen);
    if complete {
        rules::check(&draft, merged, texts, findings);
    }
    draft.finished()
}

/// What has the right shape, and what is wrong with the rest.
pub(super) fn draft(
    merged: &Merged<'_>,
    texts: &Texts,
    schema: &Value,
    complete: bool,
) -> (Draft, Vec<Finding>) {
    let mut reader = Reader { merged, shape: Shape { schema, texts, complete, findings: Vec::new() } };
    (reader.draft(), reader.shape.findings)
}

struct Reader<'s, 't> {
    merged: &'t Merged<'t>,
    shape: Shape<'s>,
}

impl Reader<'_, '_> {
    fn draft(&mut self) -> Draft {
        let root = self.shape.part("");
        self.shape.unknown_keys(root, &self.merged.root, &[]);
        let mut group = self.tables("group");
        group.entry(DEFAULT_GROUP.to_owned()).or_insert_with(|| Some(GroupSettings::default()));
        Draft {
            agent: self.table("agent"),
            log: self.table("log"),
            report: self.table("report"),
            metrics: self.table("metrics"),
            aws: self.table("aws"),
            hook: self.tables("hook"),
            group,
        }
    }

    /// A table of the root; the default when it is not written.
    fn table<T: DeserializeOwned + Default>(&mut self, name: &str) -> Option<T> {
        match self.merged.get(&[name]) {
            Some(_) => self.read(&[name], &format!("/properties/{name}")),
            None => Some(T::default()),
        }
    }

    /// The tables within a table of the root.
    fn tables<T: DeserializeOwned>(&mut self, table: &str) -> BTreeMap<String, Option<T>> {
        let pointer = format!("/properties/{table}");
        if let Some(entry) = self.merged.get(&[table]).filter(|entry| !entry.value.get_ref().is_table()) {
            self.shape.check(self.shape.part(&pointer), entry.value, &mut vec![table.to_owned()]);
        }
        let pointer = format!("{pointer}/additionalProperties");
        let names = self.merged.names(table);
        names.into_iter().map(|name| (name.to_owned(), self.read(&[table, name], &pointer))).collect()
    }

    /// A table of any shape that serde can read; its mistakes become findings.
    fn read<T: DeserializeOwned>(&mut self, path: &[&str], pointer: &str) -> Option<T> {
        let entry = self.merged.get(path)?;
        let before = self.shape.findings.len();
        let mut steps = path.iter().map(ToString::to_string).collect();
        self.shape.check(self.shape.part(pointer), entry.value, &mut steps);
        let faults = &self.shape.findings[before..];
        // A default in the place of a lease that cannot be read would make sound timeouts look wrong.
        if !faults.is_empty() && path == ["agent"] {
            return None;
        }
        let sound = without(entry.value.clone(), faults);
        match T::deserialize(ValueDeserializer::from(sound)) {
            Ok(table) => Some(table),
            Err(error) => {
                if faults.is_empty() && self.shape.complete {
                    let span = error.span().unwrap_or_else(|| entry.key.clone());
                    self.shape.findings.push(self.shape.texts.finding(span, error.message()));
                }
                None
            }
        }
    }
}

/// The value without the entries that something is wrong with, so that the others can still be tried by the rules.
fn without<'a>(value: Spanned<DeValue<'a>>, faults: &[Finding]) -> Spanned<DeValue<'a>> {
    let span = value.span();
    let faulty = |span: Range<usize>| {
        faults.iter().filter_map(|fault| fault.span.as_ref()).any(|fault| span.contains(&fault.start))
    };
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .filter(|(key, value)| {
                    !faulty(key.span()) && (value.get_ref().is_table() || !faulty(value.span()))
                })
                .map(|(key, value)| (key, without(value, faults)))
                .collect(),
        ),
        other => other,
    };
    Spanned::new(span, value)
}

impl Draft {
    fn finished(self) -> Option<Settings> {
        Some(Settings {
            agent: self.agent?,
            log: self.log?,
            report: self.report?,
            metrics: self.metrics?,
            aws: self.aws?,
            hook: all(self.hook)?,
            group: all(self.group)?,
        })
    }
}

fn all<T>(tables: BTreeMap<String, Option<T>>) -> Option<BTreeMap<String, T>> {
    tables.into_iter().map(|(name, table)| table.map(|table| (name, table))).collect()
}
