//! Where the data lies.

use std::fs;
use std::path::PathBuf;

use quiesced_bed::tool::Tool;

use super::*;

/// A directory that the server may write to.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    Tool::new("chown").arg("mysql").arg(directory.path()).run().unwrap();
    let path = directory.path().to_owned();
    (directory, path)
}

async fn whats(server: &Mysql) -> Vec<(String, PathBuf)> {
    let found = inspected(settings(server)).await.unwrap().data_paths;
    assert!(found.iter().all(|data| data.path.exists()), "{found:?}");
    found.into_iter().map(|data| (data.what, data.path)).collect()
}

#[tokio::test]
async fn the_data_lies_where_the_server_says() {
    if !require_mysql("a server") {
        return;
    }
    let (_keep, elsewhere) = folder();
    let options = [
        format!("--innodb-doublewrite-dir={}", elsewhere.join("dblwr").display()),
        format!("--innodb-directories={}", elsewhere.display()),
        format!("--log-bin-index={}", elsewhere.join("index").display()),
    ];
    let server = server(&options.each_ref().map(String::as_str));
    server
        .sql(&format!(
            "CREATE TABLESPACE s ADD DATAFILE '{0}/s.ibd'; CREATE TABLE d.x (n INT) DATA DIRECTORY '{0}'",
            elsewhere.display()
        ))
        .unwrap();
    let found = whats(&server).await;
    let names: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
    let expected = [
        "data directory",
        "InnoDB's redo log",
        "InnoDB's undo logs",
        "InnoDB's doublewrite files",
        "binary log",
        "binary log",
        "relay log",
        "tablespaces",
        "tablespaces",
    ];
    assert_eq!(names, expected);
    for path in [elsewhere.clone(), elsewhere.join("d")] {
        assert!(found.contains(&("tablespaces".to_owned(), path)), "{found:?}");
    }
    assert!(found.contains(&("binary log".to_owned(), elsewhere)), "{found:?}");
}

#[tokio::test]
async fn what_links_in_the_data_directory_lead_to_is_data() {
    if !require_mysql("a server") {
        return;
    }
    let (_keep, elsewhere) = folder();
    let mut server = server(&[]);
    server.stop();
    let redo = server.data().join("#innodb_redo");
    let moved = elsewhere.join("redo");
    Tool::new("mv").arg(&redo).arg(&moved).run().unwrap();
    std::os::unix::fs::symlink(&moved, &redo).unwrap();
    server.start().unwrap();
    let found = whats(&server).await;
    assert!(found.contains(&("tables elsewhere".to_owned(), moved)), "{found:?}");
}

#[tokio::test]
async fn a_place_that_is_not_on_this_host_is_refused() {
    if !require_mysql("a server") {
        return;
    }
    let (_keep, elsewhere) = folder();
    let index = elsewhere.join("sub");
    fs::create_dir(&index).unwrap();
    Tool::new("chown").arg("mysql").arg(&index).run().unwrap();
    let server = server(&[&format!("--log-bin-index={}", index.join("index").display())]);
    fs::rename(&index, elsewhere.join("gone")).unwrap();
    let error = inspected(settings(&server)).await.unwrap_err();
    assert!(error.to_string().contains("which is not that directory of this host"), "{error}");
}
