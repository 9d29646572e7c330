//! Against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quiesced_bed::servers::Mariadb;
use quiesced_bed::{require_root, wait_until};

use super::*;
use crate::mysql_client::GRACE;
use crate::mysql_client::settings::ServerSettings;
use crate::server::PasswordSource;
use crate::testing::{Authority, common, free_port, root_at, step};

const LIMIT: Duration = Duration::from_secs(20);

fn server(options: &[&str]) -> Mariadb {
    let server = Mariadb::new(None, options).unwrap_or_else(|error| panic!("{error}"));
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (n INT) ENGINE = InnoDB; CREATE TABLE d.m (n INT) ENGINE = MyISAM")
        .unwrap();
    server
}

fn settings(server: &Mariadb) -> MariadbSettings {
    MariadbSettings { common: common(LIMIT), server: root_at(&server.socket()) }
}

async fn inspected(settings: MariadbSettings) -> Result<Inspection, HookError> {
    MariadbHook::new(settings).inspect(&step(LIMIT)).await
}

async fn prepared(settings: MariadbSettings) -> MariadbHook {
    let mut hook = MariadbHook::new(settings);
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook
}

async fn quiesced(settings: MariadbSettings) -> MariadbHook {
    let mut hook = prepared(settings).await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    hook
}

/// A client with one statement.
struct Client(Child);

impl Client {
    fn begin(server: &Mariadb, statement: &str) -> Self {
        let mut client = Command::new("mariadb");
        client.arg("--no-defaults").arg(format!("--socket={}", server.socket().display()));
        client.args(["--user=root", "-e", statement]);
        Self(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
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

#[tokio::test]
async fn commits_wait_readers_go_on_and_everything_goes_on_after_the_resume() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&["--log-bin=log"]);
    let mut hook = quiesced(settings(&server)).await;
    let mut writers = ["INSERT INTO d.t VALUES (1)", "INSERT INTO d.m VALUES (1)"]
        .map(|statement| Client::begin(&server, statement));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.sql("SELECT COUNT(*) FROM d.t").unwrap(), "0", "readers go on");
    assert!(!writers.iter_mut().any(Client::has_ended));
    inspected(settings(&server)).await.expect("another one may look at it meanwhile");
    let Proof::Proved { how } = hook.verify(&step(LIMIT)).await.unwrap() else { panic!("it can be proved") };
    assert!(how.contains("still blocks commits; GTID 0-1-"), "{how}");
    hook.resume(&step(LIMIT)).await.unwrap();
    wait_until("the writers go on", LIMIT, || writers.iter_mut().all(Client::has_ended)).unwrap();
}

#[tokio::test]
async fn the_data_lies_where_the_server_says() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&["--log-bin=log"]);
    let paths = inspected(settings(&server)).await.unwrap().data_paths;
    let whats: Vec<&str> = paths.iter().map(|data| data.what.as_str()).collect();
    assert_eq!(
        whats,
        ["data directory", "InnoDB's redo log", "InnoDB's undo logs", "Aria's log", "binary log"]
    );
    assert!(paths.iter().all(|data| data.path.is_dir()), "{paths:?}");
}

#[tokio::test]
async fn a_long_query_does_not_keep_the_hook_waiting() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut long = Client::begin(&server, "SELECT SLEEP(30) FROM (SELECT 1) AS one");
    let mut hook = quiesced(settings(&server)).await;
    assert!(!long.has_ended());
    hook.verify(&step(LIMIT)).await.unwrap();
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_not_to_be_had_is_given_up_and_nobody_waits_any_more() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut other = quiesced(settings(&server)).await;
    let mut hook = prepared(settings(&server)).await;
    let error = hook.quiesce(&step(Duration::from_secs(3))).await.unwrap_err();
    assert!(error.hint().unwrap().contains("SHOW PROCESSLIST"), "{error}: {:?}", error.hint());
    hook.resume(&step(LIMIT)).await.unwrap();
    other.close().await;
    wait_until("writers go on", LIMIT, || server.sql("INSERT INTO d.t VALUES (1)").is_ok()).unwrap();
}

#[tokio::test]
async fn a_quiesce_that_was_given_up_is_ended_by_the_other_connection() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let other = quiesced(settings(&server)).await;
    let mut hook = prepared(settings(&server)).await;
    let step_of_it = step(LIMIT);
    let waiting = hook.quiesce(&step_of_it);
    tokio::time::timeout(Duration::from_millis(500), waiting).await.unwrap_err();
    hook.resume(&step(LIMIT)).await.unwrap();
    let waiting = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'BACKUP STAGE%'";
    wait_until("it waits no more", LIMIT, || server.sql(waiting).unwrap() == "0").unwrap();
    drop(other);
}

#[tokio::test]
async fn a_connection_that_was_ended_in_the_window_has_proved_nothing_and_blocks_nobody() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut hook = quiesced(settings(&server)).await;
    let id = hook.held().unwrap().hold.id();
    server.sql(&format!("KILL {id}")).unwrap();
    hook.verify(&step(LIMIT)).await.unwrap_err();
    server.sql("INSERT INTO d.t VALUES (1)").unwrap();
    hook.resume(&step(LIMIT)).await.unwrap();
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
async fn a_server_is_told_to_end_the_hold_of_an_agent_that_says_nothing_any_more() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let mut hook = prepared(settings(&server)).await;
    hook.quiesce(&StepContext { lease: Duration::ZERO, ..step(LIMIT) }).await.unwrap();
    let limit: Option<u64> = hook.held().unwrap().hold.ask("SELECT @@wait_timeout").await.unwrap();
    assert_eq!(limit, Some(GRACE.as_secs()));
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_right_is_enough_and_its_lack_and_a_wrong_password_are_named() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    server.sql("CREATE USER quiesced@localhost IDENTIFIED BY 'right'").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "right\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut own = settings(&server);
    own.server.user = "quiesced".into();
    own.server.password = Some(PasswordSource::File(file.clone()));
    let error = inspected(own.clone()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("GRANT RELOAD"), "{error}: {:?}", error.hint());
    server.sql("GRANT RELOAD ON *.* TO quiesced@localhost").unwrap();
    let mut hook = quiesced(own.clone()).await;
    hook.verify(&step(LIMIT)).await.unwrap();
    hook.resume(&step(LIMIT)).await.unwrap();
    fs::write(&file, "wr0ng-one\n").unwrap();
    let error = inspected(own).await.unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(told.contains("ALTER USER quiesced") && !told.contains("wr0ng-one"), "{told}");
}

#[tokio::test]
async fn a_server_without_a_free_connection_says_what_would_mend_it() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&["--max-connections=10"]);
    server.sql("CREATE USER plain@localhost").unwrap();
    let mut own = settings(&server);
    own.server.user = "plain".into();
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(Session::open(Product::Mariadb, &own.server).await.unwrap());
    }
    let error = inspected(own).await.unwrap_err();
    assert!(error.hint().unwrap().contains("max_connections"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_server_that_is_down_is_skipped_only_when_it_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut down = MariadbSettings { common: common(LIMIT), server: root_at(&directory.path().join("sock")) };
    let error = inspected(down.clone()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("mariadb-admin ping"), "{error}");
    down.server.if_unavailable = IfUnavailable::Skip;
    let mut hook = quiesced(down).await;
    let proof = hook.verify(&step(LIMIT)).await.unwrap();
    assert!(matches!(proof, Proof::Claimed { why } if why.starts_with("skipped: ")));
}

#[test]
fn only_servers_with_backup_stages_are_known() {
    for known in ["10.5.0-MariaDB", "10.11.6-MariaDB-0+deb12u1-log", "11.8.9-MariaDB", "12.0.1-MariaDB"] {
        assert!(is_known(known), "{known}");
    }
    for other in ["8.4.2", "10.4.33-MariaDB", "5.7.44-log", "", "MariaDB"] {
        assert!(!is_known(other), "{other}");
    }
}

#[tokio::test]
async fn tables_that_lie_elsewhere_are_found() {
    if !require_root("a server of another user") {
        return;
    }
    let server = server(&[]);
    let fast = tempfile::tempdir().unwrap();
    assert!(Command::new("chown").arg("mysql:").arg(fast.path()).status().unwrap().success());
    let place = fast.path().display();
    server.sql(&format!("CREATE TABLE d.e (n INT) ENGINE = InnoDB DATA DIRECTORY = '{place}'")).unwrap();
    server.sql(&format!("CREATE TABLE d.f (n INT) ENGINE = MyISAM DATA DIRECTORY = '{place}'")).unwrap();
    let paths = inspected(settings(&server)).await.unwrap().data_paths;
    for expected in [fast.path().join("d"), fast.path().to_owned()] {
        assert!(paths.iter().any(|data| data.path == expected), "{expected:?} is not among {paths:?}");
    }
}

#[tokio::test]
async fn a_server_whose_directory_only_has_the_name_of_one_here_is_refused() {
    if !require_root("a server of another user") {
        return;
    }
    let (server, parent) = (server(&[]), tempfile::tempdir().unwrap());
    // It works in the directory that it was started in, wherever that is moved.
    let data = std::path::PathBuf::from(server.sql("SELECT @@datadir").unwrap().trim());
    fs::rename(&data, parent.path().join("moved")).unwrap();
    fs::create_dir(&data).unwrap();
    let error = inspected(settings(&server)).await.unwrap_err();
    assert!(error.to_string().contains("not that directory of this host"), "{error}");
    fs::remove_dir(&data).unwrap();
    fs::rename(parent.path().join("moved"), &data).unwrap();
    inspected(settings(&server)).await.unwrap();
}

#[tokio::test]
async fn a_server_is_trusted_when_the_named_authority_vouches_for_it_and_only_then() {
    if !require_root("a server of another user") {
        return;
    }
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let port = free_port();
    let option = |name: &str, file: &str| format!("--{name}={}", authority.file(file).display());
    let options = [
        "--skip-networking=0".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--port={port}"),
        option("ssl-ca", "ca.pem"),
        option("ssl-cert", "cert.pem"),
        option("ssl-key", "key.pem"),
    ];
    let server = server(&options.each_ref().map(String::as_str));
    server.sql("CREATE USER q@localhost REQUIRE SSL; GRANT RELOAD ON *.* TO q@localhost").unwrap();
    let remote = |ca| MariadbSettings {
        common: common(LIMIT),
        server: ServerSettings {
            host: "localhost".to_owned(),
            port,
            user: "q".to_owned(),
            tls_ca: Some(ca),
            ..root_at(&server.socket())
        },
    };
    let mut hook = quiesced(remote(authority.file("ca.pem"))).await;
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
    hook.resume(&step(LIMIT)).await.unwrap();
    let error = inspected(remote(other.file("ca.pem"))).await.unwrap_err();
    assert!(format!("{error:?}").contains("BadSignature"), "{error:?}");
}
