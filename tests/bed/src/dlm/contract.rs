//! What the lifecycle manager demands of a document, clause by clause.

use serde_norway::{Mapping, Value};

use super::document::{references, scalar, script, timeout_seconds};

/// The pattern of `executionId`, character for character.
pub const EXECUTION_ID_PATTERN: &str =
    "^(None|[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12})$";
/// The values of `command`. When one is missing, the lifecycle manager treats the run as failed.
pub const COMMANDS: [&str; 3] = ["pre-script", "post-script", "dry-run"];

/// One way in which a document breaks the contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The text is no YAML mapping.
    #[error("the document is no YAML mapping: {0}")]
    NoDocument(String),
    /// `schemaVersion` is something else than the text `2.2`.
    #[error("schemaVersion is {0}, not '2.2'")]
    SchemaVersion(String),
    /// A parameter is missing.
    #[error("parameter {0} is missing")]
    MissingParameter(&'static str),
    /// There is a parameter that the lifecycle manager does not send.
    #[error("parameter {0} is not one of executionId and command")]
    ExtraParameter(String),
    /// A parameter's type is something else than `String`.
    #[error("parameter {0} is of type {1}, not String")]
    ParameterType(&'static str, String),
    /// A parameter's default is another.
    #[error("parameter {0} has the default {1}, not {2}")]
    Default(&'static str, String, &'static str),
    /// The pattern of `executionId` is another.
    #[error("the allowedPattern of executionId is {0}")]
    Pattern(String),
    /// The allowed values of `command` are others.
    #[error("the allowedValues of command are [{0}]")]
    AllowedValues(String),
    /// There is not exactly one step.
    #[error("there are {0} steps, not one")]
    Steps(usize),
    /// The step does something else than to run a shell script.
    #[error("the action is {0}, not aws:runShellScript")]
    Action(String),
    /// The step would also run on something else than Linux.
    #[error("the precondition is not StringEquals: [platformType, Linux]")]
    Precondition,
    /// The timeout is missing or out of range, which silently means an hour.
    #[error("timeoutSeconds is {0}, not a number in 5..172800")]
    Timeout(String),
    /// There is no script.
    #[error("runCommand is empty")]
    EmptyScript,
    /// The script does not use a parameter.
    #[error("the script does not use the parameter {0}")]
    UnusedParameter(&'static str),
    /// The script refers to something that is no parameter.
    #[error("the script refers to {{{{{0}}}}}, which is no parameter")]
    UnknownReference(String),
}

/// Checks the text of a document against the contract; empty when it keeps every clause.
pub fn validate_document(text: &str) -> Vec<Violation> {
    let document = match serde_norway::from_str::<Value>(text) {
        Err(error) => return vec![Violation::NoDocument(error.to_string())],
        Ok(document) if !document.is_mapping() => return vec![Violation::NoDocument(shown(Some(&document)))],
        Ok(document) => document,
    };
    let mut found = Vec::new();
    // An unquoted 2.2 is a number, which SSM refuses: so the value itself is compared, not its text.
    if document.get("schemaVersion").and_then(Value::as_str) != Some("2.2") {
        found.push(Violation::SchemaVersion(shown(document.get("schemaVersion"))));
    }
    parameters(document.get("parameters"), &mut found);
    steps(document.get("mainSteps"), &mut found);
    found
}

fn parameters(value: Option<&Value>, found: &mut Vec<Violation>) {
    let empty = Mapping::new();
    let all = value.and_then(Value::as_mapping).unwrap_or(&empty);
    for name in all.keys().map(|name| shown(Some(name))) {
        if !["executionId", "command"].contains(&name.as_str()) {
            found.push(Violation::ExtraParameter(name));
        }
    }
    if let Some(id) = parameter(all, "executionId", "None", found) {
        let pattern = shown(id.get("allowedPattern"));
        if pattern != EXECUTION_ID_PATTERN {
            found.push(Violation::Pattern(pattern));
        }
    }
    if let Some(command) = parameter(all, "command", "dry-run", found) {
        let mut values = texts(command.get("allowedValues"));
        values.sort();
        let mut expected = COMMANDS;
        expected.sort_unstable();
        if values != expected {
            found.push(Violation::AllowedValues(values.join(", ")));
        }
    }
}

/// What both parameters have in common.
fn parameter<'a>(
    all: &'a Mapping,
    name: &'static str,
    default: &'static str,
    found: &mut Vec<Violation>,
) -> Option<&'a Value> {
    let Some(parameter) = all.get(name) else {
        found.push(Violation::MissingParameter(name));
        return None;
    };
    let (kind, written) = (shown(parameter.get("type")), shown(parameter.get("default")));
    if kind != "String" {
        found.push(Violation::ParameterType(name, kind));
    }
    if written != default {
        found.push(Violation::Default(name, written, default));
    }
    Some(parameter)
}

fn steps(value: Option<&Value>, found: &mut Vec<Violation>) {
    let steps = value.and_then(Value::as_sequence).map(Vec::as_slice).unwrap_or_default();
    let [step] = steps else {
        found.push(Violation::Steps(steps.len()));
        return;
    };
    let action = shown(step.get("action"));
    if action != "aws:runShellScript" {
        found.push(Violation::Action(action));
    }
    let condition = step.get("precondition").and_then(Value::as_mapping);
    let only_linux = condition.is_some_and(|condition| {
        condition.len() == 1 && texts(condition.get("StringEquals")) == ["platformType", "Linux"]
    });
    if !only_linux {
        found.push(Violation::Precondition);
    }
    inputs(step.get("inputs").unwrap_or(&Value::Null), found);
}

fn inputs(inputs: &Value, found: &mut Vec<Violation>) {
    if !timeout_seconds(inputs).is_some_and(|seconds| (5..=172_800).contains(&seconds)) {
        found.push(Violation::Timeout(shown(inputs.get("timeoutSeconds"))));
    }
    let script = script(inputs);
    if script.trim().is_empty() {
        found.push(Violation::EmptyScript);
        return;
    }
    let used = references(&script);
    for name in ["executionId", "command"] {
        if !used.iter().any(|reference| reference == name) {
            found.push(Violation::UnusedParameter(name));
        }
    }
    let unknown = used.into_iter().filter(|name| !["executionId", "command"].contains(&name.as_str()));
    found.extend(unknown.map(Violation::UnknownReference));
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_sequence).map(Vec::as_slice).unwrap_or_default();
    values.iter().map(|value| shown(Some(value))).collect()
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "missing".to_owned(),
        Some(value) => scalar(value).unwrap_or_else(|| "not a plain value".to_owned()),
    }
}
