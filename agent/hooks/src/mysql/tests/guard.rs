//! FLUSH TABLES WITH READ LOCK, and statements that are in its way.

use super::*;

const LONG: &str = "SELECT SLEEP(60) FROM d.t";

fn locking(server: &Mysql, kill_selects: bool) -> MysqlSettings {
    MysqlSettings { kill_selects, ..in_mode(server, MysqlMode::Lock) }
}

/// How many sessions wait for a lock or for a table.
fn waiting(server: &Mysql) -> u64 {
    let asked = "SELECT COUNT(*) FROM performance_schema.processlist WHERE STATE LIKE 'Waiting for%' \
                 AND USER <> 'event_scheduler'";
    server.sql(asked).unwrap().parse().unwrap()
}

/// What a server does not count in seconds yet.
async fn let_it_grow_old() {
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

#[tokio::test]
async fn the_lock_is_not_asked_for_while_a_long_statement_runs() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let mut hook = prepared(locking(&server, false)).await;
    let mut long = Client::under_way(&server, LONG);
    let_it_grow_old().await;
    let error = hook.quiesce(&step(Duration::from_secs(4))).await.unwrap_err();
    assert!(error.to_string().contains("has run a statement of user root for"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("KILL QUERY ") && hint.contains("kill_selects"), "{hint}");
    assert!(!error.to_string().contains("SLEEP"), "what it says is nobody's business: {error}");
    assert_all_go_on(&server);
    assert!(!long.has_ended());
    hook.resume(&step(LIMIT)).await.unwrap();
    at_once(&server, DEFINE);
}

#[tokio::test]
async fn a_long_statement_is_noticed_before_anything_is_held() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let _long = Client::under_way(&server, LONG);
    let_it_grow_old().await;
    let mut hook = MysqlHook::new(locking(&server, false));
    hook.inspect(&step(LIMIT)).await.unwrap();
    let error = hook.prepare(&step(Duration::from_secs(4))).await.unwrap_err();
    assert!(error.to_string().contains("has run a statement"), "{error}");
    at_once(&server, DEFINE);
}

#[tokio::test]
async fn a_long_select_is_ended_where_that_is_allowed_and_another_statement_is_not() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let mut long = Client::under_way(&server, LONG);
    let_it_grow_old().await;
    let mut hook = quiesced(locking(&server, true)).await;
    wait_until("it has ended", LIMIT, || long.has_ended()).unwrap();
    proved(&mut hook).await;
    hook.resume(&step(LIMIT)).await.unwrap();
    let change = "UPDATE d.t SET n = n + SLEEP(60)";
    let mut change = Client::under_way(&server, change);
    let_it_grow_old().await;
    let mut hook = prepared(locking(&server, true)).await;
    let error = hook.quiesce(&step(Duration::from_secs(4))).await.unwrap_err();
    assert!(!error.hint().unwrap().contains("kill_selects"), "{:?}", error.hint());
    assert!(!change.has_ended());
    hook.resume(&step(LIMIT)).await.unwrap();
}

/// The trap: the request fails with error 1205, the lock that keeps writers waiting stays, and readers of the table wait
/// until the statement ends that uses it.
async fn fall_into_the_trap(server: &Mysql, kill_selects: bool) -> (MysqlHook, HookError) {
    let mut hook = prepared(locking(server, kill_selects)).await;
    let _long = Client::under_way(server, LONG);
    let reader = Client::begin(server, "DO SLEEP(0.5); SELECT COUNT(*) FROM d.t");
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    std::mem::forget((_long, reader));
    (hook, error)
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_keeps_no_writer_waiting_and_names_who_keeps_readers_waiting() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let (mut hook, error) = fall_into_the_trap(&server, false).await;
    at_once(&server, "INSERT INTO d.other VALUES (1)");
    assert!(error.to_string().contains("keeps readers of a table waiting"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("KILL QUERY "), "{hint}");
    server.sql(&hint).unwrap();
    wait_until("nobody waits", SOON, || waiting(&server) == 0).unwrap();
    hook.resume(&step(LIMIT)).await.unwrap();
    assert_all_go_on(&server);
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_keeps_nobody_waiting_where_selects_may_be_ended() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let (mut hook, error) = fall_into_the_trap(&server, true).await;
    assert!(error.to_string().contains("refuses FLUSH TABLES WITH READ LOCK"), "{error}");
    assert_eq!(waiting(&server), 0);
    assert_all_go_on(&server);
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_quiesce_that_was_given_up_is_ended_by_the_other_connection() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let mut hook =
        prepared(MysqlSettings { longest_statement: Duration::from_secs(10), ..locking(&server, true) })
            .await;
    let mut long = Client::under_way(&server, LONG);
    let step_of_it = step(LIMIT);
    let waiting_for_it = hook.quiesce(&step_of_it);
    tokio::time::timeout(Duration::from_millis(1500), waiting_for_it).await.unwrap_err();
    assert!(!long.has_ended());
    hook.resume(&step(LIMIT)).await.unwrap();
    assert_all_go_on(&server);
    at_once(&server, DEFINE);
}

#[tokio::test]
async fn a_backup_lock_that_is_not_to_be_had_is_given_up_and_nobody_waits_any_more() {
    if !require_mysql("a backup lock") {
        return;
    }
    let server = server(&[]);
    // It waits for the end of a transaction, and has the right to change definitions meanwhile.
    let _reader = Client::begin(&server, "BEGIN; SELECT * FROM d.t; DO SLEEP(60)");
    wait_until("the transaction is open", LIMIT, || count(&server, "DO SLEEP(60)") > 0).unwrap();
    let mut definition = Client::under_way(&server, "ALTER TABLE d.t ADD m INT");
    let mut hook = prepared(settings(&server)).await;
    let error = hook.quiesce(&step(Duration::from_secs(3))).await.unwrap_err();
    assert!(error.hint().unwrap().contains("SHOW PROCESSLIST"), "{error}: {:?}", error.hint());
    hook.resume(&step(LIMIT)).await.unwrap();
    assert!(!definition.has_ended());
    at_once(&server, DEFINE);
}

#[tokio::test]
async fn the_lock_is_not_asked_for_while_an_idle_session_keeps_tables_locked() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    for kind in ["READ", "WRITE"] {
        let mut hook = prepared(locking(&server, true)).await;
        let mut idle = Session::open(Product::Mysql, &settings(&server).server).await.unwrap();
        idle.attempt(&format!("LOCK TABLES d.t {kind}")).await.unwrap();
        let error = hook.quiesce(&step(Duration::from_secs(4))).await.unwrap_err();
        let (told, hint) = (error.to_string(), error.hint().unwrap());
        assert!(
            told.contains("has tables locked for user root") && hint.contains("or KILL "),
            "{told}: {hint}"
        );
        at_once(&server, "INSERT INTO d.other VALUES (1)");
        hook.resume(&step(LIMIT)).await.unwrap();
        idle.end().await;
        assert_all_go_on(&server);
    }
}

#[tokio::test]
async fn readers_that_come_after_the_failure_are_not_kept_waiting_either() {
    if !require_mysql("a read lock") {
        return;
    }
    let server = server(&[]);
    let mut hook = prepared(locking(&server, true)).await;
    let _long = Client::under_way(&server, LONG);
    // Nobody else reads that table while the lock is asked for.
    hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert_all_go_on(&server);
    hook.resume(&step(LIMIT)).await.unwrap();
}
