//! Replicas: what was applied is applied again, and nothing else is started. Mostly the source need not be there for that.

use super::*;
use crate::server::When;
use crate::testing::free_port;

/// A replica of two sources; what comes from the second one is not applied.
fn replica(options: &[&str]) -> Mysql {
    let server = server(options);
    for channel in ["", "second"] {
        server
            .sql(&format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1, SOURCE_USER = 'u' \
                 FOR CHANNEL '{channel}'"
            ))
            .unwrap();
    }
    server.sql("START REPLICA SQL_THREAD FOR CHANNEL ''").unwrap();
    server
}

/// What is applied, in the order of the channels.
fn applied(server: &Mysql) -> Vec<String> {
    let asked =
        "SELECT SERVICE_STATE FROM performance_schema.replication_applier_status ORDER BY CHANNEL_NAME";
    server.sql(asked).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_replica_applies_nothing_under_the_read_lock_and_afterwards_what_it_had_applied_before() {
    if !require_mysql("a replica") {
        return;
    }
    let server = replica(&["--server-id=2"]);
    let mut hook = prepared(in_mode(&server, MysqlMode::Lock)).await;
    assert_eq!(applied(&server), ["ON", "OFF"]);
    assert!(hook.undo(&step(LIMIT)).is_some(), "what outlives the session is journaled");
    hook.quiesce(&step(LIMIT)).await.unwrap();
    assert_eq!(applied(&server), ["OFF", "OFF"]);
    proved(&mut hook).await;
    hook.resume(&step(LIMIT)).await.unwrap();
    assert_eq!(applied(&server), ["ON", "OFF"]);
}

#[tokio::test]
async fn a_replica_that_an_agent_left_behind_is_started_again() {
    if !require_mysql("a replica") {
        return;
    }
    let server = replica(&["--server-id=2"]);
    let mut hook = prepared(in_mode(&server, MysqlMode::Lock)).await;
    let undo = hook.undo(&step(LIMIT)).unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    let id = hook.held().unwrap().hold.id();
    server.sql(&format!("KILL {id}")).unwrap();
    std::mem::forget(hook);
    assert_eq!(applied(&server), ["OFF", "OFF"]);
    let journaled = serde_json::to_string(&undo).unwrap();
    let undo: Undo = serde_json::from_str(&journaled).unwrap();
    undo.carry_out().await.unwrap();
    assert_eq!(applied(&server), ["ON", "OFF"]);
    undo.carry_out().await.expect("it does no harm a second time");
}

#[tokio::test]
async fn a_replica_goes_on_under_the_backup_lock() {
    if !require_mysql("a replica") {
        return;
    }
    let server = replica(&["--server-id=2"]);
    let mut hook = prepared(settings(&server)).await;
    assert_eq!(hook.undo(&step(LIMIT)), None);
    hook.quiesce(&step(LIMIT)).await.unwrap();
    assert_eq!(applied(&server), ["ON", "OFF"]);
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_hook_for_the_other_role_has_nothing_to_do() {
    if !require_mysql("a replica") {
        return;
    }
    let (replica, primary) = (replica(&["--server-id=2"]), server(&[]));
    for (server, when) in [(&replica, When::PrimaryOnly), (&primary, When::ReplicaOnly)] {
        let mut own = in_mode(server, MysqlMode::Lock);
        own.server.when = when;
        let mut hook = quiesced(own).await;
        server.sql(WRITE).unwrap();
        let proof = hook.verify(&step(LIMIT)).await.unwrap();
        assert!(matches!(proof, Proof::Claimed { why } if why.starts_with("skipped: ")));
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

/// A server that others can reach, with nothing in it.
fn reachable(id: u32, port: u16, more: &[&str]) -> Mysql {
    let options = [format!("--server-id={id}"), format!("--port={port}")];
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--skip-networking=0", "--bind-address=127.0.0.1", "--gtid-mode=ON"]);
    options.extend(["--enforce-gtid-consistency=ON"]);
    options.extend(more);
    Mysql::new(None, &options).unwrap_or_else(|error| panic!("{error}"))
}

fn rows(server: &Mysql) -> u64 {
    server.sql("SELECT COUNT(*) FROM d.t").map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_replica_of_a_source_that_writes_stands_still_under_the_read_lock_and_catches_up() {
    if !require_mysql("a replica") {
        return;
    }
    let at = free_port();
    let source = reachable(1, at, &[]);
    let replica = reachable(2, free_port(), &["--replica-parallel-workers=4"]);
    source
        .sql(
            "CREATE USER copy@localhost IDENTIFIED BY 'copy'; GRANT REPLICATION SLAVE ON *.* TO copy@localhost; \
             CREATE DATABASE d; CREATE TABLE d.t (n INT AUTO_INCREMENT PRIMARY KEY)",
        )
        .unwrap();
    replica
        .sql(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {at}, SOURCE_USER = 'copy', \
             SOURCE_PASSWORD = 'copy', GET_SOURCE_PUBLIC_KEY = 1, SOURCE_AUTO_POSITION = 1; START REPLICA"
        ))
        .unwrap();
    let mut writer = source.client("mysql");
    let script = source.data().with_file_name("load.sql");
    std::fs::write(&script, "INSERT INTO d.t VALUES ();\n".repeat(100_000)).unwrap();
    writer.stdin(std::fs::File::open(script).unwrap()).stdout(Stdio::null());
    let _writer = Client(writer.spawn().unwrap());
    for _ in 0..5 {
        let before = rows(&replica);
        wait_until("it is applied", LIMIT, || rows(&replica) > before + 20).unwrap();
        let mut hook = quiesced(in_mode(&replica, MysqlMode::Lock)).await;
        let held = rows(&replica);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(rows(&replica), held);
        proved(&mut hook).await;
        hook.resume(&step(LIMIT)).await.unwrap();
    }
    drop(_writer);
    wait_until("it catches up", LIMIT, || rows(&replica) == rows(&source)).unwrap();
}

#[tokio::test]
async fn a_member_of_a_group_is_held_without_the_read_lock_or_not_at_all() {
    if !require_mysql("a group") {
        return;
    }
    let (here, group) = (free_port(), free_port());
    let options = [
        format!("--loose-group-replication-local-address=127.0.0.1:{group}"),
        format!("--report-port={here}"),
    ];
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend([
        "--plugin-load-add=group_replication.so",
        "--loose-group-replication-group-name=aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa",
        "--loose-group-replication-bootstrap-group=ON",
        "--report-host=127.0.0.1",
    ]);
    let server = reachable(1, here, &options);
    let state = "SELECT MEMBER_STATE FROM performance_schema.replication_group_members";
    let joined =
        || server.sql(state).unwrap() == "ONLINE" && server.sql("SELECT @@super_read_only").unwrap() == "0";
    wait_until("it is a member", LIMIT, joined).unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    let error = inspected(in_mode(&server, MysqlMode::Lock)).await.unwrap_err();
    assert!(error.to_string().contains("is a member of a replication group"), "{error}");
    let mut hook = quiesced(settings(&server)).await;
    server.sql("SET lock_wait_timeout = 1; CREATE DATABASE d").unwrap_err();
    proved(&mut hook).await;
    hook.resume(&step(LIMIT)).await.unwrap();
}
