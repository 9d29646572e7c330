//! The documents say what the product does: every TOML block loads, every command exists, every link leads somewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use quiesced::config::{Sources, load};

/// Beside everything below `docs`.
const DOCUMENTS: [&str; 4] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Every document, by its path from the root.
fn documents() -> Vec<String> {
    let mut found: Vec<String> = DOCUMENTS.map(str::to_owned).into();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.display().to_string());
            }
        }
    }
    assert!(found.len() > DOCUMENTS.len(), "docs has no page any more");
    found
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let parts = text.split(open.as_str()).skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn check_config(name: &str, text: &str) {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("conf.d");
    fs::create_dir(&conf).unwrap();
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o755)).unwrap();
    let file = conf.join("10.toml");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    if let Err(errors) = load(&Sources::below(directory.path())) {
        panic!("{name}:\n{errors}");
    }
}

#[test]
fn every_toml_block_loads() {
    let mut seen = 0;
    for name in documents() {
        for block in blocks(&read(&name), "toml") {
            check_config(&name, &block);
            seen += 1;
        }
    }
    assert!(seen > 0, "README shows no configuration any more");
}

#[test]
fn the_shipped_example_loads_when_its_comment_signs_are_taken_off() {
    let text = read("packaging/conf.d/50-hooks.toml.example");
    let is_setting = |line: &&str| line.starts_with('[') || line.contains(" = ");
    let lines: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# ")).filter(is_setting).collect();
    assert!(lines.iter().filter(|line| line.starts_with("[hook.")).count() >= 3);
    check_config("50-hooks.toml.example", &lines.join("\n"));
}

#[test]
fn every_command_of_ours_exists_with_its_options() {
    let mut seen = 0;
    for line in documents()
        .iter()
        .flat_map(|name| blocks(&read(name), "sh"))
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["quiesced", arguments @ ..] = &words[..] else { continue };
        let output =
            Command::new(env!("CARGO_BIN_EXE_quiesced")).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        seen += 1;
    }
    assert!(seen > 5, "README shows no commands any more");
}

#[test]
fn every_script_that_is_named_is_there_and_may_be_run() {
    for name in documents() {
        for line in blocks(&read(&name), "sh").iter().flat_map(|block| block.lines()) {
            if let Some(script) = line.split_whitespace().next().filter(|word| word.starts_with("scripts/")) {
                let mode =
                    fs::metadata(root().join(script)).unwrap_or_else(|error| panic!("{script}: {error}"));
                assert!(mode.permissions().mode() & 0o111 != 0, "{script} may not be run");
            }
        }
    }
}

#[test]
fn every_link_and_every_path_in_backticks_leads_somewhere() {
    let known = ["agent/", "tests/", "scripts/", "packaging/"];
    for name in documents() {
        let text = read(&name);
        let links = text.split("](").skip(1).filter_map(|part| part.split(')').next());
        let spans =
            text.split('`').skip(1).step_by(2).filter(|span| known.iter().any(|at| span.starts_with(at)));
        // A link starts at the document, a path in backticks at the top.
        let beside = root().join(&name).parent().unwrap().to_owned();
        let places = links.map(|link| (link, beside.clone())).chain(spans.map(|span| (span, root())));
        for (target, from) in places.filter(|(target, _)| !target.starts_with("http")) {
            let path = target.split([' ', '#']).next().unwrap_or_default();
            assert!(from.join(path).exists(), "{name} names {target}, which is not there");
        }
    }
}

#[test]
fn every_sample_has_a_page_that_shows_its_hook_and_stands_in_the_index() {
    let index = read("docs/hooks/README.md");
    let mut seen = 0;
    for entry in fs::read_dir(root().join("scripts/hooks")).unwrap() {
        let script = entry.unwrap().file_name().into_string().unwrap();
        let Some(engine) = script.strip_suffix(".sh") else { continue };
        if ["common", "session-sample"].contains(&engine) {
            continue;
        }
        let page = read(&format!("docs/hooks/{engine}.md"));
        let hooks = blocks(&page, "toml").concat();
        assert!(hooks.contains(&format!("/usr/local/libexec/quiesced/{script}")), "{engine} shows no hook");
        for part in ["## User", "## Restore", "## Tested", "Sources: "] {
            assert!(page.contains(part), "{part} is missing for {engine}");
        }
        assert!(index.contains(&format!("({engine}.md)")), "{engine} is not in the index");
        seen += 1;
    }
    assert!(seen >= 10, "the samples have gone");
}

#[test]
fn the_table_of_exit_codes_is_complete() {
    let readme = read("README.md");
    for code in quiesced_core::exit::ExitCode::ALL {
        assert!(readme.contains(&format!("| {} |", code.number())), "{code:?} is missing in README");
    }
}
