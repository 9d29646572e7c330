//! The validator finds each breach of the lifecycle manager's contract, and no other.

use quiesced_bed::dlm::contract::{Violation, validate_document};

const DOCUMENT: &str = include_str!("data/document.yaml");

/// The document with one place changed.
fn with(from: &str, to: &str) -> Vec<Violation> {
    assert!(DOCUMENT.contains(from), "the document has no {from}");
    validate_document(&DOCUMENT.replacen(from, to, 1))
}

#[test]
fn a_document_that_keeps_every_clause_has_no_violation() {
    assert_eq!(validate_document(DOCUMENT), []);
}

#[test]
fn a_text_that_is_no_mapping_is_no_document() {
    for text in ["", "- a", "{", "text"] {
        assert!(matches!(validate_document(text).as_slice(), [Violation::NoDocument(_)]), "{text}");
    }
}

#[test]
fn the_schema_version_is_the_text_2_2() {
    for version in ["'1.2'", "2.2", "'2.20'"] {
        let found = with("'2.2'", version);
        assert!(matches!(found.as_slice(), [Violation::SchemaVersion(_)]), "{version}: {found:?}");
    }
}

#[test]
fn a_renamed_parameter_is_missing_extra_and_unknown() {
    let found = validate_document(&DOCUMENT.replace("executionId", "executionID"));
    assert_eq!(
        found,
        [
            Violation::ExtraParameter("executionID".to_owned()),
            Violation::MissingParameter("executionId"),
            Violation::UnusedParameter("executionId"),
            Violation::UnknownReference("executionID".to_owned()),
        ]
    );
}

#[test]
fn a_third_parameter_is_extra() {
    let found = with("  command:\n", "  group:\n    type: String\n  command:\n");
    assert_eq!(found, [Violation::ExtraParameter("group".to_owned())]);
}

#[test]
fn a_parameter_of_another_type_is_found() {
    let found = with("type: String", "type: StringList");
    assert_eq!(found, [Violation::ParameterType("executionId", "StringList".to_owned())]);
}

#[test]
fn each_default_is_compared() {
    let found = with("default: None", "default: none");
    assert_eq!(found, [Violation::Default("executionId", "none".to_owned(), "None")]);
    let found = with("    default: dry-run\n", "");
    assert_eq!(found, [Violation::Default("command", "missing".to_owned(), "dry-run")]);
}

#[test]
fn the_pattern_is_compared_character_for_character() {
    for (from, to) in [("^(None|", "^("), ("{12})$", "{12})"), ("a-fA-F0-9]{8}", "a-f0-9]{8}")] {
        let found = with(from, to);
        assert!(matches!(found.as_slice(), [Violation::Pattern(_)]), "{to}: {found:?}");
    }
}

#[test]
fn every_allowed_value_is_needed_and_no_other() {
    for values in ["[pre-script, post-script]", "[pre-script, post-script, dry-run, status]", "[]"] {
        let found = with("[pre-script, post-script, dry-run]", values);
        assert!(matches!(found.as_slice(), [Violation::AllowedValues(_)]), "{values}: {found:?}");
    }
}

#[test]
fn the_order_of_the_allowed_values_is_free() {
    assert_eq!(with("[pre-script, post-script, dry-run]", "[dry-run, pre-script, post-script]"), []);
}

#[test]
fn there_is_exactly_one_step() {
    let second = "  - action: aws:runShellScript\n    name: second\n";
    assert_eq!(validate_document(&format!("{DOCUMENT}{second}")), [Violation::Steps(2)]);
    let none = DOCUMENT.split("mainSteps:").next().unwrap();
    assert_eq!(validate_document(none), [Violation::Steps(0)]);
}

#[test]
fn the_step_runs_a_shell_script() {
    let found = with("aws:runShellScript", "aws:runPowerShellScript");
    assert_eq!(found, [Violation::Action("aws:runPowerShellScript".to_owned())]);
}

#[test]
fn the_step_runs_on_linux_only() {
    assert_eq!(with("[platformType, Linux]", "[platformType, Windows]"), [Violation::Precondition]);
    assert_eq!(with("StringEquals", "StringNotEquals"), [Violation::Precondition]);
    assert_eq!(
        with("    precondition:\n      StringEquals: [platformType, Linux]\n", ""),
        [Violation::Precondition]
    );
}

#[test]
fn the_timeout_is_written_and_in_range() {
    for (timeout, accepted) in
        [("4", false), ("5", true), ("172800", true), ("172801", false), ("soon", false)]
    {
        let found = with("timeoutSeconds: 120", &format!("timeoutSeconds: {timeout}"));
        assert_eq!(found.is_empty(), accepted, "{timeout}: {found:?}");
    }
    let found = with("      timeoutSeconds: 120\n", "");
    assert_eq!(found, [Violation::Timeout("missing".to_owned())]);
}

#[test]
fn both_parameters_are_used_in_the_script_and_nothing_else() {
    let found = with(" --execution-id {{executionId}}", "");
    assert_eq!(found, [Violation::UnusedParameter("executionId")]);
    let found = with("exec quiesced", "exec quiesced --region {{ region }}");
    assert_eq!(found, [Violation::UnknownReference("region".to_owned())]);
    let found = with("- exec quiesced {{ command }} --execution-id {{executionId}}", "- ''");
    assert_eq!(found, [Violation::EmptyScript]);
}

#[test]
fn the_document_of_the_product_keeps_the_contract() {
    assert_eq!(validate_document(include_str!("../../../../scripts/ssm/quiesced.yaml")), []);
}
