//! The published schema, and the example that it must accept.

use quiesced::config::{Settings, schema};
use serde_json::{Value, json};

use crate::support::Host;

const EXAMPLE: &str = include_str!("../data/config/example.toml");

fn accepts(document: &Value) -> bool {
    jsonschema::draft202012::new(&schema()).unwrap().is_valid(document)
}

#[test]
fn the_schema_is_one_of_draft_2020_12() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
}

#[test]
fn the_example_is_accepted_by_the_schema_and_by_the_agent() {
    assert!(accepts(&toml::from_str(EXAMPLE).unwrap()));
    let settings = Host::with(EXAMPLE).settings();
    assert_eq!(settings.hook.keys().collect::<Vec<_>>(), ["ledger", "queue", "search"]);
}

#[test]
fn what_the_agent_shows_is_accepted_by_the_schema() {
    assert!(accepts(&json!(Settings::default())));
    assert!(accepts(&json!(Host::with(EXAMPLE).settings())));
}

#[test]
fn the_schema_accepts_no_unknown_key() {
    assert!(!accepts(&json!({ "agnt": {} })));
    assert!(!accepts(&json!({ "agent": { "leese": "30s" } })));
    assert!(!accepts(&json!({ "hook": { "a": { "sqlite": { "databases": ["/a"], "tiemout": "3s" } } } })));
}

#[test]
fn every_key_has_a_description() {
    let schema = schema();
    let mut missing = Vec::new();
    undescribed(&schema, "", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

fn undescribed(schema: &Value, here: &str, missing: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        // The key of a kind of hook is described where the kind is.
        if inner["description"].is_null() && schema["description"].is_null() && inner["$ref"].is_null() {
            missing.push(format!("{here}/{name}"));
        }
    }
    for (name, inner) in schema["$defs"].as_object().into_iter().flatten() {
        undescribed(inner, &format!("{here}/{name}"), missing);
    }
}
