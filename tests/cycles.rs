//! Databases under load, with their data on several volumes: what is restored from snapshots that were taken one after the
//! other starts, passes the engine's own checks, and has every canary and every row that was acknowledged.
//! `scripts/cycles` runs hundreds of these.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use quiesced_bed::cycles::{AgentUnderTest, Case, Outcome, Row, run};
use quiesced_bed::require_root;
use quiesced_bed::servers::{PostgresBuild, RedisBuild};

/// Two cycles: each of two volumes comes first once.
const CYCLES: u32 = 2;

fn held(case: Case) -> Row {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(root.join("scripts/ssm/quiesced.yaml")).unwrap();
    let agent = AgentUnderTest { binary: common::binary(), document: &document };
    run(case, CYCLES, Some(&agent)).unwrap_or_else(|error| panic!("{error}"))
}

/// Every snapshot is vouched for, and good, and all volumes were frozen for it.
fn is_kept(case: Case, volumes: usize) {
    if !require_root("a freeze") {
        return;
    }
    let row = held(case);
    assert!(row.is_kept(), "{:?}", row.first_fault());
    for cycle in &row.cycles {
        assert_eq!(cycle.session["plan"]["filesystems"].as_array().unwrap().len(), volumes);
    }
}

fn postgresql_is_kept(build: PostgresBuild) {
    if build.is_there() {
        is_kept(Case::PostgresFlush(build), 3);
        is_kept(Case::PostgresBackup(build), 3);
        is_kept(Case::PostgresLabel(build), 3);
    }
}

#[test]
fn postgresql_is_restored_with_every_row_of_its_tables_and_its_tablespace() {
    postgresql_is_kept(PostgresBuild::Debian);
}

#[test]
fn postgresql_18_is_restored_with_every_row_of_its_tables_and_its_tablespace() {
    postgresql_is_kept(PostgresBuild::V18);
}

#[test]
fn mariadb_is_restored_exactly_as_it_was_held_with_and_without_transactions() {
    is_kept(Case::Mariadb, 2);
}

#[test]
fn redis_and_valkey_are_restored_exactly_as_they_were_held() {
    for build in RedisBuild::ALL.into_iter().filter(|build| build.is_there()) {
        is_kept(Case::Redis(build), 1);
    }
}

#[test]
fn two_sqlite_databases_are_restored_as_they_were_together() {
    is_kept(Case::Sqlite, 2);
}

#[test]
fn without_the_agent_the_same_snapshots_do_not_go_together() {
    if !require_root("loop devices") {
        return;
    }
    let row = run(Case::Sqlite, CYCLES, None).unwrap_or_else(|error| panic!("{error}"));
    let torn = |outcome: &Outcome| matches!(outcome, Outcome::Torn(fault) if fault.contains("ends with row"));
    assert!(row.cycles.iter().all(|cycle| torn(&cycle.outcome)), "{row:?}");
}
