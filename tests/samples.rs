//! The samples of `scripts/hooks`, through the agent: Firebird as it is, other engines as fakes of their clients
//! (`tests/fakes`) that keep what an engine would.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{SOON, Simulated, expect, id, start, wait_until_idle};
use quiesced_bed::agent::Agent;
use serde_json::json;

/// A sample with its engine, in a directory of their own.
struct Sample {
    directory: tempfile::TempDir,
    /// The sample's argument vector, where `{}` is the directory.
    argv: Vec<String>,
    proves: bool,
    engine: Box<dyn Engine>,
}

/// What a test can see of an engine, and do to it.
trait Engine {
    /// Whether it is held, by whomever.
    fn is_held(&self, place: &Path) -> bool;
    /// How many of its holds have ended, where it can be counted.
    fn releases(&self, place: &Path) -> Option<usize>;
    /// Holds it, as somebody else would.
    fn take(&self, place: &Path);
    /// Ends whatever hold there is, as somebody else would.
    fn lose(&self, place: &Path);
    /// Makes it refuse to be held.
    fn refuse(&self, place: &Path);
}

/// Fakes of its clients stand for it; they share the directory `engine` (`tests/fakes/engine.sh`).
struct Fake;

impl Engine for Fake {
    fn is_held(&self, place: &Path) -> bool {
        place.join("engine/hold").exists()
    }

    fn releases(&self, place: &Path) -> Option<usize> {
        Some(fs::read_to_string(place.join("engine/released")).unwrap_or_default().lines().count())
    }

    fn take(&self, place: &Path) {
        fs::write(place.join("engine/hold"), "1000\n").unwrap();
    }

    fn lose(&self, place: &Path) {
        fs::remove_file(place.join("engine/hold")).unwrap();
    }

    fn refuse(&self, place: &Path) {
        fs::write(place.join("engine/refuse"), "").unwrap();
    }
}

/// The real engine, which nbackup brings along: the database is a file, and there is no server.
struct Firebird;

impl Firebird {
    const DATABASE: &str = "engine/orders.fdb";

    fn run(place: &Path, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program).args(arguments).arg(place.join(Self::DATABASE)).output();
        let output =
            output.unwrap_or_else(|error| panic!("{program}: {error}; run scripts/install-test-tools"));
        assert!(output.status.success(), "{program}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Engine for Firebird {
    fn is_held(&self, place: &Path) -> bool {
        Self::run(place, "fbstat", &["-h"]).contains("backup lock")
    }

    fn releases(&self, _place: &Path) -> Option<usize> {
        None
    }

    fn take(&self, place: &Path) {
        Self::run(place, "nbackup", &["-L"]);
    }

    fn lose(&self, place: &Path) {
        Self::run(place, "nbackup", &["-N"]);
    }

    /// Where the difference file should be made, there is a directory.
    fn refuse(&self, place: &Path) {
        fs::create_dir(place.join(format!("{}.delta", Self::DATABASE))).unwrap();
    }
}

/// A fake whose hold ends with the session that has it.
struct FakeSession;

impl Engine for FakeSession {
    fn is_held(&self, place: &Path) -> bool {
        let session = fs::read_to_string(place.join("engine/hold")).unwrap_or_default();
        !session.is_empty() && Path::new("/proc").join(session.trim()).exists()
    }

    fn releases(&self, place: &Path) -> Option<usize> {
        Fake.releases(place)
    }

    fn take(&self, place: &Path) {
        fs::write(place.join("engine/hold"), format!("{}\n", std::process::id())).unwrap();
    }

    fn lose(&self, place: &Path) {
        let session = fs::read_to_string(place.join("engine/hold")).unwrap();
        assert!(Command::new("kill").args(["-KILL", session.trim()]).status().unwrap().success());
        quiesced_bed::wait_until("the session has ended", SOON, || !self.is_held(place)).unwrap();
    }

    fn refuse(&self, place: &Path) {
        Fake.refuse(place);
    }
}

impl Sample {
    fn new(script: &str, arguments: &[&str], proves: bool, engine: impl Engine + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["hooks", "bin", "engine", "records"] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        copy_all(&sources.join("scripts/hooks"), &directory.path().join("hooks"));
        copy_all(&sources.join("tests/fakes"), &directory.path().join("bin"));
        let script = format!("{{}}/hooks/{script}");
        let words = [&[script.as_str()], arguments].concat();
        let place = directory.path().display().to_string();
        let argv = words.iter().map(|word| word.replace("{}", &place)).collect();
        Self { directory, argv, proves, engine: Box::new(engine) }
    }

    fn place(&self) -> &Path {
        self.directory.path()
    }

    fn table(&self) -> String {
        let argv = &self.argv;
        if self.argv[0].ends_with("/sqlserver.sh") {
            return format!("[hook.orders.session]\ncommand = {argv:?}\n");
        }
        let verify = if self.proves { format!("verify = {argv:?}\n") } else { String::new() };
        format!("[hook.orders.exec]\nquiesce = {argv:?}\nresume = {argv:?}\n{verify}")
    }

    /// An agent with this one hook.
    fn agent(&self, host: &Simulated) -> Agent {
        start(host.options(&format!("{}{}", self.table(), host.data())))
    }

    fn is_held(&self) -> bool {
        self.engine.is_held(self.place())
    }

    fn assert_releases(&self, expected: usize) {
        if let Some(releases) = self.engine.releases(self.place()) {
            assert_eq!(releases, expected);
        }
    }

    fn record(&self) -> PathBuf {
        self.place().join("records/orders")
    }

    /// Runs the script by hand, as the agent would.
    fn by_hand(&self, edge: &str) -> Output {
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).env("QUIESCED_EDGE", edge).env("QUIESCED_HOOK", "orders");
        command.env("QUIESCED_DEADLINE_MS", "5000").output().unwrap()
    }

    fn holds_until_post_script_and_says_what_was_proved(&self) {
        let host = Simulated::new(&json!({}));
        let agent = self.agent(&host);
        for round in 1..=2 {
            expect(0, &agent.pre_script(&id(1)).unwrap());
            assert!(self.is_held());
            let post = agent.post_script(&id(1)).unwrap();
            expect(0, &post);
            let verdict = if self.proves { "application-consistent: " } else { "filesystem-consistent: " };
            assert!(post.stdout.starts_with(verdict), "{}", post.stdout);
            assert!(!self.is_held() && !self.record().exists());
            self.assert_releases(round);
        }
    }

    fn a_hold_that_is_refused_is_201_and_nothing_is_held_or_released(&self) {
        self.engine.refuse(self.place());
        let host = Simulated::new(&json!({}));
        let agent = self.agent(&host);
        let pre = agent.pre_script(&id(1)).unwrap();
        expect(201, &pre);
        assert!(pre.stdout.contains("could not be held"), "it failed for another reason: {}", pre.stdout);
        assert!(!self.is_held() && !self.record().exists());
        self.assert_releases(0);
    }

    /// Unknown counts as held: the client was ended, what it had asked for came about.
    fn a_hold_that_nobody_confirmed_is_201_and_undone(&self) {
        fs::write(self.place().join("engine/slow"), "").unwrap();
        let host = Simulated::new(&json!({}));
        let agent = start(host.options(&format!("{}timeout = \"2s\"\n", self.table())));
        expect(201, &agent.pre_script(&id(1)).unwrap());
        assert!(!self.is_held() && !self.record().exists());
        self.assert_releases(1);
    }

    /// The command that asked for it outlives the agent; `recover` ends it first.
    fn a_hold_that_the_agent_died_waiting_for_is_undone(&self) {
        fs::write(self.place().join("engine/slow"), "").unwrap();
        let host = Simulated::new(&json!({}));
        let mut agent = self.agent(&host);
        let pre = agent.start_cli(["pre-script", "--execution-id", &id(1)]).unwrap();
        quiesced_bed::wait_until("it is held", SOON, || self.is_held()).unwrap();
        agent.kill();
        assert_ne!(pre.wait().unwrap().code, Some(0));
        expect(0, &agent.cli(["recover"]).unwrap());
        assert!(!self.is_held() && !self.record().exists());
        self.assert_releases(1);
    }

    fn after_the_death_of_the_agent_recover_undoes_it_once(&self) {
        let host = Simulated::new(&json!({}));
        let mut agent = self.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        agent.kill();
        assert!(self.is_held(), "nothing is shown by a hold that ends with the agent");
        for _again in 0..2 {
            expect(0, &agent.cli(["recover"]).unwrap());
            assert!(!self.is_held() && !self.record().exists());
            self.assert_releases(1);
        }
        agent.restart().unwrap();
        expect(203, &agent.post_script(&id(1)).unwrap());
        expect(0, &agent.pre_script(&id(2)).unwrap());
        expect(0, &agent.post_script(&id(2)).unwrap());
        self.assert_releases(2);
    }

    fn a_hold_that_was_lost_is_203_and_not_released_again(&self) {
        let host = Simulated::new(&json!({}));
        let agent = self.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        self.engine.lose(self.place());
        let post = agent.post_script(&id(1)).unwrap();
        expect(203, &post);
        assert!(!self.record().exists());
        self.assert_releases(0);
    }

    fn what_somebody_else_holds_is_201_and_left_alone(&self) {
        let host = Simulated::new(&json!({}));
        let agent = self.agent(&host);
        self.engine.take(self.place());
        let pre = agent.pre_script(&id(1)).unwrap();
        expect(201, &pre);
        let reasons = ["somebody else holds it already", "could not be held"];
        assert!(reasons.iter().any(|reason| pre.stdout.contains(reason)), "{}", pre.stdout);
        assert!(self.is_held());
        self.assert_releases(0);
    }

    fn resume_does_no_harm_twice_or_when_nothing_is_held(&self) {
        for _again in 0..2 {
            assert!(self.by_hand("resume").status.success());
        }
        assert!(self.by_hand("quiesce").status.success());
        assert!(self.is_held());
        for _again in 0..2 {
            let resumed = self.by_hand("resume");
            assert!(resumed.status.success(), "{resumed:?}");
            assert!(!self.is_held());
            self.assert_releases(1);
        }
        self.engine.take(self.place());
        assert!(self.by_hand("resume").status.success());
        assert!(self.is_held(), "a hold of somebody else is left alone");
    }

    /// A crash of the host ends the agent's journal, but not a hold that lies on a disk.
    fn what_an_earlier_life_of_the_host_left_is_undone_by_the_next_quiesce(&self) {
        assert!(self.by_hand("quiesce").status.success());
        let again = self.by_hand("quiesce");
        assert!(again.status.success(), "{again:?}");
        self.assert_releases(1);
        assert!(self.is_held());
        assert!(self.by_hand("resume").status.success());
        assert!(!self.is_held());
    }
}

/// Who has this file open.
fn processes_with(file: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let has_it = |process: &PathBuf| {
        // Others are no processes, or have ended meanwhile.
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == file)
    };
    let pid = |process: PathBuf| process.file_name().unwrap().to_string_lossy().into_owned();
    processes.filter(has_it).map(pid).collect()
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        fs::copy(entry.path(), &copy).unwrap();
        // The agent refuses what others can write, and the checkout's mode is not known.
        let mode = entry.metadata().unwrap().permissions().mode() & !0o022;
        fs::set_permissions(copy, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The rules that every sample keeps whose hold outlives its commands.
macro_rules! keeps_the_rules {
    ($engine:ident: $sample:expr $(, $more:ident)*) => {
        mod $engine {
            use super::*;

            keeps_the_rules!(@each $sample;
                holds_until_post_script_and_says_what_was_proved
                a_hold_that_is_refused_is_201_and_nothing_is_held_or_released
                after_the_death_of_the_agent_recover_undoes_it_once
                what_somebody_else_holds_is_201_and_left_alone
                resume_does_no_harm_twice_or_when_nothing_is_held
                what_an_earlier_life_of_the_host_left_is_undone_by_the_next_quiesce
                $($more)*
            );
        }
    };
    (@each $sample:expr; $($rule:ident)*) => {
        $(
            #[test]
            fn $rule() {
                let sample: Sample = $sample;
                sample.$rule();
            }
        )*
    };
}

keeps_the_rules!(firebird: firebird(), a_hold_that_was_lost_is_203_and_not_released_again);
keeps_the_rules!(
    oracle: oracle(),
    a_hold_that_was_lost_is_203_and_not_released_again,
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);
keeps_the_rules!(
    db2: db2(),
    a_hold_that_was_lost_is_203_and_not_released_again,
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);
keeps_the_rules!(
    iris: iris(),
    a_hold_that_was_lost_is_203_and_not_released_again,
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);
keeps_the_rules!(
    hana: hana(),
    a_hold_that_was_lost_is_203_and_not_released_again,
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);
keeps_the_rules!(
    mongodb: mongodb(),
    a_hold_that_was_lost_is_203_and_not_released_again,
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);
keeps_the_rules!(
    ase: ase(),
    a_hold_that_nobody_confirmed_is_201_and_undone,
    a_hold_that_the_agent_died_waiting_for_is_undone
);

fn firebird() -> Sample {
    let arguments = ["{}/records/orders", "{}/engine/orders.fdb"];
    let sample = Sample::new("firebird.sh", &arguments, true, Firebird);
    let create = format!("CREATE DATABASE '{}';\n", sample.place().join(Firebird::DATABASE).display());
    let statements = sample.place().join("create.sql");
    fs::write(&statements, create).unwrap();
    let created = Command::new("isql-fb").args(["-q", "-i"]).arg(&statements).output();
    let created = created.unwrap_or_else(|error| panic!("isql-fb: {error}; run scripts/install-test-tools"));
    assert!(created.status.success(), "{created:?}");
    sample
}

fn oracle() -> Sample {
    Sample::new("oracle.sh", &["backup", "{}", "ORCL", "{}/records/orders"], true, Fake)
}

fn db2() -> Sample {
    Sample::new("db2.sh", &["{}/records/orders", "{}/bin", "SAMPLE"], true, Fake)
}

fn iris() -> Sample {
    Sample::new("iris.sh", &["{}/records/orders", "IRIS", "{}/bin/iris"], true, Fake)
}

fn hana() -> Sample {
    Sample::new("hana.sh", &["{}/records/orders", "{}/bin/hdbsql", "QUIESCED"], true, Fake)
}

fn sqlserver() -> Sample {
    let arguments = ["{}/bin/sqlcmd", "localhost", "/var/backups/mssql", "orders", "billing"];
    Sample::new("sqlserver.sh", &arguments, true, FakeSession)
}

fn mongodb() -> Sample {
    let arguments = ["{}/records/orders", "{}/uri", "{}/bin/mongosh"];
    let sample = Sample::new("mongodb.sh", &arguments, true, Fake);
    fs::write(sample.place().join("uri"), "mongodb://quiesced:secret@localhost/\n").unwrap();
    sample
}

fn ase() -> Sample {
    let password = "{}/password";
    let tag = "quiesced_orders";
    let arguments = ["{}/records/orders", "{}/bin", "ASE", "quiesced", password, tag, "orders", "billing"];
    let sample = Sample::new("ase.sh", &arguments, false, Fake);
    fs::write(sample.place().join("password"), "secret\n").unwrap();
    sample
}

#[test]
fn db2_that_lets_nobody_connect_is_resumed_by_a_restart() {
    let sample = db2();
    assert!(sample.by_hand("quiesce").status.success());
    fs::write(sample.place().join("engine/hang"), "").unwrap();
    assert!(sample.by_hand("verify").status.success(), "the proof needs no connection");
    let resumed = sample.by_hand("resume");
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(!sample.is_held());
    sample.assert_releases(1);
}

#[test]
fn the_catalogue_of_hana_calls_successful_only_what_was_proved() {
    let sample = hana();
    let host = Simulated::new(&json!({}));
    let mut agent = sample.agent(&host);
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
    expect(0, &agent.pre_script(&id(2)).unwrap());
    agent.kill();
    expect(0, &agent.cli(["recover"]).unwrap());
    let said = fs::read_to_string(sample.place().join("engine/said")).unwrap();
    let outcomes: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().nth(9)).collect();
    assert_eq!(outcomes, ["SUCCESSFUL", "UNSUCCESSFUL"], "{said}");
}

#[test]
fn a_stale_snapshot_of_hana_that_is_ours_is_abandoned_without_a_record() {
    let sample = hana();
    assert!(sample.by_hand("quiesce").status.success());
    fs::remove_file(sample.record()).unwrap();
    assert!(sample.by_hand("quiesce").status.success());
    sample.assert_releases(1);
    assert!(sample.is_held());
    let said = fs::read_to_string(sample.place().join("engine/said")).unwrap();
    assert!(said.contains("BACKUP_ID 1 UNSUCCESSFUL"), "{said}");
}

/// The lock of MongoDB is counted.
#[test]
fn a_lock_that_somebody_put_on_top_of_ours_in_mongodb_is_left() {
    let sample = mongodb();
    assert!(sample.by_hand("quiesce").status.success());
    fs::write(sample.place().join("engine/hold"), "ours\ntheirs\n").unwrap();
    for _again in 0..2 {
        assert!(sample.by_hand("resume").status.success());
        assert!(sample.is_held());
        sample.assert_releases(1);
    }
}

#[test]
fn a_mongodb_that_lets_nobody_log_in_is_unlocked_through_the_connection_that_was_kept() {
    let sample = mongodb();
    let host = Simulated::new(&json!({}));
    let mut agent = sample.agent(&host);
    expect(0, &agent.pre_script(&id(1)).unwrap());
    fs::write(sample.place().join("engine/hang"), "").unwrap();
    expect(0, &agent.post_script(&id(1)).unwrap());
    sample.assert_releases(1);
    expect(0, &agent.pre_script(&id(2)).unwrap());
    agent.kill();
    expect(0, &agent.cli(["recover"]).unwrap());
    assert!(!sample.is_held());
    sample.assert_releases(2);
}

#[test]
fn without_the_connection_that_was_kept_mongodb_is_unlocked_through_a_new_one() {
    let sample = mongodb();
    assert!(sample.by_hand("quiesce").status.success());
    let lock = sample.place().join("records/orders.keeper/lock");
    let keepers = processes_with(&lock);
    assert!(!keepers.is_empty(), "nobody keeps the connection");
    assert!(Command::new("kill").arg("-KILL").args(keepers).status().unwrap().success());
    assert!(sample.by_hand("verify").status.success(), "the lock is still the same");
    assert!(sample.by_hand("resume").status.success());
    assert!(!sample.is_held());
    sample.assert_releases(1);
}

#[test]
fn a_mongodb_that_was_restarted_inside_the_window_is_203_and_not_unlocked() {
    let sample = mongodb();
    let host = Simulated::new(&json!({}));
    let agent = sample.agent(&host);
    expect(0, &agent.pre_script(&id(1)).unwrap());
    fs::write(sample.place().join("engine/process"), "second").unwrap();
    fs::write(sample.place().join("engine/hold"), "theirs\n").unwrap();
    expect(203, &agent.post_script(&id(1)).unwrap());
    assert!(sample.is_held());
    sample.assert_releases(0);
    let lock = sample.place().join("records/orders.keeper/lock");
    let ended = || processes_with(&lock).is_empty();
    quiesced_bed::wait_until("nobody keeps the connection any more", SOON, ended).unwrap();
}

mod sqlserver {
    use super::*;

    #[test]
    fn holds_until_post_script_which_records_the_metadata_in_the_same_session() {
        let sample = sqlserver();
        sample.holds_until_post_script_and_says_what_was_proved();
        let file = fs::read_to_string(sample.place().join("engine/backup")).unwrap();
        assert!(file.starts_with("/var/backups/mssql/quiesced-") && file.ends_with(".bkm\n"), "{file}");
    }

    #[test]
    fn a_suspension_that_is_refused_is_201() {
        let sample = sqlserver();
        sample.engine.refuse(sample.place());
        let host = Simulated::new(&json!({}));
        let agent = sample.agent(&host);
        let pre = agent.pre_script(&id(1)).unwrap();
        expect(201, &pre);
        assert!(pre.stdout.contains("Msg 3081"), "{}", pre.stdout);
        assert!(!sample.is_held());
        sample.assert_releases(0);
    }

    #[test]
    fn metadata_that_cannot_be_recorded_is_203_and_the_session_is_over() {
        let sample = sqlserver();
        fs::write(sample.place().join("engine/full"), "").unwrap();
        let host = Simulated::new(&json!({}));
        let agent = sample.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        expect(203, &agent.post_script(&id(1)).unwrap());
        assert!(!sample.is_held());
    }

    #[test]
    fn a_session_that_was_lost_is_203() {
        let sample = sqlserver();
        let host = Simulated::new(&json!({}));
        let agent = sample.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        sample.engine.lose(sample.place());
        expect(203, &agent.post_script(&id(1)).unwrap());
        assert!(!sample.place().join("engine/backup").exists());
    }

    #[test]
    fn a_script_that_was_killed_is_203_and_nothing_is_suspended() {
        let sample = sqlserver();
        let host = Simulated::new(&json!({}));
        let agent = sample.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        let name = fs::read_to_string(sample.place().join("engine/host")).unwrap();
        let script = name.trim().strip_prefix("quiesced-").unwrap();
        assert!(Command::new("kill").args(["-KILL", script]).status().unwrap().success());
        quiesced_bed::wait_until("nothing is suspended", SOON, || !sample.is_held()).unwrap();
        expect(203, &agent.post_script(&id(1)).unwrap());
        assert!(!sample.place().join("engine/backup").exists());
    }

    #[test]
    fn after_the_death_of_the_agent_nothing_is_suspended_or_recorded() {
        let sample = sqlserver();
        let host = Simulated::new(&json!({}));
        let mut agent = sample.agent(&host);
        expect(0, &agent.pre_script(&id(1)).unwrap());
        agent.kill();
        expect(0, &agent.cli(["recover"]).unwrap());
        quiesced_bed::wait_until("nothing is suspended", SOON, || !sample.is_held()).unwrap();
        assert!(!sample.place().join("engine/backup").exists());
    }

    #[test]
    fn at_the_end_of_the_lease_the_suspension_ends_without_a_backup() {
        let sample = sqlserver();
        let host = Simulated::new(&json!({}));
        let short = "[agent]\nlease = \"5s\"\npre_script_budget = \"4s\"\n";
        let agent = start(host.options(&format!("{short}{}timeout = \"4s\"\n", sample.table())));
        expect(0, &agent.pre_script(&id(1)).unwrap());
        wait_until_idle(&agent);
        assert!(!sample.is_held());
        sample.assert_releases(1);
        assert!(!sample.place().join("engine/backup").exists());
        expect(203, &agent.post_script(&id(1)).unwrap());
    }
}

/// What a snapshot inside the window would have, restored in the two ways that the page gives.
#[test]
fn a_copy_of_firebird_from_inside_the_window_has_what_the_page_says() {
    let sample = firebird();
    let sql = |database: &Path, statements: &str| {
        let file = sample.place().join("statements.sql");
        fs::write(&file, statements).unwrap();
        let output = Command::new("isql-fb").args(["-q", "-i"]).arg(&file).arg(database).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().split_whitespace().last().map(str::to_owned)
    };
    let database = sample.place().join(Firebird::DATABASE);
    let delta = |database: &Path| PathBuf::from(format!("{}.delta", database.display()));
    sql(&database, "CREATE TABLE t (n INTEGER); COMMIT; INSERT INTO t VALUES (1);");
    assert!(sample.by_hand("quiesce").status.success());
    sql(&database, "INSERT INTO t VALUES (2);");
    let [alone, both] = ["alone.fdb", "both.fdb"].map(|name| sample.place().join(name));
    fs::copy(&database, &alone).unwrap();
    fs::copy(&database, &both).unwrap();
    fs::copy(delta(&database), delta(&both)).unwrap();
    assert!(sample.by_hand("verify").status.success());
    assert!(sample.by_hand("resume").status.success());
    for (copy, unlock, rows) in [(&alone, "-F", "1"), (&both, "-N", "2"), (&database, "", "2")] {
        if !unlock.is_empty() {
            assert!(Command::new("nbackup").arg(unlock).arg(copy).status().unwrap().success());
        }
        assert_eq!(sql(copy, "SELECT COUNT(*) FROM t;").as_deref(), Some(rows), "{}", copy.display());
        assert!(!delta(copy).exists());
    }
}

/// Samples that only write out what is in memory.
mod flushes {
    use super::*;

    const CASSANDRA: (&str, &[&str]) = ("cassandra.sh", &["{}/bin/nodetool", "-pwf", "/etc/jmx"]);
    const CLICKHOUSE: (&str, &[&str]) =
        ("clickhouse.sh", &["{}/bin/clickhouse-client", "--config-file", "/etc/client.xml"]);
    const ORACLE: (&str, &[&str]) = ("oracle.sh", &["atomic", "{}", "ORCL"]);

    fn agent(sample: &Sample, host: &Simulated) -> Agent {
        let quiesce = &sample.argv;
        start(host.options(&format!("[hook.orders.exec]\nquiesce = {quiesce:?}\nresume = [\"/bin/true\"]\n")))
    }

    #[test]
    fn nothing_is_held_so_nothing_is_claimed() {
        for (script, arguments) in [CASSANDRA, CLICKHOUSE, ORACLE] {
            let sample = Sample::new(script, arguments, false, Fake);
            let host = Simulated::new(&json!({}));
            let agent = agent(&sample, &host);
            expect(0, &agent.pre_script(&id(1)).unwrap());
            let said = fs::read_to_string(sample.place().join("engine/said")).unwrap();
            assert_eq!(said.lines().count(), 1, "{script}: {said}");
            let post = agent.post_script(&id(1)).unwrap();
            expect(0, &post);
            assert!(post.stdout.starts_with("filesystem-consistent: "), "{script}: {}", post.stdout);
        }
    }

    #[test]
    fn a_server_that_does_not_answer_is_201() {
        for (script, arguments) in [CASSANDRA, CLICKHOUSE] {
            let sample = Sample::new(script, arguments, false, Fake);
            sample.engine.refuse(sample.place());
            let host = Simulated::new(&json!({}));
            let pre = agent(&sample, &host).pre_script(&id(1)).unwrap();
            expect(201, &pre);
            assert!(pre.stdout.contains("Connection refused"), "{script}: {}", pre.stdout);
        }
    }

    #[test]
    fn an_old_clickhouse_has_no_asynchronous_inserts_to_flush() {
        let sample = Sample::new(CLICKHOUSE.0, CLICKHOUSE.1, false, Fake);
        fs::write(sample.place().join("engine/old"), "").unwrap();
        assert!(sample.by_hand("quiesce").status.success());
    }
}

#[test]
fn redo_of_oracle_is_archived_after_the_hold() {
    let sample = oracle();
    assert!(sample.by_hand("quiesce").status.success());
    assert!(sample.by_hand("resume").status.success());
    let said = fs::read_to_string(sample.place().join("engine/said")).unwrap();
    assert_eq!(said, "ALTER SYSTEM ARCHIVE LOG CURRENT;\n");
}

#[test]
fn every_sample_and_every_fake_is_clean_for_shellcheck() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let scripts = ["scripts/hooks", "tests/fakes"].map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let scripts = scripts.into_iter().flatten().map(|entry| entry.unwrap().path());
    let scripts = scripts.filter(|path| fs::read_to_string(path).unwrap().lines().take(2).any(is_shell));
    let checked = Command::new("shellcheck").args(scripts).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

fn is_shell(line: &str) -> bool {
    line == "#!/bin/sh" || line == "#!/bin/bash" || line.starts_with("# shellcheck shell=sh")
}
