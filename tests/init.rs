//! A first configuration, from what runs on this host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::binary;
use quiesced_bed::servers::Redis;
use serde_json::Value;

fn init(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .arg("init")
        .args(more)
        .arg("--config-dir")
        .arg(config)
        .arg("--runtime-dir")
        .arg("/dev/shm/quiesced-no-agent")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn files(config: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(config.join("conf.d")) else { return Vec::new() };
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(path).unwrap());
    let mut files: Vec<_> = entries.map(|entry| read(entry.unwrap().path())).collect();
    files.sort();
    files
}

#[test]
fn a_running_server_gets_a_file_once_and_a_file_of_somebodys_is_left_alone() {
    let server = Redis::new(None, &["--appendonly", "yes"]).unwrap_or_else(|error| panic!("{error}"));
    let config = tempfile::tempdir().unwrap();
    let socket = server.socket().display().to_string();

    let (code, shown) = init(config.path(), &["--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let texts: Vec<&str> =
        shown.as_array().unwrap().iter().filter_map(|file| file["text"].as_str()).collect();
    assert!(texts.iter().any(|text| text.contains(&socket)), "{shown}");
    assert_eq!(files(config.path()), [], "a dry run writes nothing");

    let (code, told) = init(config.path(), &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("group default"), "the plan that results is shown:\n{told}");
    let written = files(config.path());
    let own = written.iter().find(|(_, text)| text.contains(&socket)).expect("the server has a file");

    let changed = own.1.replace("# ", "#  ");
    fs::write(&own.0, &changed).unwrap();
    let (_, again) = init(config.path(), &[]);
    assert!(!again.contains(&format!("written: {}", own.0)), "{again}");
    assert_eq!(fs::read_to_string(&own.0).unwrap(), changed);
}

#[test]
fn a_configuration_with_errors_is_not_added_to() {
    let config = tempfile::tempdir().unwrap();
    fs::create_dir(config.path().join("conf.d")).unwrap();
    fs::write(config.path().join("conf.d/10.toml"), "[agent]\nleese = \"30s\"\n").unwrap();
    let (code, told) = init(config.path(), &[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("did you mean `lease`?"), "{told}");
    assert_eq!(files(config.path()).len(), 1);
}
