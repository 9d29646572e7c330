//! Replicas: what was applied is applied again, and nothing else is started. The source need not be there for that.

use super::*;
use crate::server::When;

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
