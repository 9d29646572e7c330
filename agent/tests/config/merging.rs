//! Which files are in force, and how they become one configuration.

use std::path::PathBuf;
use std::time::Duration;

use quiesced::config::{FilesystemSelection, HookSelection, Settings, Sources, load, show, show_json};
use quiesced_hooks::settings::HookSettings;

use crate::support::{Host, QUEUE};

fn lease(seconds: u64) -> String {
    format!("[agent]\nlease = \"{seconds}s\"\n")
}

fn lease_of(host: &Host) -> u64 {
    host.settings().agent.lease.as_secs()
}

#[test]
fn without_any_file_everything_has_its_default() {
    let host = Host::new();
    assert_eq!(host.settings(), Settings::default());
    let default = host.settings().group("default").cloned().unwrap();
    assert_eq!(default.hooks, HookSelection::All);
    assert_eq!(default.filesystems, FilesystemSelection::Auto);
}

#[test]
fn directories_that_do_not_exist_are_empty_ones() {
    let sources = Sources { directories: vec![PathBuf::from("/nonexistent/conf.d")], must_exist: None };
    assert_eq!(load(&sources).unwrap().settings, Settings::default());
}

#[test]
fn a_named_directory_must_exist() {
    let error = load(&Sources::below("/nonexistent".as_ref())).unwrap_err();
    assert_eq!(error.findings()[0].message, "there is no directory /nonexistent");
}

#[test]
fn a_named_directory_takes_the_place_of_all_others() {
    let host = Host::new();
    std::fs::create_dir(host.path("etc/conf.d")).unwrap();
    host.write("etc/conf.d/a.toml", lease(20));
    host.write("etc/b.toml", lease(25));
    let loaded = load(&Sources::below(&host.path("etc"))).unwrap();
    assert_eq!(loaded.settings.agent.lease, Duration::from_secs(20));
    assert_eq!(loaded.files, [host.path("etc/conf.d/a.toml")]);
}

#[test]
fn a_later_directory_replaces_the_whole_file_of_the_same_name() {
    let host = Host::new();
    host.write("lib/a.toml", format!("{}pre_script_budget = \"3s\"\n", lease(20)));
    host.write("etc/a.toml", lease(25));
    assert_eq!(lease_of(&host), 25);
    assert_eq!(host.settings().agent.pre_script_budget, Duration::from_secs(8));
}

#[test]
fn files_are_merged_in_the_order_of_their_names_whatever_their_directory() {
    let host = Host::new();
    host.write("lib/20.toml", lease(20));
    host.write("etc/10.toml", lease(10));
    assert_eq!(lease_of(&host), 20);
    let files = host.load().unwrap().files;
    assert_eq!(files, [host.path("etc/10.toml"), host.path("lib/20.toml")]);
}

#[test]
fn a_link_to_dev_null_masks_the_file() {
    let host = Host::new();
    host.write("lib/a.toml", lease(20));
    host.link("etc/a.toml", "/dev/null");
    assert_eq!(lease_of(&host), 30);
}

#[test]
fn an_empty_file_replaces_and_says_nothing() {
    let host = Host::new();
    host.write("lib/a.toml", lease(20));
    host.write("run/a.toml", "");
    assert_eq!(lease_of(&host), 30);
}

#[test]
fn what_editors_and_packagers_leave_behind_is_not_read() {
    let host = Host::new();
    host.write("etc/a.toml.dpkg-dist", "no toml");
    host.write("etc/.a.toml", "no toml");
    host.link("etc/.#a.toml", "user@host.1234");
    assert_eq!(host.settings(), Settings::default());
}

#[test]
fn a_drop_in_overrides_one_key_of_a_hook() {
    let host = Host::new();
    host.write("lib/queue.toml", QUEUE);
    host.write("etc/queue-local.toml", "hook.queue.exec.timeout = \"1m 30s\"\nagent.lease = \"2m\"");
    host.write("etc/zz.toml", "[hook.queue.exec]\nresume = [\"/bin/go\", \"--now\"]\n");
    let HookSettings::Exec(exec) = host.settings().hook["queue"].clone() else { panic!("not an exec hook") };
    // '-' sorts before '.', so the drop-in is merged before the file it changes: each key is in only one of them.
    assert_eq!(exec.common.timeout, Duration::from_secs(90));
    assert_eq!(exec.quiesce, ["/bin/pause"]);
    assert_eq!(exec.resume, ["/bin/go", "--now"]);
}

#[test]
fn a_group_selects_its_hooks() {
    let mut text = QUEUE.to_owned() + "[hook.orders.sqlite]\ndatabases = [\"/srv/orders.db\"]\n";
    text += "[group.nightly]\nhooks = [\"orders\"]\nfilesystems = [\"/srv\"]\n";
    let settings = Host::with(text).settings();
    let names =
        |group| settings.hooks_of(settings.group(group).unwrap()).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("default"), ["orders", "queue"]);
    assert_eq!(names("nightly"), ["orders"]);
    assert_eq!(settings.group("weekly"), None);
}

#[test]
fn every_key_is_shown_with_the_line_that_said_it() {
    let host = Host::new();
    host.write("lib/10.toml", format!("{}{QUEUE}", lease(20)));
    host.write("etc/20.toml", "[hook.queue.exec]\nuser = \"queue\"\n");
    let text = show(&host.load().unwrap(), true);
    let root = host.path("");
    insta::assert_snapshot!(text.replace(root.to_str().unwrap(), "/"), @r#"
    [agent]
    allow_root = false        # default
    lease = "20s"             # /lib/10.toml:2
    on_conflict = "reject"    # default
    pre_script_budget = "8s"  # default
    script_timeout = "10s"    # default

    [group.default]
    expect_volumes = []       # default
    filesystems = "auto"      # default
    hooks = "all"             # default

    [hook.queue.exec]
    after = []                # default
    data = []                 # default
    quiesce = ["/bin/pause"]  # /lib/10.toml:5
    resume = ["/bin/go"]      # /lib/10.toml:6
    timeout = "5s"            # default
    user = "queue"            # /etc/20.toml:2

    [log]
    format = "text"           # default
    keep = 14                 # default
    level = "info"            # default

    [report]
    keep = 288                # default
    keep_for = "1year"        # default
    manifest = false          # default

    [report.ssm]
    enabled = false           # default
    "#);
}

#[test]
fn what_is_shown_is_a_configuration_that_says_the_same() {
    let host = Host::with(
        QUEUE.to_owned() + "after = []\ndata = [\"/srv/a b\", \"/\\\"\\n\"]\n[log]\nlevel = \"debug\"\n",
    );
    let loaded = host.load().unwrap();
    for with_origin in [false, true] {
        assert_eq!(Host::with(show(&loaded, with_origin)).settings(), loaded.settings);
    }
}

#[test]
fn what_a_later_file_overrides_is_shown_with_its_place() {
    let host = Host::with(lease(20));
    host.write("etc/b.toml", lease(25));
    let shown = show(&host.load().unwrap(), true);
    let place = |name: &str| host.path(name).display().to_string();
    let expected =
        format!("lease = \"25s\"  # {}:2, instead of {}:2\n", place("etc/b.toml"), place("etc/a.toml"));
    let aligned = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n");
    assert!(aligned.collect::<String>().contains(&expected.replace("  #", " #")), "{shown}");
}

#[test]
fn the_json_form_names_origins_only_for_what_was_written() {
    let host = Host::with(lease(20));
    let json = show_json(&host.load().unwrap());
    let file = host.path("etc/a.toml");
    let file = file.to_str().unwrap();
    assert_eq!(json["settings"]["agent"]["lease"], "20s");
    assert_eq!(json["origins"], serde_json::json!({ "agent.lease": { "file": file, "line": 2 } }));
    assert_eq!(json["files"], serde_json::json!([file]));
}
