//! The samples of `scripts/hooks`, through the agent: Firebird as it is, other engines as fakes of their clients
//! (`tests/fakes`) that keep what an engine would.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Simulated, expect, id, start};
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
        let verify = if self.proves { format!("verify = {argv:?}\n") } else { String::new() };
        format!("[hook.orders.exec]\nquiesce = {argv:?}\nresume = {argv:?}\n{verify}")
    }

    /// An agent with this one hook.
    fn agent(&self, host: &Simulated) -> Agent {
        start(host.options(&self.table()))
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
keeps_the_rules!(oracle: oracle(), a_hold_that_was_lost_is_203_and_not_released_again, a_hold_that_nobody_confirmed_is_201_and_undone);
keeps_the_rules!(db2: db2(), a_hold_that_was_lost_is_203_and_not_released_again, a_hold_that_nobody_confirmed_is_201_and_undone);
keeps_the_rules!(iris: iris(), a_hold_that_was_lost_is_203_and_not_released_again, a_hold_that_nobody_confirmed_is_201_and_undone);
keeps_the_rules!(hana: hana(), a_hold_that_was_lost_is_203_and_not_released_again, a_hold_that_nobody_confirmed_is_201_and_undone);
keeps_the_rules!(ase: ase(), a_hold_that_nobody_confirmed_is_201_and_undone);

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

fn ase() -> Sample {
    let password = "{}/password";
    let tag = "quiesced_orders";
    let arguments =
        ["{}/records/orders", "{}/bin/isql", "ASE", "quiesced", password, tag, "orders", "billing"];
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
    line == "#!/bin/sh" || line.starts_with("# shellcheck shell=sh")
}
