use std::collections::BTreeSet;
use std::path::PathBuf;

use super::seen::{Process, Seen};
use super::*;
use crate::config::{Sources, load};

fn seen(processes: &[(&str, &str)], sockets: &[&str], units: &[&str]) -> Seen {
    let process = |(name, title): &(&str, &str)| Process {
        name: (*name).to_owned(),
        title: (*title).to_owned(),
        wals: BTreeSet::new(),
    };
    Seen {
        processes: (100..).zip(processes.iter().map(process)).collect(),
        sockets: sockets.iter().map(PathBuf::from).collect(),
        units: units.iter().map(ToString::to_string).collect(),
    }
}

fn files(seen: &Seen) -> Vec<DropIn> {
    engines::look(seen).iter().map(DropIn::of).collect()
}

/// The settings that these files make together.
fn loaded(files: &[DropIn]) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        assert!(write(&directory.path().join("conf.d"), file).unwrap().is_some(), "{file:?}");
    }
    load(&Sources::below(directory.path())).unwrap_or_else(|errors| panic!("{errors}")).settings
}

#[test]
fn each_running_server_gets_a_hook_with_its_own_address() {
    let seen = seen(
        &[
            ("postgres", "postgres -D /var/lib/postgresql/15/main"),
            ("mariadbd", "/usr/sbin/mariadbd"),
            ("redis-server", "redis-server 10.0.0.7:6380"),
            ("valkey-server", "valkey-server unixsocket:/run/valkey/valkey.sock"),
            ("redis-server", "redis-server *:6379"),
        ],
        &["/run/pg/.s.PGSQL.5432", "/run/pg/.s.PGSQL.5433", "/run/mysqld/mysqld.sock", "/run/other.sock"],
        &["postgresql", "mariadb"],
    );
    let files = files(&seen);
    let told = serde_json::json!(loaded(&files));
    let hook = |name: &str, kind: &str, key: &str| told["hook"][name][kind][key].clone();
    assert_eq!(hook("postgresql", "postgresql", "port"), 5432);
    assert_eq!(hook("postgresql-2", "postgresql", "port"), 5433);
    assert_eq!(hook("postgresql", "postgresql", "host"), "/run/pg");
    assert_eq!(hook("mariadb", "mariadb", "host"), "/run/mysqld/mysqld.sock");
    assert_eq!(
        (hook("redis", "redis", "host"), hook("redis", "redis", "port")),
        ("10.0.0.7".into(), 6380.into())
    );
    assert_eq!(hook("redis-2", "redis", "host"), "/run/valkey/valkey.sock");
    assert_eq!(hook("redis-3", "redis", "host"), "127.0.0.1");
    assert_eq!(told["hook"].as_object().unwrap().len(), 6);
    let text = &files[0].text;
    for part in ["# PostgreSQL, found by", "CREATE ROLE quiesced", "pg_hba.conf", "docs/hooks/postgresql.md"]
    {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn mysql_is_told_from_mariadb_by_its_program() {
    let seen = seen(&[("mysqld", "/usr/sbin/mysqld")], &["/var/lib/mysql/mysql.sock"], &["mysqld"]);
    let files = files(&seen);
    let told = serde_json::json!(loaded(&files));
    assert_eq!(told["hook"]["mysql"]["mysql"]["host"], "/var/lib/mysql/mysql.sock");
    assert_eq!(files.len(), 1);
    assert!(files[0].text.contains("GRANT BACKUP_ADMIN"), "{}", files[0].text);
}

#[test]
fn what_does_not_run_or_needs_a_sample_is_written_in_comments() {
    let files = files(&seen(&[("mongod", "mongod")], &[], &["mariadb", "elasticsearch"]));
    assert_eq!(loaded(&files).hook.len(), 0);
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["50-mariadb.toml", "50-mongodb.toml", "50-elasticsearch.toml"]);
    assert!(files[0].text.contains("# [hook.mariadb.mariadb]"), "{}", files[0].text);
    assert!(files[1].text.contains("/usr/local/libexec/quiesced/mongodb.sh"), "{}", files[1].text);
    assert!(files[2].text.contains("There is no hook for it"), "{}", files[2].text);
}

#[test]
fn a_programs_sqlite_databases_are_one_hook_and_those_of_caches_are_none() {
    let mut seen = seen(&[("Grafana Server", ""), ("browser", "")], &[], &[]);
    let wals = [["/var/lib/grafana/grafana.db-wal"], ["/home/me/.cache/history-wal"]];
    for (process, wals) in seen.processes.values_mut().zip(wals) {
        process.wals = wals.iter().map(PathBuf::from).collect();
    }
    let told = serde_json::json!(loaded(&files(&seen)));
    assert_eq!(
        told["hook"]["sqlite-grafana-server"]["sqlite"]["databases"][0],
        "/var/lib/grafana/grafana.db"
    );
    assert_eq!(told["hook"].as_object().unwrap().len(), 1);
}

#[test]
fn what_is_configured_already_is_not_written_again() {
    let seen = seen(&[("postgres", "")], &["/run/pg/.s.PGSQL.5432", "/run/pg/.s.PGSQL.5433"], &[]);
    let found = engines::look(&seen);
    let settings = loaded(&[DropIn::of(&found[0])]);
    assert!(found[0].is_configured(&settings));
    assert!(!found[1].is_configured(&settings));
}

#[test]
fn a_file_that_is_there_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = |text: &str| DropIn { name: "50-x.toml".into(), title: "x".into(), text: text.into() };
    let path = write(directory.path(), &file("mine")).unwrap().unwrap();
    assert_eq!(write(directory.path(), &file("another")).unwrap(), None);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
}

#[test]
fn filesystems_alone_are_a_group_and_none_are_no_file() {
    let file = DropIn::of_filesystems(&["/srv/a b".into()]).unwrap();
    assert_eq!(
        loaded(&[file]).group["default"].filesystems,
        FilesystemSelection::Paths(vec!["/srv/a b".into()])
    );
    assert_eq!(DropIn::of_filesystems(&[]), None);
}

proptest::proptest! {
    #[test]
    fn whatever_programs_are_called_the_files_are_valid(name in "\\PC{1,15}", title in "\\PC{0,30}", wal in "/\\PC{1,20}-wal") {
        let mut seen = seen(&[(&name, &title), ("redis-server", &title)], &[], &[]);
        seen.processes.values_mut().next().unwrap().wals.insert(wal.into());
        let _settings = loaded(&files(&seen));
    }
}
