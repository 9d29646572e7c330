//! Against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use quiesced_bed::require_root;
use quiesced_bed::servers::{Postgres, PostgresBuild, PostgresOptions};

use super::*;
use crate::server::{PasswordSource, When};
use crate::testing::{Authority, common, step};

const LIMIT: Duration = Duration::from_secs(20);

fn server(settings: &[&'static str]) -> Postgres {
    Postgres::new(&PostgresOptions { settings: settings.to_vec(), ..PostgresOptions::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

/// One of each build that is there.
fn servers() -> impl Iterator<Item = Postgres> {
    PostgresBuild::ALL.into_iter().filter(|build| build.is_there()).map(|build| {
        let options = PostgresOptions { build, ..PostgresOptions::default() };
        Postgres::new(&options).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn settings(server: &Postgres) -> PostgresSettings {
    PostgresSettings {
        common: common(LIMIT),
        host: server.socket().display().to_string(),
        port: 5432,
        user: "postgres".to_owned(),
        database: "postgres".to_owned(),
        password: None,
        tls_ca: None,
        mode: PostgresMode::Flush,
        when: When::Any,
        if_unavailable: IfUnavailable::Fail,
    }
}

/// A role with a password, and the settings to log in as it.
fn with_role(server: &Postgres, password: &str) -> (PostgresSettings, tempfile::TempDir) {
    server.sql("CREATE ROLE quiesced LOGIN PASSWORD 'right'").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = PostgresSettings {
        user: "quiesced".into(),
        password: Some(PasswordSource::File(file)),
        ..settings(server)
    };
    (settings, directory)
}

async fn inspected(settings: PostgresSettings) -> Result<Inspection, HookError> {
    PostgresHook::new(settings).inspect(&step(LIMIT)).await
}

async fn quiesced(settings: PostgresSettings) -> PostgresHook {
    let mut hook = PostgresHook::new(settings);
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    hook
}

#[tokio::test]
async fn a_flushed_server_proves_itself_and_nobody_waits_for_it() {
    if !require_root("a server of another user") {
        return;
    }
    for server in servers() {
        server.sql("CREATE TABLE t (n int)").unwrap();
        let mut hook = quiesced(settings(&server)).await;
        server.sql("INSERT INTO t VALUES (1)").unwrap();
        inspected(settings(&server)).await.expect("another one may look at it meanwhile");
        let Proof::Proved { how } = hook.verify(&step(LIMIT)).await.unwrap() else {
            panic!("it can be proved")
        };
        assert!(how.contains("its WAL was on disk up to 0/"), "{how}");
        hook.resume(&step(LIMIT)).await.unwrap();
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'quiesced'";
        assert_eq!(server.sql(sessions).unwrap(), "0");
    }
}

#[tokio::test]
async fn the_data_lies_where_the_server_says() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let space = tempfile::tempdir_in(server.socket()).unwrap();
    quiesced_bed::tool::Tool::new("chown").arg("postgres").arg(space.path()).run().unwrap();
    server.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", space.path().display())).unwrap();
    let paths: Vec<PathBuf> =
        inspected(settings(&server)).await.unwrap().data_paths.into_iter().map(|data| data.path).collect();
    assert_eq!(paths, [server.data().to_owned(), server.data().join("pg_wal"), space.path().to_owned()]);
}

#[tokio::test]
async fn a_role_with_the_documented_rights_is_enough_and_each_missing_one_is_named() {
    if !require_root("a server of another user") {
        return;
    }
    for server in servers() {
        let (flush, _directory) = with_role(&server, "right");
        let backup = PostgresSettings { mode: PostgresMode::Backup, ..flush.clone() };
        let grants = [
            ("GRANT pg_monitor TO the role", "GRANT pg_monitor TO quiesced"),
            ("GRANT pg_checkpoint TO quiesced", "GRANT pg_checkpoint TO quiesced"),
            (
                "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean) TO quiesced",
                "GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean) TO quiesced",
            ),
            (
                "GRANT EXECUTE ON FUNCTION pg_backup_stop(boolean) TO quiesced",
                "GRANT EXECUTE ON FUNCTION pg_backup_stop(boolean) TO quiesced",
            ),
            ("ALTER ROLE quiesced REPLICATION", "ALTER ROLE quiesced REPLICATION"),
        ];
        for (hint, statement) in grants {
            let error = inspected(backup.clone()).await.unwrap_err();
            assert!(error.hint().unwrap().contains(hint), "{error}: {:?}", error.hint());
            server.sql(statement).unwrap();
        }
        let records = tempfile::tempdir().unwrap();
        let step = |limit| StepContext { records_dir: records.path().to_owned(), ..step(limit) };
        for settings in [flush, backup] {
            let mut hook = quiesced(settings).await;
            assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
            hook.resume(&step(LIMIT)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_without_being_shown() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let (settings, _directory) = with_role(&server, "wr0ng-one");
    let error = inspected(settings).await.unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(told.contains("ALTER ROLE quiesced PASSWORD") && !told.contains("wr0ng-one"), "{told}");
}

#[tokio::test]
async fn a_server_that_is_down_fails_the_session_or_is_skipped_and_then_nothing_is_proved() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = PostgresSettings {
        common: common(LIMIT),
        host: directory.path().display().to_string(),
        port: 5432,
        user: "postgres".to_owned(),
        database: "postgres".to_owned(),
        password: None,
        tls_ca: None,
        mode: PostgresMode::Flush,
        when: When::Any,
        if_unavailable: IfUnavailable::Fail,
    };
    let error = inspected(nobody.clone()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("pg_isready"), "{error}");
    let mut hook = quiesced(PostgresSettings { if_unavailable: IfUnavailable::Skip, ..nobody }).await;
    let proof = hook.verify(&step(LIMIT)).await.unwrap();
    assert!(matches!(proof, Proof::Claimed { why } if why.starts_with("skipped: ")));
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_hook_for_replicas_has_nothing_to_do_on_a_primary() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut hook = quiesced(PostgresSettings { when: When::ReplicaOnly, ..settings(&server) }).await;
    let proof = hook.verify(&step(LIMIT)).await.unwrap();
    assert!(matches!(proof, Proof::Claimed { why } if why == "skipped: the server is a primary"));
}

#[tokio::test]
async fn a_session_that_was_ended_in_the_window_has_proved_nothing() {
    if !require_root("a server of another user") {
        return;
    }
    for server in servers() {
        for mode in [PostgresMode::Flush, PostgresMode::Backup] {
            let mut hook = quiesced(PostgresSettings { mode, ..settings(&server) }).await;
            let ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'quiesced'";
            assert_eq!(server.sql(ended).unwrap(), "t");
            hook.verify(&step(LIMIT)).await.unwrap_err();
            hook.resume(&step(LIMIT)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_in_the_window_has_proved_nothing() {
    if !require_root("a server of another user") {
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
async fn backup_mode_ends_with_a_label_that_a_restore_can_use_and_leaves_no_slot() {
    if !require_root("a server of another user") {
        return;
    }
    for server in servers() {
        let records = tempfile::tempdir().unwrap();
        let step = StepContext { records_dir: records.path().to_owned(), ..step(LIMIT) };
        let mut hook = quiesced(PostgresSettings { mode: PostgresMode::Backup, ..settings(&server) }).await;
        assert_eq!(server.sql("SELECT count(*) FROM pg_replication_slots WHERE temporary").unwrap(), "1");
        let Proof::Proved { how } = hook.verify(&step).await.unwrap() else { panic!("it can be proved") };
        hook.resume(&step).await.unwrap();
        let kept = PathBuf::from(how.rsplit_once("the label is in ").unwrap().1);
        let label = fs::read_to_string(kept.join("backup_label")).unwrap();
        assert!(label.starts_with("START WAL LOCATION: 0/") && label.contains("LABEL: quiesced"), "{label}");
        assert_eq!(server.sql("SELECT count(*) FROM pg_replication_slots").unwrap(), "0");
    }
}

#[tokio::test]
async fn backup_mode_that_is_given_up_is_over_when_the_hook_has_resumed() {
    if !require_root("a server of another user") {
        return;
    }
    for server in servers() {
        let mut hook = quiesced(PostgresSettings { mode: PostgresMode::Backup, ..settings(&server) }).await;
        hook.resume(&step(LIMIT)).await.unwrap();
        let over = || server.sql("SELECT count(*) FROM pg_replication_slots").unwrap() == "0";
        quiesced_bed::wait_until("the slot is gone", LIMIT, over).unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_was_given_up_is_cancelled() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut hook = quiesced(settings(&server)).await;
    let session = &mut hook.held().unwrap().session;
    let long = session.ask("for a long time", "SELECT pg_sleep(60)");
    tokio::time::timeout(Duration::from_millis(300), long).await.unwrap_err();
    hook.resume(&step(LIMIT)).await.unwrap();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)'";
    let gone = || server.sql(sessions).unwrap() == "0";
    quiesced_bed::wait_until("the statement has ended", LIMIT, gone).unwrap();
}

#[tokio::test]
async fn a_server_without_a_free_connection_says_what_would_mend_it() {
    if !require_root("a server of another user") {
        return;
    }
    let server =
        server(&["max_connections = 4", "superuser_reserved_connections = 3", "max_wal_senders = 0"]);
    let (settings, _directory) = with_role(&server, "right");
    server.sql("GRANT pg_monitor, pg_checkpoint TO quiesced").unwrap();
    let _first = quiesced(settings.clone()).await;
    let error = inspected(settings).await.unwrap_err();
    assert!(error.hint().unwrap().contains("raise max_connections"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_server_that_does_not_wait_for_its_disk_is_refused() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&["fsync = off"]);
    let error = inspected(settings(&server)).await.unwrap_err();
    assert!(error.to_string().contains("fsync = off"), "{error}");
}

#[tokio::test]
async fn a_server_whose_data_lies_elsewhere_is_refused() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut session = Session::open(&settings(&server), LIMIT).await.unwrap();
    let facts = Facts::ask(&mut session).await.unwrap();
    facts.check_place("here").await.unwrap();
    let control = server.data().join("global/pg_control");
    let hidden = server.data().join("global/hidden");
    fs::rename(&control, &hidden).unwrap();
    fs::write(&control, [7; 8192]).unwrap();
    let error = facts.check_place("there").await.unwrap_err();
    assert!(error.to_string().contains("keeps its data elsewhere"), "{error}");
    fs::remove_file(&control).unwrap();
    facts.check_place("there").await.unwrap_err();
    fs::rename(&hidden, &control).unwrap();
}

#[tokio::test]
async fn a_standby_is_held_as_a_primary_is_and_its_promotion_in_the_window_is_noticed() {
    if !require_root("a server of another user") {
        return;
    }
    let primary = server(&[]);
    let records = tempfile::tempdir().unwrap();
    let step = StepContext { records_dir: records.path().to_owned(), ..step(LIMIT) };
    for mode in [PostgresMode::Flush, PostgresMode::Backup] {
        let standby = primary.standby().unwrap_or_else(|error| panic!("{error}"));
        let replica = PostgresSettings { mode, when: When::ReplicaOnly, ..settings(&standby) };
        let mut hook = quiesced(replica.clone()).await;
        assert!(matches!(hook.verify(&step).await.unwrap(), Proof::Proved { .. }), "{mode:?}");
        hook.resume(&step).await.unwrap();
        let mut hook = quiesced(replica).await;
        standby.sql("SELECT pg_promote()").unwrap();
        let error = hook.verify(&step).await.unwrap_err();
        assert!(error.to_string().contains("it was promoted"), "{error}");
        hook.resume(&step).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_is_trusted_when_the_named_authority_vouches_for_it_and_only_then() {
    if !require_root("a server of another user") {
        return;
    }
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    // It takes no key that others may read.
    for (program, argument) in [("chown", "postgres:"), ("chmod", "600")] {
        let mut command = std::process::Command::new(program);
        assert!(command.arg(argument).arg(authority.file("key.pem")).status().unwrap().success());
    }
    let file = |name: &str, file: &str| format!("{name} = '{}'", authority.file(file).display()).leak();
    // An address that no other server of this host listens on, whose port is that of its socket's name.
    let server = server(&[
        "listen_addresses = '127.77.0.1'",
        "ssl = on",
        file("ssl_cert_file", "cert.pem"),
        file("ssl_key_file", "key.pem"),
    ]);
    let (login, _directory) = with_role(&server, "right");
    server.sql("GRANT pg_monitor, pg_checkpoint TO quiesced").unwrap();
    let remote = |ca| PostgresSettings { host: "127.77.0.1".to_owned(), tls_ca: Some(ca), ..login.clone() };
    let mut hook = PostgresHook::new(remote(authority.file("ca.pem")));
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
    hook.resume(&step(LIMIT)).await.unwrap();
    let error = inspected(remote(other.file("ca.pem"))).await.unwrap_err();
    assert!(format!("{error:?}").contains("BadSignature"), "{error:?}");
    let plain = PostgresSettings { tls_ca: None, ..remote(authority.file("ca.pem")) };
    inspected(plain).await.expect_err("without an authority nothing is encrypted, and the server wants that");
}
