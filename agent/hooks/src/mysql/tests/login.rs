//! Who may log in, what it may do, and which server it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use quiesced_bed::servers::Mariadb;

use super::*;
use crate::mariadb::MariadbHook;
use crate::mariadb::settings::MariadbSettings;
use crate::mysql_client::settings::ServerSettings;
use crate::server::PasswordSource;
use crate::testing::{Authority, free_port};

/// The statements of the page for users.
fn documented() -> Vec<String> {
    let page = include_str!("../../../../../docs/hooks/mysql.md");
    let block = page.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = block.lines().map(|line| line.split(" -- ").next().unwrap().trim().replace('…', "right"));
    lines.filter(|line| !line.is_empty()).collect()
}

#[tokio::test]
async fn the_documented_rights_are_enough_and_each_that_is_missing_and_a_wrong_password_are_named() {
    if !require_mysql("a login") {
        return;
    }
    let server = server(&[]);
    plain_table(&server);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "right\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut own = MysqlSettings { kill_selects: true, ..settings(&server) };
    own.server.user = "quiesced".into();
    own.server.password = Some(PasswordSource::File(file.clone()));
    let statements = documented();
    server.sql(&statements[0]).unwrap();
    let error = inspected(own.clone()).await.unwrap_err();
    let told =
        "has not granted RELOAD, PROCESS, BACKUP_ADMIN, CONNECTION_ADMIN, SELECT ON performance_schema.*";
    assert!(error.to_string().contains(told), "{error}");
    // What it says is enough.
    for statement in error.hint().unwrap().split("; ") {
        server.sql(statement).unwrap();
    }
    inspected(own.clone()).await.unwrap();
    server.sql(&format!("DROP USER quiesced@localhost; {}", statements.concat())).unwrap();
    let mut hook = quiesced(own.clone()).await;
    let how = proved(&mut hook).await;
    assert!(how.contains("(BACKUP LOCK, COMMIT, GLOBAL), taken at binlog"), "{how}");
    hook.resume(&step(LIMIT)).await.unwrap();
    fs::write(&file, "wr0ng-one\n").unwrap();
    let error = inspected(own).await.unwrap_err();
    let told = format!("{error} {error:?} {:?}", error.hint());
    assert!(told.contains("ALTER USER quiesced") && !told.contains("wr0ng-one"), "{told}");
}

#[tokio::test]
async fn rights_that_come_with_a_role_count() {
    if !require_mysql("a login") {
        return;
    }
    let server = server(&[]);
    server
        .sql(
            "CREATE ROLE backup; GRANT RELOAD, PROCESS, BACKUP_ADMIN ON *.* TO backup; \
             GRANT SELECT ON performance_schema.* TO backup; \
             CREATE USER plain@localhost; GRANT backup TO plain@localhost; SET DEFAULT ROLE backup TO plain@localhost",
        )
        .unwrap();
    let mut own = settings(&server);
    own.server.user = "plain".into();
    let mut hook = quiesced(own).await;
    proved(&mut hook).await;
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_user_that_the_server_knows_by_its_account_needs_no_password() {
    if !require_mysql("a login") {
        return;
    }
    let server = server(&["--plugin-load-add=auth_socket.so"]);
    server.sql("CREATE USER quiesced@localhost IDENTIFIED WITH auth_socket AS 'root'").unwrap();
    server.sql("GRANT ALL ON *.* TO quiesced@localhost").unwrap();
    let mut own = settings(&server);
    own.server.user = "quiesced".into();
    inspected(own).await.unwrap();
}

#[tokio::test]
async fn a_server_without_a_free_connection_says_what_would_mend_it() {
    if !require_mysql("a login") {
        return;
    }
    let server = server(&["--max-connections=10"]);
    server.sql("CREATE USER plain@localhost").unwrap();
    let mut own = settings(&server);
    own.server.user = "plain".into();
    let mut taken = Vec::new();
    for _ in 0..10 {
        taken.push(Session::open(Product::Mysql, &own.server).await.unwrap());
    }
    let error = inspected(own).await.unwrap_err();
    assert!(error.hint().unwrap().contains("max_connections"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_server_that_is_down_is_skipped_only_when_it_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut down = MysqlSettings {
        common: common(LIMIT),
        server: root_at(&directory.path().join("sock")),
        mode: MysqlMode::Auto,
        longest_statement: Duration::from_secs(2),
        kill_selects: false,
    };
    let error = inspected(down.clone()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("mysqladmin ping"), "{error}");
    down.server.if_unavailable = IfUnavailable::Skip;
    let mut hook = quiesced(down).await;
    let proof = hook.verify(&step(LIMIT)).await.unwrap();
    assert!(matches!(proof, Proof::Claimed { why } if why.starts_with("skipped: ")));
}

#[tokio::test]
async fn each_of_the_two_products_is_refused_by_the_hook_of_the_other() {
    if !require_mysql("two servers") {
        return;
    }
    let mysql = server(&[]);
    let as_mariadb = MariadbSettings { common: common(LIMIT), server: root_at(&mysql.socket()) };
    let error = MariadbHook::new(as_mariadb).inspect(&step(LIMIT)).await.unwrap_err();
    assert!(error.hint().unwrap().contains("`mysql` hook"), "{error}: {:?}", error.hint());
    let mariadb = Mariadb::new(None, &[]).unwrap_or_else(|error| panic!("{error}"));
    let as_mysql = MysqlSettings { server: root_at(&mariadb.socket()), ..settings(&mysql) };
    let error = inspected(as_mysql).await.unwrap_err();
    assert!(error.hint().unwrap().contains("`mariadb` hook"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_server_is_trusted_when_the_named_authority_vouches_for_it_and_only_then() {
    if !require_mysql("a login") {
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
    server
        .sql("CREATE USER q@localhost IDENTIFIED BY 'word' REQUIRE SSL; GRANT ALL ON *.* TO q@localhost")
        .unwrap();
    let file = authority.file("password");
    fs::write(&file, "word\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let remote = |ca| MysqlSettings {
        server: ServerSettings {
            host: "localhost".to_owned(),
            port,
            user: "q".to_owned(),
            password: Some(PasswordSource::File(file.clone())),
            tls_ca: Some(ca),
            ..root_at(&server.socket())
        },
        ..settings(&server)
    };
    let mut hook = quiesced(remote(authority.file("ca.pem"))).await;
    proved(&mut hook).await;
    hook.resume(&step(LIMIT)).await.unwrap();
    let error = inspected(remote(other.file("ca.pem"))).await.unwrap_err();
    assert!(format!("{error:?}").contains("BadSignature"), "{error:?}");
}
