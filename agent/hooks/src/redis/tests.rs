//! Against a real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quiesced_bed::servers::{Redis, RedisBuild};
use quiesced_bed::{require_root, wait_until};

use super::*;
use crate::server::{PasswordSource, When};
use crate::testing::{Authority, common, free_port, step};

const LIMIT: Duration = Duration::from_secs(20);
const LOG: [&str; 4] = ["--appendonly", "yes", "--save", ""];

fn server(options: &[&str]) -> Redis {
    Redis::new(None, options).unwrap_or_else(|error| panic!("{error}"))
}

/// One of each build that is there.
fn servers(options: &[&str]) -> impl Iterator<Item = Redis> {
    RedisBuild::ALL
        .into_iter()
        .filter(|build| build.is_there())
        .map(|build| Redis::of(build, None, options).unwrap_or_else(|error| panic!("{error}")))
}

fn settings(server: &Redis) -> RedisSettings {
    RedisSettings {
        common: common(LIMIT),
        host: server.socket().display().to_string(),
        port: 6379,
        user: None,
        password: None,
        tls_ca: None,
        when: When::Any,
        if_unavailable: IfUnavailable::Fail,
    }
}

async fn inspected(settings: RedisSettings) -> Result<Inspection, HookError> {
    RedisHook::new(settings).inspect(&step(LIMIT)).await
}

async fn quiesced(settings: RedisSettings) -> RedisHook {
    let mut hook = RedisHook::new(settings);
    hook.inspect(&step(LIMIT)).await.unwrap();
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    hook
}

/// A client that writes once, as soon as it may.
struct Write(Child);

impl Write {
    fn begin(server: &Redis, key: &str) -> Self {
        let mut client = Command::new("redis-cli");
        client.arg("-s").arg(server.socket()).args(["SET", key, "1"]);
        Self(client.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn writers_wait_readers_go_on_and_everything_goes_on_after_the_resume() {
    for server in servers(&LOG) {
        server.ask(&["SET", "before", "1"]).unwrap();
        let mut hook = quiesced(settings(&server)).await;
        let mut write = Write::begin(&server, "during");
        assert_eq!(server.ask(&["GET", "before"]).unwrap(), "1", "readers go on");
        inspected(settings(&server)).await.expect("another one may look at it meanwhile");
        assert!(!write.has_ended());
        let Proof::Proved { how } = hook.verify(&step(LIMIT)).await.unwrap() else {
            panic!("it can be proved")
        };
        assert!(how.contains("has made no change since 1"), "{how}");
        hook.resume(&step(LIMIT)).await.unwrap();
        wait_until("the writer goes on", LIMIT, || write.has_ended()).unwrap();
        assert_eq!(server.ask(&["GET", "during"]).unwrap(), "1");
    }
}

/// The size of the log after its last rewrite, in bytes.
fn base_size(server: &Redis) -> u64 {
    let info = server.ask(&["INFO", "persistence"]).unwrap();
    let size = info.lines().find_map(|line| line.strip_prefix("aof_base_size:")).unwrap();
    size.trim().parse().unwrap()
}

#[tokio::test]
async fn a_rewrite_that_is_due_is_waited_for_because_it_would_stop_the_whole_server_on_a_frozen_disk() {
    // It looks once a second whether a rewrite is due.
    let mut options = LOG.to_vec();
    options.extend(["--hz", "1", "--auto-aof-rewrite-percentage", "100"]);
    options.extend(["--auto-aof-rewrite-min-size", "1kb", "--rdbcompression", "no"]);
    for server in servers(&options) {
        let (first, second) = ("x".repeat(5_000), "y".repeat(10_000));
        server.ask(&["SET", "first", &first]).unwrap();
        wait_until("it has been rewritten", LIMIT, || base_size(&server) > 5_000).unwrap();
        let mut hook = RedisHook::new(settings(&server));
        hook.inspect(&step(LIMIT)).await.unwrap();
        hook.prepare(&step(LIMIT)).await.unwrap();
        server.ask(&["SET", "second", &second]).unwrap();
        hook.quiesce(&step(LIMIT)).await.unwrap();
        let held = base_size(&server);
        // Once for its beginning, once for its end.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(base_size(&server), held, "nothing is rewritten while it is held");
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_without_a_log_saves_what_it_has() {
    for server in servers(&["--appendonly", "no", "--save", "3600 1"]) {
        server.ask(&["SET", "before", "1"]).unwrap();
        let saved = server.ask(&["LASTSAVE"]).unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let mut hook = quiesced(settings(&server)).await;
        assert_ne!(server.ask(&["LASTSAVE"]).unwrap(), saved);
        assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_pause_that_somebody_else_ended_is_noticed_when_something_was_written() {
    for server in servers(&LOG) {
        let mut hook = quiesced(settings(&server)).await;
        server.ask(&["CLIENT", "UNPAUSE"]).unwrap();
        server.ask(&["SET", "during", "1"]).unwrap();
        let error = hook.verify(&step(LIMIT)).await.unwrap_err();
        assert!(error.to_string().contains("it has made changes: 0 before, 1 now"), "{error}");
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_was_saved_since_is_noticed_all_the_same() {
    for options in [&LOG[..], &["--appendonly", "no", "--save", "3600 100000"]] {
        let server = server(options);
        let mut hook = quiesced(settings(&server)).await;
        server.ask(&["CLIENT", "UNPAUSE"]).unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        server.ask(&["SET", "during", "1"]).unwrap();
        assert_eq!(server.ask(&["SAVE"]).unwrap(), "OK");
        hook.verify(&step(LIMIT)).await.unwrap_err();
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_in_the_window_has_proved_nothing() {
    for mut server in servers(&LOG) {
        let mut hook = quiesced(settings(&server)).await;
        server.kill();
        server.start().unwrap();
        hook.verify(&step(LIMIT)).await.unwrap_err();
        hook.resume(&step(LIMIT)).await.expect("another connection serves as well");
    }
}

#[tokio::test]
async fn a_pause_outlives_the_connection_and_is_ended_by_what_the_journal_lists() {
    for server in servers(&LOG) {
        let short = StepContext { lease: Duration::ZERO, ..step(Duration::from_secs(1)) };
        let mut hook = RedisHook::new(settings(&server));
        hook.inspect(&short).await.unwrap();
        hook.prepare(&short).await.unwrap();
        let undo = hook.undo(&short).unwrap();
        hook.quiesce(&short).await.unwrap();
        drop(hook);
        let mut write = Write::begin(&server, "later");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!write.has_ended(), "it outlives the connection");
        undo.carry_out().await.unwrap();
        wait_until("the writer goes on", LIMIT, || write.has_ended()).unwrap();
    }
}

#[tokio::test]
async fn what_a_dead_server_held_is_over() {
    let mut server = server(&LOG);
    let settings = settings(&server);
    server.kill();
    Undo::RedisUnpause(Box::new(settings)).carry_out().await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_rights_is_enough_and_a_missing_one_is_named() {
    for server in servers(&LOG) {
        server.ask(&["ACL", "SETUSER", "quiesced", "on", ">right", "+info", "+config|get", "+ping"]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        fs::write(&file, "right\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let own = RedisSettings {
            user: Some("quiesced".into()),
            password: Some(PasswordSource::File(file.clone())),
            ..settings(&server)
        };
        let error = inspected(own.clone()).await.unwrap_err();
        assert!(error.hint().unwrap().starts_with("ACL SETUSER quiesced "), "{error}: {:?}", error.hint());
        let grant = ["ACL", "SETUSER", "quiesced", "+client|pause", "+client|unpause", "+bgsave"];
        server.ask(&grant).unwrap();
        let mut hook = quiesced(own.clone()).await;
        assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
        hook.resume(&step(LIMIT)).await.unwrap();
        fs::write(&file, "wr0ng-one\n").unwrap();
        let error = inspected(own).await.unwrap_err();
        let told = format!("{error} {error:?} {:?}", error.hint());
        assert!(told.contains("`password`") && !told.contains("wr0ng-one"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_keeps_nothing_is_skipped_and_proves_nothing() {
    let cache = server(&["--appendonly", "no", "--save", ""]);
    let mut gone = server(&LOG);
    let down = RedisSettings { if_unavailable: IfUnavailable::Skip, ..settings(&gone) };
    gone.kill();
    for settings in [settings(&cache), down] {
        let mut hook = quiesced(settings).await;
        let proof = hook.verify(&step(LIMIT)).await.unwrap();
        assert!(matches!(proof, Proof::Claimed { why } if why.starts_with("skipped: ")));
        hook.resume(&step(LIMIT)).await.unwrap();
    }
    let failing = RedisSettings { if_unavailable: IfUnavailable::Fail, ..settings(&gone) };
    let error = inspected(failing).await.unwrap_err();
    assert!(error.hint().unwrap().contains("redis-cli PING"), "{error}");
}

#[tokio::test]
async fn a_server_whose_directory_only_has_the_name_of_one_here_is_refused() {
    if !require_root("a mount namespace") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [own, shown] = ["own", "shown"].map(|name| directory.path().join(name));
    [&own, &shown].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let socket = directory.path().join("redis.sock");
    let script = "mount --bind \"$1\" \"$2\" && exec redis-server --port 0 --unixsocket \"$3\" --dir \"$2\"";
    let mut container = Command::new("unshare");
    container.args(["--mount", "sh", "-c", script, "sh"]).args([&own, &shown, &socket]);
    let _server = Write(container.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    let mut settings = settings(&server(&[]));
    settings.host = socket.display().to_string();
    wait_until("it listens", LIMIT, || std::os::unix::net::UnixStream::connect(&socket).is_ok()).unwrap();
    let error = inspected(settings).await.unwrap_err();
    assert!(error.to_string().contains("not that directory of this host"), "{error}");
}

#[tokio::test]
async fn a_server_is_trusted_when_the_named_authority_vouches_for_it_and_only_then() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let port = free_port();
    let [ca, cert, key] =
        ["ca.pem", "cert.pem", "key.pem"].map(|name| authority.file(name).display().to_string());
    let tls_port = port.to_string();
    let server = server(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let remote =
        |ca| RedisSettings { host: "localhost".to_owned(), port, tls_ca: Some(ca), ..settings(&server) };
    let mut hook = quiesced(remote(authority.file("ca.pem"))).await;
    assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }));
    hook.resume(&step(LIMIT)).await.unwrap();
    let error = inspected(remote(other.file("ca.pem"))).await.unwrap_err();
    assert!(format!("{error:?}").contains("BadSignature"), "{error:?}");
}
