//! Against a real server.

mod guard;
mod login;
mod places;
mod replica;

use std::process::{Child, Stdio};
use std::time::Duration;

use quiesced_bed::servers::{Mysql, require_mysql};
use quiesced_bed::wait_until;

use super::settings::MysqlMode;
use super::*;
use crate::mysql_client::GRACE;
use crate::testing::{common, root_at, step};

const LIMIT: Duration = Duration::from_secs(20);

/// Sooner than the server ends an idle connection of ours.
const SOON: Duration = Duration::from_secs(10);

fn server(options: &[&str]) -> Mysql {
    let server = Mysql::new(None, options).unwrap_or_else(|error| panic!("{error}"));
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (n INT); CREATE TABLE d.other (n INT)").unwrap();
    server.sql("INSERT INTO d.t VALUES (0); INSERT INTO d.other VALUES (0)").unwrap();
    server
}

/// A table without transactions beside the others.
fn plain_table(server: &Mysql) {
    server.sql("CREATE TABLE d.m (n INT) ENGINE = MyISAM").unwrap();
}

fn settings(server: &Mysql) -> MysqlSettings {
    MysqlSettings {
        common: common(LIMIT),
        server: root_at(&server.socket()),
        mode: MysqlMode::Auto,
        longest_statement: Duration::from_secs(2),
        kill_selects: false,
    }
}

fn in_mode(server: &Mysql, mode: MysqlMode) -> MysqlSettings {
    MysqlSettings { mode, ..settings(server) }
}

async fn inspected(settings: MysqlSettings) -> Result<Inspection, HookError> {
    MysqlHook::new(settings).inspect(&step(LIMIT)).await
}

async fn prepared(settings: MysqlSettings) -> MysqlHook {
    let mut hook = MysqlHook::new(settings);
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook
}

async fn quiesced(settings: MysqlSettings) -> MysqlHook {
    let mut hook = prepared(settings).await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    hook
}

/// What the hook proves.
async fn proved(hook: &mut MysqlHook) -> String {
    match hook.verify(&step(LIMIT)).await.unwrap() {
        Proof::Proved { how } => how,
        Proof::Claimed { why } => panic!("only claimed: {why}"),
    }
}

/// A client with one statement.
struct Client(Child);

impl Client {
    fn begin(server: &Mysql, statement: &str) -> Self {
        let mut client = server.client("mysql");
        client.args(["-e", statement]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(client.spawn().unwrap())
    }

    /// One whose statement has begun at the server.
    fn under_way(server: &Mysql, statement: &str) -> Self {
        let client = Self::begin(server, statement);
        wait_until("the statement is under way", LIMIT, || count(server, statement) > 0).unwrap();
        client
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many sessions run a statement.
fn count(server: &Mysql, statement: &str) -> u64 {
    let text = statement.replace('\'', "''");
    let asked = format!("SELECT COUNT(*) FROM performance_schema.processlist WHERE INFO = '{text}'");
    server.sql(&asked).unwrap().parse().unwrap()
}

/// Lets the server do what it must not wait for: nobody's end, and not that of an idle connection either.
fn at_once(server: &Mysql, statement: &str) {
    server.sql(&format!("SET lock_wait_timeout = 5; {statement}")).unwrap();
}

/// Everybody can read and write again.
fn assert_all_go_on(server: &Mysql) {
    at_once(server, "INSERT INTO d.other VALUES (1)");
    at_once(server, WRITE);
    let mut reader = Client::begin(server, "SELECT COUNT(*) FROM d.t");
    wait_until("readers go on", SOON, || reader.has_ended()).unwrap();
}

const DEFINE: &str = "CREATE TABLE d.new (n INT)";
const WRITE: &str = "INSERT INTO d.t VALUES (1)";

#[tokio::test]
async fn under_the_read_lock_changes_wait_readers_go_on_and_everything_goes_on_after_the_resume() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    plain_table(&server);
    let mut hook = quiesced(in_mode(&server, MysqlMode::Lock)).await;
    let mut writers =
        [WRITE, "INSERT INTO d.m VALUES (1)", DEFINE].map(|statement| Client::begin(&server, statement));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.sql("SELECT COUNT(*) FROM d.t").unwrap(), "1", "readers go on");
    assert!(!writers.iter_mut().any(Client::has_ended));
    inspected(settings(&server)).await.expect("another one may look at it meanwhile");
    let how = proved(&mut hook).await;
    assert!(how.contains("still has its locks (BACKUP LOCK, COMMIT, GLOBAL), taken at binlog.0000"), "{how}");
    hook.resume(&step(LIMIT)).await.unwrap();
    wait_until("the writers go on", SOON, || writers.iter_mut().all(Client::has_ended)).unwrap();
}

#[tokio::test]
async fn under_the_backup_lock_transactions_go_on_and_definitions_wait() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    let mut hook = quiesced(settings(&server)).await;
    let mut definition = Client::begin(&server, DEFINE);
    server.sql(WRITE).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!definition.has_ended());
    let how = proved(&mut hook).await;
    assert!(how.contains("still has its locks (BACKUP LOCK), taken at binlog.0000"), "{how}");
    hook.resume(&step(LIMIT)).await.unwrap();
    wait_until("the definition goes on", SOON, || definition.has_ended()).unwrap();
}

#[tokio::test]
async fn a_table_without_transactions_or_commits_in_memory_make_the_read_lock_necessary() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let lazy = server(&["--innodb-flush-log-at-trx-commit=0"]);
    let plain = server(&["--skip-log-bin"]);
    plain_table(&plain);
    for server in [lazy, plain] {
        let mut hook = quiesced(settings(&server)).await;
        let how = proved(&mut hook).await;
        assert!(how.contains("GLOBAL"), "{how}");
        hook.resume(&step(LIMIT)).await.unwrap();
        let mut hook = quiesced(in_mode(&server, MysqlMode::Flush)).await;
        let proof = hook.verify(&step(LIMIT)).await.unwrap();
        assert!(matches!(proof, Proof::Claimed { why } if why.ends_with("which mode `flush` does not hold")));
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_without_transactions_that_is_made_in_between_is_noticed() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    let mut hook = prepared(settings(&server)).await;
    plain_table(&server);
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert!(error.to_string().contains("d/m.MYD, which was not there before"), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
    at_once(&server, DEFINE);
}

#[tokio::test]
async fn a_connection_that_was_ended_in_the_window_has_proved_nothing_and_blocks_nobody() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    for mode in [MysqlMode::Flush, MysqlMode::Lock] {
        let mut hook = quiesced(in_mode(&server, mode)).await;
        let id = hook.held().unwrap().hold.id();
        server.sql(&format!("KILL {id}")).unwrap();
        let error = hook.verify(&step(LIMIT)).await.unwrap_err();
        assert!(error.to_string().contains("was not held"), "{error}");
        assert_all_go_on(&server);
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_that_was_given_up_in_the_window_has_proved_nothing() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    for listed in ["YES", "NO"] {
        let set = "UPDATE performance_schema.setup_instruments SET ENABLED = '?' \
                   WHERE NAME = 'wait/lock/metadata/sql/mdl'";
        server.sql(&set.replace('?', listed)).unwrap();
        let mut hook = quiesced(in_mode(&server, MysqlMode::Lock)).await;
        hook.held().unwrap().hold.attempt("UNLOCK TABLES").await.unwrap();
        server.sql(WRITE).unwrap();
        let error = hook.verify(&step(LIMIT)).await.unwrap_err();
        let why = if listed == "YES" { "it lists BACKUP LOCK for our connection" } else { "it went on from" };
        assert!(error.to_string().contains(why), "{error}");
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_in_the_window_has_proved_nothing() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let mut server = server(&[]);
    let mut hook = quiesced(settings(&server)).await;
    server.stop();
    server.start().unwrap();
    hook.verify(&step(LIMIT)).await.unwrap_err();
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_server_is_told_to_end_the_hold_of_an_agent_that_says_nothing_any_more() {
    if !require_mysql("a hold of a server") {
        return;
    }
    let server = server(&[]);
    let mut hook = prepared(in_mode(&server, MysqlMode::Lock)).await;
    hook.quiesce(&StepContext { lease: Duration::ZERO, ..step(LIMIT) }).await.unwrap();
    let limit: Option<u64> = hook.held().unwrap().hold.ask("SELECT @@wait_timeout").await.unwrap();
    assert_eq!(limit, Some(GRACE.as_secs()));
    hook.resume(&step(LIMIT)).await.unwrap();
}
