//! The judges of restored databases.

use std::fs::File;
use std::os::unix::fs::FileExt;

use quiesced_bed::require_root;
use quiesced_bed::servers::{
    Mariadb, Postgres, PostgresBuild, PostgresOptions, Redis, RedisBuild, ServerError,
};

#[test]
fn an_index_that_lost_a_page_is_found_by_the_servers_own_check() {
    if !require_root("a server of another user") {
        return;
    }
    for build in PostgresBuild::ALL.into_iter().filter(|build| build.is_there()) {
        let mut server = Postgres::new(&PostgresOptions { build, ..PostgresOptions::default() }).unwrap();
        server.sql("CREATE TABLE t (n int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)").unwrap();
        server.check().unwrap();
        let index = server.data().join(server.sql("SELECT pg_relation_filepath('t_pkey')").unwrap());
        server.stop();
        // The first page describes the index, the second one has the entries.
        File::options().write(true).open(index).unwrap().write_all_at(&[0; 8_192], 8_192).unwrap();
        server.start().unwrap();
        let error = server.check().unwrap_err();
        assert!(error.to_string().contains("t_pkey"), "{error}");
    }
}

#[test]
fn a_table_that_was_cut_is_found_by_the_servers_own_check() {
    if !require_root("a server of another user") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Mariadb::new(Some(&data), &[]).unwrap();
    server.sql("CREATE DATABASE d; CREATE TABLE d.m (filling TEXT) ENGINE = MyISAM").unwrap();
    server.sql("INSERT INTO d.m VALUES (REPEAT('x', 1000)), (REPEAT('y', 1000)); FLUSH TABLES").unwrap();
    server.check().unwrap();
    File::options().write(true).open(data.join("d/m.MYD")).unwrap().set_len(1_500).unwrap();
    let error = server.check().unwrap_err();
    assert!(matches!(&error, ServerError::Damaged { report } if report.contains("Corrupt")), "{error}");
}

#[test]
fn a_log_that_was_cut_is_refused_at_once_and_the_server_says_why() {
    for build in RedisBuild::ALL.into_iter().filter(|build| build.is_there()) {
        let home = tempfile::tempdir().unwrap();
        let mut server = Redis::of(build, Some(home.path()), &["--appendonly", "yes"]).unwrap();
        assert_eq!(server.ask(&["SET", "key", "value"]).unwrap(), "OK");
        server.kill();
        let log = home.path().join("appendonlydir/appendonly.aof.1.incr.aof");
        let file = File::options().write(true).open(log).unwrap();
        file.set_len(file.metadata().unwrap().len() - 3).unwrap();
        let strict = ["--appendonly", "yes", "--aof-load-truncated", "no"];
        let error = Redis::of(build, Some(home.path()), &strict).unwrap_err();
        assert!(
            matches!(&error, ServerError::Silent { log } if log.contains("Unexpected end of file")),
            "{error}"
        );
    }
}
