//! The package on a system that was really booted: whatever happens to the agent or its package, nothing stays frozen,
//! and nothing that the user wrote is lost.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod packages;

use std::fs;
use std::time::Duration;

use common::{SOON, binary, expect, frozen, id};
use packages::{Parts, only, require_nfpm};
use quiesced_bed::agent::CliOutput;
use quiesced_bed::machine::{Machine, require_boot_root};
use quiesced_bed::{Bed, Fs, MIB, Volume, wait_until};

const UNIT: &str = "quiesced.service";
const SETTINGS: &str = "/etc/quiesced/conf.d/10-agent.toml";
const OWN_SETTINGS: &str = "/etc/quiesced/conf.d/50-site.toml";
/// The watchdog of the unit, and what a busy machine takes beside it.
const WATCHDOG: Duration = Duration::from_secs(40);

/// A booted system with one volume, and the packages of two versions.
struct Scene {
    // Dropped first: it uses the volume.
    machine: Machine,
    volume: Volume,
    _bed: Bed,
}

impl Scene {
    fn new() -> Self {
        let bed = Bed::new().unwrap();
        let volume = bed.host_volume("data", Fs::Xfs, 320 * MIB).unwrap();
        let parts = Parts::new(binary());
        let packages = bed.directory().join("packages");
        fs::create_dir(&packages).unwrap();
        for version in ["0.1.0", "0.2.0"] {
            let out = parts.package(version, &["--version", version]);
            fs::copy(only(&out, ".deb"), packages.join(format!("{version}.deb"))).unwrap();
        }
        let binds = [(volume.mount_point.as_path(), "/srv/data"), (packages.as_path(), "/packages")];
        let machine = Machine::boot(&bed, &binds).unwrap();
        Self { machine, volume, _bed: bed }
    }

    /// The system with an installed agent that runs, and holds the volume in a session.
    fn running() -> Self {
        let scene = Self::new();
        expect(0, &scene.install("0.1.0"));
        fs::write(scene.machine.path(OWN_SETTINGS), "[group.default]\nfilesystems = [\"/srv/data\"]\n")
            .unwrap();
        expect(0, &scene.run(&["systemctl", "enable", "--now", UNIT]));
        scene
    }

    fn run(&self, line: &[&str]) -> CliOutput {
        self.machine.run(line).unwrap()
    }

    fn install(&self, version: &str) -> CliOutput {
        self.run(&["dpkg", "--install", &format!("/packages/{version}.deb")])
    }

    fn hold(&self, digit: u8) {
        expect(0, &self.run(&["quiesced", "pre-script", "--execution-id", &id(digit)]));
        assert!(frozen(&self.volume.mount_point), "pre-script claims what is not so");
    }

    fn post(&self, digit: u8) -> CliOutput {
        self.run(&["quiesced", "post-script", "--execution-id", &id(digit)])
    }

    fn is_thawed(&self) -> bool {
        !frozen(&self.volume.mount_point)
    }

    fn wait_until_thawed(&self, limit: Duration) {
        wait_until("the volume is thawed", limit, || self.is_thawed()).unwrap();
    }

    fn is_idle(&self) -> bool {
        self.run(&["systemctl", "show", "--property=StatusText", "--value", UNIT]).stdout.trim() == "idle"
    }

    /// systemd has started another agent in the place of `former`, and it is ready.
    fn wait_for_another(&self, former: i32) {
        let is_another = || self.machine.main_pid(UNIT).is_some_and(|pid| pid != former) && self.is_idle();
        wait_until("another agent runs", WATCHDOG, is_another).unwrap();
    }

    fn main_pid(&self) -> i32 {
        self.machine.main_pid(UNIT).expect("the agent runs")
    }

    fn signal_main(&self, signal: &str) {
        expect(0, &self.run(&["systemctl", "kill", "--kill-who=main", &format!("--signal={signal}"), UNIT]));
    }

    /// A whole session works: so the agent does.
    fn assert_works(&self, digit: u8) {
        self.hold(digit);
        expect(0, &self.post(digit));
        assert!(self.is_thawed());
    }
}

#[test]
fn an_installation_starts_nothing_and_the_unit_serves_sessions_once_it_is_started() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::new();
    expect(0, &scene.install("0.1.0"));
    assert_eq!(scene.machine.main_pid(UNIT), None);
    let refused = scene.run(&["quiesced", "pre-script"]);
    expect(206, &refused);
    assert!(refused.stderr.contains("systemctl start quiesced"), "{}", refused.stderr);

    fs::write(scene.machine.path(OWN_SETTINGS), "[group.default]\nfilesystems = [\"/srv/data\"]\n").unwrap();
    expect(0, &scene.run(&["systemctl", "enable", "--now", UNIT]));
    assert!(scene.is_idle(), "the unit was started before the agent was ready");
    expect(0, &scene.run(&["quiesced", "check"]));
    expect(0, &scene.run(&["quiesced", "dry-run"]));
    scene.assert_works(1);
    let reports = scene.run(&["sh", "-c", "ls /var/lib/quiesced/sessions/*.json | wc -l"]);
    assert_eq!(reports.stdout.trim(), "1");
}

#[test]
fn what_is_mounted_or_unmounted_on_the_host_is_so_for_the_agent_as_well() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    let seen =
        || fs::read_to_string(scene.machine.path(&format!("/proc/{}/mounts", scene.main_pid()))).unwrap();
    assert!(!seen().contains(" /mnt "));
    expect(0, &scene.run(&["mount", "-t", "tmpfs", "later", "/mnt"]));
    assert!(seen().contains(" /mnt "));
    expect(0, &scene.run(&["umount", "/mnt"]));
    assert!(!seen().contains(" /mnt "));
}

#[test]
fn an_agent_that_is_killed_in_the_window_holds_nothing_and_another_takes_its_place() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    let former = scene.main_pid();
    scene.hold(1);
    scene.signal_main("SIGKILL");
    scene.wait_until_thawed(SOON);
    scene.wait_for_another(former);
    expect(203, &scene.post(1));
    scene.assert_works(2);
}

#[test]
fn an_agent_that_is_stopped_in_the_window_is_ended_by_the_watchdog_and_holds_nothing() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    let former = scene.main_pid();
    scene.hold(1);
    scene.signal_main("SIGSTOP");
    scene.wait_until_thawed(WATCHDOG);
    scene.wait_for_another(former);
    expect(203, &scene.post(1));
    scene.assert_works(2);
}

#[test]
fn stopping_or_restarting_the_unit_in_the_window_releases_everything_first() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    scene.hold(1);
    expect(0, &scene.run(&["systemctl", "restart", UNIT]));
    assert!(scene.is_thawed());
    expect(203, &scene.post(1));
    scene.hold(2);
    expect(0, &scene.run(&["systemctl", "stop", UNIT]));
    assert!(scene.is_thawed());
    expect(203, &scene.post(2));
}

#[test]
fn an_upgrade_or_a_downgrade_waits_for_the_session_and_loses_no_setting() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    let settings = "[agent]\nlease = \"20s\"\n";
    fs::write(scene.machine.path(SETTINGS), settings).unwrap();
    expect(0, &scene.run(&["systemctl", "reload", UNIT]));
    for (digit, version) in [(1, "0.2.0"), (2, "0.1.0")] {
        let former = scene.main_pid();
        scene.hold(digit);
        let line =
            ["dpkg", "--force-confdef", "--force-confold", "--install", &format!("/packages/{version}.deb")];
        let mut upgrade = scene.machine.start(line).unwrap();
        let is_unpacked = || {
            let shown = scene.run(&[
                "dpkg-query",
                "--show",
                "--showformat=${Version} ${db:Status-Status}",
                "quiesced",
            ]);
            shown.stdout == format!("{version}-1 half-configured")
        };
        wait_until("the package is unpacked, and waits", WATCHDOG, is_unpacked).unwrap();
        assert!(!upgrade.has_ended());
        assert!(frozen(&scene.volume.mount_point), "the upgrade ended the session");
        assert_eq!(scene.main_pid(), former);
        expect(0, &scene.post(digit));
        expect(0, &upgrade.wait().unwrap());
        scene.wait_for_another(former);
        assert_eq!(fs::read_to_string(scene.machine.path(SETTINGS)).unwrap(), settings);
    }
    scene.assert_works(3);
}

#[test]
fn an_upgrade_leaves_the_running_agent_alone_when_the_new_version_refuses_its_configuration() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    let former = scene.main_pid();
    fs::write(scene.machine.path("/etc/quiesced/conf.d/60-odd.toml"), "[agent]\nleese = \"20s\"\n").unwrap();
    let upgrade = scene.install("0.2.0");
    expect(0, &upgrade);
    assert!(upgrade.stderr.contains("was not restarted"), "{}", upgrade.stderr);
    assert_eq!(scene.main_pid(), former);
    scene.assert_works(1);
}

#[test]
fn a_removal_in_the_window_releases_first_and_a_purge_leaves_only_what_the_user_wrote() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    scene.hold(1);
    expect(0, &scene.run(&["dpkg", "--remove", "quiesced"]));
    assert!(scene.is_thawed());
    assert_eq!(scene.machine.main_pid(UNIT), None);
    // A removal keeps what a later installation goes on with.
    assert!(
        scene.machine.path(SETTINGS).exists() && scene.machine.path("/var/lib/quiesced/sessions").exists()
    );
    expect(0, &scene.run(&["dpkg", "--purge", "quiesced"]));
    let left = scene.run(&[
        "sh",
        "-c",
        "find / -xdev -name '*quiesced*' ! -path '/proc/*' ! -path '/tmp/*'; ls /etc/quiesced/conf.d",
    ]);
    assert_eq!(left.stdout, "/etc/quiesced\n50-site.toml\n", "{}", left.stdout);
}

#[test]
fn a_removal_is_refused_when_nobody_can_say_that_nothing_is_held_and_the_agent_goes_on() {
    if !require_boot_root("a booted system") || !require_nfpm("a package") {
        return;
    }
    let scene = Scene::running();
    // Not even the agent's own end can read this.
    fs::write(scene.machine.path("/run/quiesced/journal"), "no journal").unwrap();
    let removal = scene.run(&["dpkg", "--remove", "quiesced"]);
    assert_ne!(removal.code, Some(0));
    assert!(removal.stderr.contains("still held"), "{}", removal.stderr);
    assert!(scene.machine.path("/usr/bin/quiesced").exists());
    fs::remove_file(scene.machine.path("/run/quiesced/journal")).unwrap();
    expect(0, &scene.run(&["dpkg", "--remove", "quiesced"]));
}
