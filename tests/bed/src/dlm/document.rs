//! A Command document, as far as the SSM agent reads it to run a shell step.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_norway::Value;

/// Why a document cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no YAML, or not shaped like a document.
    #[error("the document cannot be read: {0}")]
    Shape(#[from] serde_norway::Error),
    /// It has no step that runs a shell script.
    #[error("the document has no step aws:runShellScript")]
    NoShellStep,
    /// A parameter was sent that the document does not have.
    #[error("the document has no parameter {name}")]
    UnknownParameter {
        /// The name that was sent.
        name: String,
    },
}

/// A document that can be run.
#[derive(Clone, Debug)]
pub struct Document {
    script: String,
    defaults: BTreeMap<String, String>,
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    #[serde(default)]
    parameters: BTreeMap<String, Parameter>,
    main_steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Parameter {
    default: Option<Value>,
}

#[derive(Deserialize)]
struct Step {
    action: String,
    inputs: Value,
}

/// The agent falls back to this, silently, when the number is missing or out of range.
const DEFAULT_TIMEOUT: u64 = 3600;

impl Document {
    /// Reads the text of a document.
    ///
    /// # Errors
    /// When it is no document with a shell step.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let text: Text = serde_norway::from_str(text)?;
        let step = text.main_steps.iter().find(|step| step.action == "aws:runShellScript");
        let inputs = &step.ok_or(DocumentError::NoShellStep)?.inputs;
        let defaults = text
            .parameters
            .into_iter()
            .map(|(name, parameter)| (name, parameter.default.as_ref().and_then(scalar).unwrap_or_default()));
        Ok(Self {
            script: script(inputs),
            defaults: defaults.collect(),
            timeout: Duration::from_secs(timeout(inputs)),
        })
    }

    /// How long the script may run before its process group is killed.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The script as it will lie in `_script.sh`. Parameters are plain text: nothing is quoted, and the patterns of the
    /// document are not looked at, because only the service enforces them.
    ///
    /// # Errors
    /// When a parameter is unknown.
    pub fn script(&self, parameters: &[(&str, &str)]) -> Result<String, DocumentError> {
        let mut values = self.defaults.clone();
        for &(name, value) in parameters {
            let known = values.get_mut(name);
            value.clone_into(known.ok_or_else(|| DocumentError::UnknownParameter { name: name.to_owned() })?);
        }
        Ok(substitute(&self.script, |name| values.get(name).cloned()) + "\n")
    }
}

/// The commands of a shell step, one after another: `false` then `echo` succeeds, as there is no `set -e`.
pub(super) fn script(inputs: &Value) -> String {
    match inputs.get("runCommand") {
        Some(Value::Sequence(lines)) => lines.iter().filter_map(scalar).collect::<Vec<_>>().join("\n"),
        Some(other) => scalar(other).unwrap_or_default(),
        None => String::new(),
    }
}

/// `timeoutSeconds` as it is written, when it is a number.
pub(super) fn timeout_seconds(inputs: &Value) -> Option<u64> {
    scalar(inputs.get("timeoutSeconds")?)?.trim().parse().ok()
}

fn timeout(inputs: &Value) -> u64 {
    timeout_seconds(inputs).filter(|seconds| (5..=172_800).contains(seconds)).unwrap_or(DEFAULT_TIMEOUT)
}

pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// Replaces each `{{ name }}` that `value` knows; anything else stays as it is.
fn substitute(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = next_reference(rest) {
        result.push_str(before);
        match value(name) {
            Some(value) => result.push_str(&value),
            None => result.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    result + rest
}

/// What stands before the first `{{ … }}`, the name in it, and what stands after.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name.trim(), after))
}

/// The names of all parameters that a script refers to, in order.
pub(super) fn references(script: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = script;
    while let Some((_, name, after)) = next_reference(rest) {
        names.push(name.to_owned());
        rest = after;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
parameters: {command: {type: String, default: dry-run}, executionId: {type: String, default: None}}
mainSteps:
- action: aws:runShellScript
  inputs: {timeoutSeconds: 60, runCommand: ['echo {{command}}', 'echo {{ executionId }} {{other}} ${x}']}
";

    #[test]
    fn parameters_are_substituted_with_and_without_spaces_and_the_rest_stays() {
        let document = Document::parse(TEXT).unwrap();
        let script = document.script(&[("command", "pre-script")]).unwrap();
        assert_eq!(script, "echo pre-script\necho None {{other}} ${x}\n");
    }

    #[test]
    fn a_parameter_is_plain_text_that_the_shell_will_read() {
        let document = Document::parse(TEXT).unwrap();
        assert!(document.script(&[("command", "x; id")]).unwrap().starts_with("echo x; id\n"));
    }

    #[test]
    fn an_unknown_parameter_is_refused() {
        let document = Document::parse(TEXT).unwrap();
        let error = document.script(&[("commnad", "x")]).unwrap_err();
        assert_eq!(error.to_string(), "the document has no parameter commnad");
    }

    #[test]
    fn a_timeout_out_of_range_becomes_an_hour() {
        for (written, seconds) in [("60", 60), ("4", 3600), ("172801", 3600), ("'90'", 90), ("soon", 3600)] {
            let text = TEXT.replace("timeoutSeconds: 60", &format!("timeoutSeconds: {written}"));
            assert_eq!(Document::parse(&text).unwrap().timeout(), Duration::from_secs(seconds), "{written}");
        }
    }
}
