use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::*;
use crate::testing::{step, until};

const LIMIT: Duration = Duration::from_secs(10);

struct Database {
    directory: tempfile::TempDir,
}

impl Database {
    fn new(journal_mode: &str) -> Self {
        let database = Self { directory: tempfile::tempdir().unwrap() };
        let connection = database.open();
        connection.pragma_update(None, "journal_mode", journal_mode).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)").unwrap();
        database
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("app.db")
    }

    fn open(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    async fn prepared(&self) -> SqliteHook {
        let mut hook = SqliteHook::new(&[self.path()]);
        hook.inspect(&step(LIMIT)).await.unwrap();
        hook.prepare(&step(LIMIT)).await.unwrap();
        hook
    }
}

/// What another process sees. A connection of this process would share SQLite's own account of the locks.
fn insert_from_outside(path: &Path) -> bool {
    let status = std::process::Command::new("sqlite3")
        .arg(path)
        .arg("INSERT INTO t VALUES (2)")
        .stderr(std::process::Stdio::null())
        .status();
    status.expect("sqlite3 is installed").success()
}

#[tokio::test]
async fn a_writer_of_another_process_is_kept_out_from_quiesce_to_resume() {
    for mode in ["wal", "delete"] {
        let database = Database::new(mode);
        let mut hook = database.prepared().await;
        assert!(insert_from_outside(&database.path()), "nothing is held before the quiesce ({mode})");
        hook.quiesce(&step(LIMIT)).await.unwrap();
        assert!(!insert_from_outside(&database.path()), "{mode}");
        let rows: i64 = database.open().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2, "readers go on ({mode})");
        assert!(matches!(hook.verify(&step(LIMIT)).await.unwrap(), Proof::Proved { .. }), "{mode}");
        hook.resume(&step(LIMIT)).await.unwrap();
        // Without patience, a writer may still meet the connection that is being closed.
        until("the writer goes on", || insert_from_outside(&database.path())).await;
    }
}

#[tokio::test]
async fn an_inspection_inside_the_window_does_not_lose_the_lock() {
    for mode in ["wal", "delete"] {
        let database = Database::new(mode);
        let mut hook = database.prepared().await;
        hook.quiesce(&step(LIMIT)).await.unwrap();
        SqliteHook::new(&[database.path()]).inspect(&step(LIMIT)).await.unwrap();
        assert!(!insert_from_outside(&database.path()), "{mode}");
        hook.verify(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_that_the_kernel_has_dropped_is_noticed() {
    let database = Database::new("delete");
    let mut hook = database.prepared().await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    // Closing any descriptor of the file drops this process's locks on it.
    drop(std::fs::File::open(database.path()).unwrap());
    let error = hook.verify(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Sqlite(SqliteError::LockGone { .. })), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_busy_writer_is_waited_for() {
    let database = Database::new("wal");
    let mut hook = database.prepared().await;
    let writer = database.open();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        writer.execute_batch("INSERT INTO t VALUES (3); COMMIT").unwrap();
    });
    hook.quiesce(&step(LIMIT)).await.unwrap();
    ends.join().unwrap();
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_never_ends_is_named_and_resume_leaves_nothing_behind() {
    let database = Database::new("wal");
    let mut hook = database.prepared().await;
    let writer = database.open();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = hook.quiesce(&step(Duration::from_millis(200))).await.unwrap_err();
    assert!(matches!(error, HookError::Sqlite(SqliteError::Busy { .. })), "{error}");
    let given_up = step(LIMIT);
    tokio::time::timeout(Duration::from_millis(100), hook.quiesce(&given_up)).await.unwrap_err();
    hook.resume(&step(LIMIT)).await.unwrap();
    writer.execute_batch("COMMIT").unwrap();
    drop(writer);
    until("another writer goes on", || insert_from_outside(&database.path())).await;
}

#[tokio::test]
async fn prepare_truncates_the_wal_and_bears_a_reader_that_still_needs_it() {
    let database = Database::new("wal");
    let wal = database.path().with_extension("db-wal");
    let other = database.open();
    other.execute_batch("INSERT INTO t VALUES (4)").unwrap();
    assert!(wal.metadata().unwrap().len() > 0);
    let hook = database.prepared().await;
    assert_eq!(wal.metadata().unwrap().len(), 0);
    drop(hook);
    other.execute_batch("INSERT INTO t VALUES (5); BEGIN; SELECT * FROM t").unwrap();
    let mut rows = other.prepare("SELECT n FROM t").unwrap();
    let _snapshot: i64 = rows.query_row([], |row| row.get(0)).unwrap();
    let writer = database.open();
    writer.execute_batch("INSERT INTO t VALUES (6)").unwrap();
    let mut hook = database.prepared().await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    let busy = writer.execute_batch("INSERT INTO t VALUES (7)").unwrap_err();
    assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn files_that_are_made_belong_to_the_owner_of_the_database() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("could not run: giving a file away needs root");
        return;
    }
    let database = Database::new("wal");
    for file in std::fs::read_dir(database.directory.path()).unwrap() {
        chown(file.unwrap().path(), Some(1234), Some(1234)).unwrap();
    }
    let mut hook = database.prepared().await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    let mut seen = 0;
    for file in std::fs::read_dir(database.directory.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().uid(), 1234, "{:?}", file.file_name());
        seen += 1;
    }
    assert!(seen >= 2, "there is no WAL to look at");
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn a_database_that_was_replaced_meanwhile_is_not_held() {
    let database = Database::new("delete");
    let mut hook = database.prepared().await;
    std::fs::rename(database.path(), database.directory.path().join("old.db")).unwrap();
    std::fs::write(database.path(), b"").unwrap();
    let error = hook.quiesce(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Sqlite(SqliteError::Replaced { .. })), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_never_created() {
    let directory = tempfile::tempdir().unwrap();
    let (text, missing) = (directory.path().join("text"), directory.path().join("missing.db"));
    std::fs::write(&text, "just a text, long enough for a header").unwrap();
    let inspect = async |path: &Path| SqliteHook::new(&[path.to_owned()]).inspect(&step(LIMIT)).await;
    assert!(matches!(inspect(&text).await, Err(HookError::Sqlite(SqliteError::NotADatabase { .. }))));
    assert!(matches!(inspect(&missing).await, Err(HookError::Sqlite(SqliteError::Examine { .. }))));
    assert!(matches!(inspect(directory.path()).await, Err(HookError::Sqlite(SqliteError::NotAFile { .. }))));
    assert!(!missing.exists());
}

#[tokio::test]
async fn the_data_lies_where_a_symbolic_link_leads() {
    let database = Database::new("wal");
    let link = database.directory.path().join("link.db");
    std::os::unix::fs::symlink(database.path(), &link).unwrap();
    let inspection = SqliteHook::new(&[link]).inspect(&step(LIMIT)).await.unwrap();
    assert_eq!(inspection.data_paths[0].path, database.path().canonicalize().unwrap());
}

#[tokio::test]
async fn a_database_behind_a_symbolic_link_is_held_and_proved() {
    for mode in ["wal", "delete"] {
        let database = Database::new(mode);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link.db");
        std::os::unix::fs::symlink(database.path(), &link).unwrap();
        let mut hook = SqliteHook::new(&[link]);
        hook.prepare(&step(LIMIT)).await.unwrap();
        hook.quiesce(&step(LIMIT)).await.unwrap();
        assert!(!insert_from_outside(&database.path()), "{mode}");
        hook.verify(&step(LIMIT)).await.unwrap();
        hook.resume(&step(LIMIT)).await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_that_was_dropped_on_the_shared_memory_of_a_wal_is_noticed() {
    let database = Database::new("wal");
    let mut hook = database.prepared().await;
    hook.quiesce(&step(LIMIT)).await.unwrap();
    drop(std::fs::File::open(database.path().with_extension("db-shm")).unwrap());
    let error = hook.verify(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Sqlite(SqliteError::LockGone { .. })), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
}

/// A filesystem of this test's own, unmounted when it is dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "quiesced-hooks-test"];
        let status = std::process::Command::new("mount").args(mount).arg(directory.path()).status().ok()?;
        status.success().then(|| Self(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a connection may still be on its way to its end.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn the_lock_of_a_file_with_the_same_inode_number_elsewhere_proves_nothing() {
    let (Some(one), Some(other)) = (Mounted::new(), Mounted::new()) else {
        eprintln!("could not run: mounting a filesystem needs root");
        return;
    };
    let paths = [&one, &other].map(|mounted| mounted.0.path().join("app.db"));
    for path in &paths {
        Connection::open(path).unwrap().execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
    }
    let [first, second] = paths.each_ref().map(|path| path.metadata().unwrap().ino());
    assert_eq!(first, second, "two new filesystems number their files alike");
    let mut hook = SqliteHook::new(&paths);
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    drop(std::fs::File::open(&paths[0]).unwrap());
    assert!(insert_from_outside(&paths[0]), "the lock is really gone");
    let error = hook.verify(&step(LIMIT)).await.unwrap_err();
    assert!(matches!(error, HookError::Sqlite(SqliteError::LockGone { .. })), "{error}");
    hook.resume(&step(LIMIT)).await.unwrap();
}

#[tokio::test]
async fn prepare_does_not_keep_a_writer_waiting_for_a_reader() {
    let database = Database::new("wal");
    let (reader, writer) = (database.open(), database.open());
    reader.execute_batch("INSERT INTO t VALUES (5); BEGIN").unwrap();
    let _snapshot: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    writer.busy_timeout(Duration::ZERO).unwrap();
    writer.execute_batch("INSERT INTO t VALUES (6)").unwrap();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        let (mut refused, mut longest) = (0, 0);
        while finished.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            refused = if writer.execute_batch("INSERT INTO t VALUES (7)").is_ok() { 0 } else { refused + 1 };
            longest = longest.max(refused);
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    });
    let _hook = database.prepared().await;
    done.send(()).unwrap();
    let longest = writing.join().unwrap();
    assert!(longest < 100, "refused {longest} times in a row, a millisecond apart");
}

#[tokio::test]
async fn every_database_that_a_pattern_matches_is_held_and_in_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["one.db", "two.db"] {
        let connection = Connection::open(directory.path().join(name)).unwrap();
        connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER)").unwrap();
    }
    let mut hook = SqliteHook::new(&[directory.path().join("*.db")]);
    let Inspection { data_paths } = hook.inspect(&step(LIMIT)).await.unwrap();
    assert_eq!(data_paths.iter().filter(|data| data.what == "database").count(), 2);
    hook.prepare(&step(LIMIT)).await.unwrap();
    hook.quiesce(&step(LIMIT)).await.unwrap();
    for name in ["one.db", "two.db"] {
        assert!(!insert_from_outside(&directory.path().join(name)), "{name} is held");
    }
    hook.resume(&step(LIMIT)).await.unwrap();
    assert!(insert_from_outside(&directory.path().join("one.db")));
}
