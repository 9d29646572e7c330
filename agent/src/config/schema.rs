//! The JSON schema of the configuration: published for editors, and what the merged tree is checked against.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;
use toml::de::DeValue;

use super::settings::Settings;

/// The JSON schema (draft 2020-12) of the whole configuration.
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(close))
        .with_transform(RecursiveTransform(name_durations))
        .into_generator()
        .into_root_schema_for::<Settings>()
        .to_value()
}

/// The format of the strings that are durations, such as `1m 30s`.
pub(super) const DURATION: &str = "humantime";

/// Says of every object with known keys that it has no others: a misspelt key is an error everywhere.
fn close(schema: &mut Schema) {
    if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// The crate of the hooks declares its durations as plain strings; every `timeout` there is one.
fn name_durations(schema: &mut Schema) {
    if let Some(Value::Object(timeout)) = schema.pointer_mut("/properties/timeout") {
        timeout.insert("format".to_owned(), Value::from(DURATION));
    }
}

/// The words of a schema that admits nothing else, each written as `const` or together as `enum`.
pub(super) fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::as_str).collect();
    }
    let branches = schema.get("oneOf").and_then(Value::as_array)?;
    branches.iter().map(words).collect::<Option<Vec<_>>>().map(|words| words.concat())
}

/// The name and schema of the only key that a table must have.
pub(super) fn only_property(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema.get("properties")?.as_object()?;
    let (name, inner) = properties.iter().next()?;
    (properties.len() == 1 && schema["required"][0] == name.as_str()).then_some((name.as_str(), inner))
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::Array(types)) => {
            types.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect()
        }
        Some(Value::String(name)) => vec![name],
        _ => Vec::new(),
    }
}

/// Whether a value is of a type that the schema admits. A string must also be one of its words.
pub(super) fn fits(schema: &Value, value: &DeValue<'_>) -> bool {
    let types = types(schema);
    let admits = |name| types.is_empty() || types.contains(&name);
    match value {
        DeValue::Table(_) => admits("object"),
        DeValue::Array(_) => admits("array"),
        DeValue::String(text) => {
            admits("string") && words(schema).is_none_or(|words| words.contains(&text.as_ref()))
        }
        DeValue::Integer(_) => admits("integer") || admits("number"),
        DeValue::Float(_) => admits("number"),
        DeValue::Boolean(_) => admits("boolean"),
        DeValue::Datetime(_) => types.is_empty(),
    }
}

/// What a schema admits, for people.
pub(super) fn expected(schema: &Value) -> String {
    if let Some(words) = words(schema) {
        return alternatives(&words, quote);
    }
    let names: Vec<&str> = types(schema)
        .into_iter()
        .map(|name| match name {
            "object" => "a table",
            "array" => "a list",
            "string" => "a string",
            "boolean" => "true or false",
            _ => "a number",
        })
        .collect();
    names.join(" or ")
}

/// What a value is, for people.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Table(_) => "a table",
        DeValue::Array(_) => "a list",
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
    }
}

/// A string as TOML writes it.
pub(super) fn quote(word: &str) -> String {
    format!("\"{word}\"")
}

/// The names as a choice between them.
pub(super) fn alternatives(names: &[&str], show: impl Fn(&str) -> String) -> String {
    let shown: Vec<String> = names.iter().map(|name| show(name)).collect();
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => shown.concat(),
    }
}
