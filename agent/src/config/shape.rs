//! Compares the merged tree with the schema: known keys, types, words, ranges. Finds everything, not the first thing.
//!
//! It reads the part of JSON Schema that the settings' types produce. What the published schema accepts and what this
//! accepts is compared by a test with a complete validator, so a construct that is missing here does not stay unnoticed.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::Finding;
use super::origins::dotted;
use super::schema::{DURATION, alternatives, expected, fits, found, only_property, quote, words};
use super::texts::{Texts, nearest};

/// How a duration is written.
const DURATION_HINT: &str = "a number with a unit, in quotes, such as \"500ms\", \"8s\" or \"1m 30s\"";

/// Compares values with the parts of one schema.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) schema: &'a Value,
    pub(super) texts: &'a Texts,
    /// Whether every file is part of the tree. What is missing may otherwise stand in the file that is missing.
    pub(super) complete: bool,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Shape<'a> {
    /// The part of the schema that a JSON pointer names, references followed.
    pub(super) fn part(&self, pointer: &str) -> &'a Value {
        self.resolved(self.schema.pointer(pointer).unwrap_or(&Value::Null))
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|pointer| pointer.strip_prefix('#')) {
            Some(pointer) => self.part(pointer),
            None => schema,
        }
    }

    /// Compares what stands at `path` with a schema.
    pub(super) fn check(&mut self, schema: &'a Value, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(words) = words(schema) {
            return self.word(&words, value);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(branches) = schema.get(choice).and_then(Value::as_array) {
                return self.one_of(branches, value, path);
            }
        }
        if !fits(schema, value.get_ref()) {
            let message = format!("expected {}, found {}", expected(schema), found(value.get_ref()));
            let mut finding = self.texts.finding(value.span(), message);
            finding.hint = (schema["format"] == DURATION).then(|| DURATION_HINT.to_owned());
            return self.findings.push(finding);
        }
        match value.get_ref() {
            DeValue::Table(table) => self.table(schema, table, value, path),
            DeValue::Array(array) => {
                for (position, element) in array.iter().enumerate() {
                    self.inside(&position.to_string(), &schema["items"], element, path);
                }
            }
            DeValue::String(text) => self.text(schema, text, value),
            DeValue::Integer(_) => self.integer(schema, value),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn inside(
        &mut self,
        step: &str,
        schema: &'a Value,
        value: &Spanned<DeValue<'_>>,
        path: &mut Vec<String>,
    ) {
        path.push(step.to_owned());
        self.check(schema, value, path);
        path.pop();
    }

    fn add(&mut self, value: &Spanned<DeValue<'_>>, message: String) {
        self.findings.push(self.texts.finding(value.span(), message));
    }

    /// The branch that admits the type of the value. Tables that hold one key each are kinds of one thing.
    fn one_of(&mut self, branches: &'a [Value], value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) {
        let branches: Vec<&'a Value> = branches
            .iter()
            .map(|branch| self.resolved(branch))
            .filter(|branch| branch["type"] != "null")
            .collect();
        let kinds: Option<Vec<_>> = branches.iter().map(|branch| only_property(branch)).collect();
        if let (Some(kinds), DeValue::Table(table)) = (kinds, value.get_ref()) {
            return self.kind(&kinds, table, value, path);
        }
        match branches.iter().find(|branch| fits(branch, value.get_ref())) {
            Some(branch) => self.check(branch, value, path),
            None => self.no_branch(&branches, value),
        }
    }

    fn no_branch(&mut self, branches: &[&Value], value: &Spanned<DeValue<'_>>) {
        let mut expected: Vec<String> = branches.iter().map(|branch| expected(branch)).collect();
        expected.dedup();
        let expected = expected.join(" or ");
        let words: Vec<&str> = branches.iter().filter_map(|branch| words(branch)).flatten().collect();
        let Some(given) = value.get_ref().as_str().filter(|_| !words.is_empty()) else {
            return self.add(value, format!("expected {expected}, found {}", found(value.get_ref())));
        };
        let hint = match nearest(given, words) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("a list of one is written [{}]", toml::Value::from(given)),
        };
        self.findings.push(
            self.texts.finding(value.span(), format!("expected {expected}, found `{given}`")).hint(hint),
        );
    }

    /// A table with exactly one key, which says what kind of thing it is.
    fn kind(
        &mut self,
        kinds: &[(&'a str, &'a Value)],
        table: &DeTable<'_>,
        value: &Spanned<DeValue<'_>>,
        path: &mut Vec<String>,
    ) {
        let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
        let mut known = Vec::new();
        for (key, inner) in table {
            match kinds.iter().find(|(name, _)| *name == key.get_ref().as_ref()) {
                Some((_, schema)) => {
                    known.push(key);
                    self.inside(key.get_ref(), schema, inner, path);
                }
                None => {
                    let message = format!("`{}` is not a kind of {}", key.get_ref(), path[0]);
                    let hint = suggestion("kinds", key.get_ref(), &names);
                    self.findings.push(self.texts.finding(key.span(), message).hint(hint));
                }
            }
        }
        if let [one, other, ..] = known[..] {
            // The one that was written last is the one that somebody has just added.
            let (first, last) =
                if one.span().start < other.span().start { (one, other) } else { (other, one) };
            let message =
                format!("{} has two kinds, `{}` and `{}`", header(path), first.get_ref(), last.get_ref());
            let finding = self.texts.finding(last.span(), message);
            self.findings.push(finding.also(first.span(), "the other kind is written here"));
        } else if table.is_empty() && self.complete {
            let message = format!("{} says no kind", header(path));
            let hint = format!("write {}", alternatives(&names, |name| format!("[{}.{name}]", dotted(path))));
            self.findings.push(self.texts.finding(value.span(), message).hint(hint));
        }
    }

    fn table(
        &mut self,
        schema: &'a Value,
        table: &DeTable<'_>,
        value: &Spanned<DeValue<'_>>,
        path: &mut Vec<String>,
    ) {
        let properties = &schema["properties"];
        self.unknown_keys(schema, table, path);
        for (key, inner) in table {
            let further = schema.get("additionalProperties").filter(|further| further.is_object());
            if let Some(schema) = properties.get(key.get_ref().as_ref()).or(further) {
                self.inside(key.get_ref(), schema, inner, path);
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required.filter(|name| !table.contains_key(*name)) {
            if !self.complete {
                break;
            }
            self.add(value, format!("{} lacks the key `{name}`", header(path)));
        }
    }

    /// Reports the keys of a table that its schema does not know.
    pub(super) fn unknown_keys(&mut self, schema: &'a Value, table: &DeTable<'_>, path: &[String]) {
        if schema["additionalProperties"] != Value::Bool(false) {
            return;
        }
        let known: Vec<&str> =
            schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let message = match path {
                [] => format!("unknown table `{}`", key.get_ref()),
                _ => format!("unknown key `{}` in {}", key.get_ref(), header(path)),
            };
            let hint = suggestion("keys", key.get_ref(), &known);
            self.findings.push(self.texts.finding(key.span(), message).hint(hint));
        }
    }

    fn word(&mut self, words: &[&str], value: &Spanned<DeValue<'_>>) {
        let Some(given) = value.get_ref().as_str() else {
            let message =
                format!("expected {}, found {}", alternatives(words, quote), found(value.get_ref()));
            return self.add(value, message);
        };
        if !words.contains(&given) {
            let message = format!("`{given}` is not one of {}", alternatives(words, quote));
            let mut finding = self.texts.finding(value.span(), message);
            finding.hint =
                nearest(given, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            self.findings.push(finding);
        }
    }

    fn text(&mut self, schema: &Value, text: &str, value: &Spanned<DeValue<'_>>) {
        if schema["format"] == DURATION
            && let Err(error) = humantime::parse_duration(text)
        {
            let message = format!("`{text}` is not a duration: {error}");
            self.findings.push(self.texts.finding(value.span(), message).hint(DURATION_HINT));
        }
    }

    fn integer(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>) {
        let Some(written) = value.get_ref().as_integer() else { return };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
        if !number.is_some_and(|number| (least..=most).contains(&number)) {
            self.add(value, format!("expected a number from {least} to {most}, found {written}"));
        }
    }
}

/// What may have been meant instead of a name that nobody knows.
pub(super) fn suggestion(what: &str, given: &str, known: &[&str]) -> String {
    match nearest(given, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known {what}: {}", known.join(", ")),
    }
}

/// The header under which a table stands.
pub(super) fn header<S: AsRef<str>>(path: &[S]) -> String {
    format!("[{}]", dotted(path))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};
    use serde_json::json;

    use super::*;
    use crate::config::fragments::Fragments;
    use crate::config::merged::Merged;
    use crate::config::read;
    use crate::config::schema::schema;

    fn sound() -> Value {
        json!({
            "agent": { "lease": "20s", "on_conflict": "replace", "allow_root": true },
            "log": { "level": "warn", "directory": "/l", "keep": 3, "format": "json" },
            "aws": { "region": "eu-central-1", "endpoint": "https://x/" },
            "metrics": { "listen": "127.0.0.1:9464" },
            "report": {
                "keep": 30, "keep_for": "7d", "manifest": true,
                "ssm": { "enabled": true },
                "webhook": { "url": "https://x/", "secret": { "file": "/s" }, "timeout": "3s" },
            },
            "hook": {
                "a": { "exec": { "quiesce": ["/a"], "resume": ["/b"], "data": ["/d"], "user": "u" } },
                "b": { "session": { "command": ["/a"], "after": ["a"], "timeout": "3s" } },
                "c": { "sqlite": { "databases": ["/x"] } },
            },
            "group": { "default": { "hooks": "all", "filesystems": ["/m"] }, "g": { "hooks": ["a"] } },
        })
    }

    /// One change somewhere in a document: what is there is replaced or removed, or something is added.
    #[derive(Clone, Debug)]
    struct Change {
        at: Index,
        key: &'static str,
        value: Option<Value>,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let keys =
            ["lease", "leese", "exec", "sqlite", "hooks", "filesystems", "verify", "after", "keep", "x"];
        let values = [
            json!("auto"),
            json!("all"),
            json!("info"),
            json!("5s"),
            json!("/x"),
            json!(0),
            json!(7),
            json!(-1),
            json!(99_999),
            json!(1.5),
            json!(true),
            json!([]),
            json!(["a"]),
            json!([1]),
            json!([["a"]]),
            json!({}),
            json!({ "exec": {} }),
            json!({ "databases": ["/x"] }),
        ];
        let change =
            (any::<Index>(), select(keys.to_vec()), proptest::option::weighted(0.8, select(values.to_vec())));
        prop::collection::vec(change.prop_map(|(at, key, value)| Change { at, key, value }), 0..4)
    }

    /// The JSON pointers of everything in a document.
    fn pointers(value: &Value, here: &str, all: &mut Vec<String>) {
        all.push(here.to_owned());
        match value {
            Value::Object(table) => {
                table.iter().for_each(|(key, value)| pointers(value, &format!("{here}/{key}"), all));
            }
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(at, value)| pointers(value, &format!("{here}/{at}"), all));
            }
            _ => {}
        }
    }

    fn apply(document: &mut Value, change: Change) {
        let mut all = Vec::new();
        pointers(document, "", &mut all);
        let pointer = change.at.get(&all);
        match (document.pointer_mut(pointer), change.value) {
            (Some(Value::Object(table)), Some(value)) => drop(table.insert(change.key.to_owned(), value)),
            (Some(Value::Object(table)), None) => drop(table.remove(change.key)),
            (Some(other), Some(value)) => *other = value,
            (_, None) | (None, _) => {}
        }
    }

    proptest! {
        #[test]
        fn what_the_published_schema_accepts_is_what_is_accepted(changes in changes()) {
            let schema = schema();
            let mut document = sound();
            changes.into_iter().for_each(|change| apply(&mut document, change));

            let mut fragments = Fragments::default();
            fragments.add("a.toml".into(), toml::to_string(&document).unwrap().as_bytes());
            let mut findings = Vec::new();
            let merged = Merged::of(fragments.parse(&mut findings));
            let shape = read::draft(&merged, &fragments.texts, &schema, true).1;

            let published = jsonschema::draft202012::options()
                .with_format(DURATION, |text: &str| humantime::parse_duration(text).is_ok())
                .should_validate_formats(true)
                .build(&schema)
                .unwrap()
                .is_valid(&document);
            prop_assert_eq!(published, shape.is_empty(), "{:#?} in {:#}", shape, document);
        }
    }
}
