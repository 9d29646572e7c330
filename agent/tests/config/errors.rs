//! Everything that is wrong is said at once, with its place and what was probably meant.

use serde_json::json;

use crate::support::{Host, QUEUE};

#[test]
fn everything_that_is_wrong_in_two_files_is_said_at_once() {
    let host = Host::new();
    host.write(
        "etc/10-agent.toml",
        r#"[agent]
leese = "30s"
pre_script_budget = "8 parsecs"
on_conflict = "replase"
allow_root = 1

[lug]
level = "info"
"#,
    );
    host.write(
        "lib/20-hooks.toml",
        r#"[hook.orders.sqllite]
databases = ["/srv/orders.db"]

[hook.queue.exec]
quiesce = ["pause", "--now"]
resume = []
after = ["order"]

[hook.none]

[hook.half.exec]
quiesce = ["/bin/pause"]

[group.default]
hooks = ["queu", "queue"]
filesystems = "aut"

[group.other]
hooks = "queue"
"#,
    );
    insta::assert_snapshot!(host.errors(), @r#"
    error: unknown key `leese` in [agent]
     --> /etc/10-agent.toml:2:1
      |
    2 | leese = "30s"
      | ^^^^^
      |
      = hint: did you mean `lease`?

    error: `8 parsecs` is not a duration: unknown time unit "parsecs", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)
     --> /etc/10-agent.toml:3:21
      |
    3 | pre_script_budget = "8 parsecs"
      |                     ^^^^^^^^^^^
      |
      = hint: a number with a unit, in quotes, such as "500ms", "8s" or "1m 30s"

    error: `replase` is not one of "reject" or "replace"
     --> /etc/10-agent.toml:4:15
      |
    4 | on_conflict = "replase"
      |               ^^^^^^^^^
      |
      = hint: did you mean `replace`?

    error: expected true or false, found an integer
     --> /etc/10-agent.toml:5:14
      |
    5 | allow_root = 1
      |              ^

    error: unknown table `lug`
     --> /etc/10-agent.toml:7:2
      |
    7 | [lug]
      |  ^^^
      |
      = hint: did you mean `log`?

    error: `sqllite` is not a kind of hook
     --> /lib/20-hooks.toml:1:14
      |
    1 | [hook.orders.sqllite]
      |              ^^^^^^^
      |
      = hint: did you mean `sqlite`?

    error: `pause` is not an absolute path
     --> /lib/20-hooks.toml:5:12
      |
    5 | quiesce = ["pause", "--now"]
      |            ^^^^^^^

    error: `resume` names no program
     --> /lib/20-hooks.toml:6:10
      |
    6 | resume = []
      |          ^^

    error: there is no hook `order`
     --> /lib/20-hooks.toml:7:10
      |
    7 | after = ["order"]
      |          ^^^^^^^
      |
      = hint: did you mean `orders`?

    error: [hook.none] says no kind
     --> /lib/20-hooks.toml:9:1
      |
    9 | [hook.none]
      | ^^^^^^^^^^^
      |
      = hint: write [hook.none.exec], [hook.none.mariadb], [hook.none.mysql], [hook.none.postgresql], [hook.none.redis], [hook.none.session] or [hook.none.sqlite]

    error: [hook.half.exec] lacks the key `resume`
      --> /lib/20-hooks.toml:11:1
       |
    11 | [hook.half.exec]
       | ^^^^^^^^^^^^^^^^

    error: there is no hook `queu`
      --> /lib/20-hooks.toml:15:10
       |
    15 | hooks = ["queu", "queue"]
       |          ^^^^^^
       |
       = hint: did you mean `queue`?

    error: expected "auto" or a list, found `aut`
      --> /lib/20-hooks.toml:16:15
       |
    16 | filesystems = "aut"
       |               ^^^^^
       |
       = hint: did you mean `auto`?

    error: expected "all" or a list, found `queue`
      --> /lib/20-hooks.toml:19:9
       |
    19 | hooks = "queue"
       |         ^^^^^^^
       |
       = hint: a list of one is written ["queue"]
    "#);
}

#[test]
fn two_kinds_of_one_hook_are_both_pointed_at() {
    let host = Host::new();
    host.write("lib/10-queue.toml", QUEUE);
    host.write("etc/20-local.toml", "[hook.queue.sqlite]\ndatabases = [\"/srv/queue.db\"]\n");
    insta::assert_snapshot!(host.errors(), @r#"
    error: [hook.queue] has two kinds, `exec` and `sqlite`
     --> /etc/20-local.toml:1:13
      |
    1 | [hook.queue.sqlite]
      |             ^^^^^^
      |
     ::: /lib/10-queue.toml:2:13
      |
    2 | [hook.queue.exec]
      |             ---- the other kind is written here
    "#);
}

#[test]
fn what_may_stand_in_a_broken_file_is_not_said_to_be_missing() {
    let host = Host::new();
    host.write("etc/15.toml", "[hook.orders.session]\nuser = \"orders\"\n[hook.none]\n");
    host.write("etc/10.toml", "[hook.queue.exec]\nresume = [\"/bin/go\"\n[log\n");
    host.write(
        "etc/20.toml",
        "[hook.queue.exec]\nuzer = \"a\"\nafter = [\"orders\"]\n[group.g]\nhooks = [\"x\"]\n",
    );
    insta::assert_snapshot!(host.errors(), @r#"
    error: missing comma between array elements, expected `,`
     --> /etc/10.toml:3:1
      |
    3 | [log
      | ^

    error: unknown key `uzer` in [hook.queue.exec]
     --> /etc/20.toml:2:1
      |
    2 | uzer = "a"
      | ^^^^
      |
      = hint: did you mean `user`?
    "#);
}

#[test]
fn a_byte_that_is_no_text_is_pointed_at() {
    let host = Host::with(b"[agent]\n# caf\xe9\n");
    insta::assert_snapshot!(host.errors(), @r#"
    error: this is not UTF-8, which TOML is written in
     --> /etc/a.toml:2:6
      |
    2 | # caf�
      |      ^
    "#);
}

#[test]
fn a_file_as_a_whole_is_named_with_what_to_run() {
    let host = Host::with("");
    crate::support::chmod(&host.path("etc/a.toml"), 0o666);
    insta::assert_snapshot!(host.errors(), @r#"
    error: /etc/a.toml belongs to uid 0 and has mode 0666: others than its owner can write to it
    --> /etc/a.toml
     = hint: chmod go-w /etc/a.toml
    "#);
}

#[test]
fn every_unknown_name_is_refused_with_the_nearest_known_one() {
    let queue = |line: &str| format!("{QUEUE}{line}\n");
    for (text, meant) in [
        ("[agnet]".to_owned(), "agent"),
        ("[hooks.a.exec]".to_owned(), "hook"),
        ("[agent]\nlaese = \"1s\"".to_owned(), "lease"),
        ("[agent]\npre-script-budget = \"1s\"".to_owned(), "pre_script_budget"),
        ("[agent]\non_conflict = \"rejected\"".to_owned(), "reject"),
        ("[log]\nlevel = \"warning\"".to_owned(), "warn"),
        ("[log]\nfolder = 1\ndir = \"/l\"".to_owned(), "directory"),
        ("[hook.a.exce]".to_owned(), "exec"),
        (queue("Timeout = \"1s\""), "timeout"),
        (queue("verfiy = [\"/bin/true\"]"), "verify"),
        (queue("after = [\"qeue\"]"), "queue"),
        (queue("[group.default]\nhooks = [\"quue\"]"), "queue"),
        (queue("[group.default]\nfilesystem = \"auto\""), "filesystems"),
        (queue("[group.default]\nhooks = \"al\""), "all"),
    ] {
        let errors = Host::with(&text).load().unwrap_err();
        let hints: Vec<_> = errors.findings().iter().filter_map(|finding| finding.hint.clone()).collect();
        assert!(
            hints.iter().any(|hint| hint.contains(&format!("did you mean `{meant}`?"))),
            "{text}: {hints:?}"
        );
    }
}

#[test]
fn a_name_like_no_other_gets_the_list_of_those_that_are_known() {
    let errors = Host::with("[group.g]\nzzz = 1").load().unwrap_err();
    assert_eq!(errors.findings()[0].hint.as_deref(), Some("known keys: expect_volumes, filesystems, hooks"));
}

#[test]
fn the_wrong_type_is_named_with_the_right_one() {
    for (text, message) in [
        ("agent = 1", "expected a table, found an integer"),
        ("hook = []", "expected a table, found a list"),
        ("[hook]\na = \"exec\"", "expected a table, found a string"),
        ("[agent]\nlease = 30", "expected a string, found an integer"),
        ("[agent]\nallow_root = \"no\"", "expected true or false, found a string"),
        (
            "[log]\nlevel = 3",
            "expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found an integer",
        ),
        ("[log]\nkeep = 0", "expected a number from 1 to 3650, found 0"),
        (
            "[log]\nkeep = 99999999999999999999",
            "expected a number from 1 to 3650, found 99999999999999999999",
        ),
        ("[log]\nkeep = 2026-11-23", "expected a number, found a date"),
        ("[group.g]\nhooks = 1", "expected \"all\" or a list, found an integer"),
        ("[group.g]\nfilesystems = [1]", "expected a string, found an integer"),
    ] {
        assert_eq!(Host::with(text).messages(), [message], "{text}");
    }
}

#[test]
fn programs_get_the_place_of_each_error() {
    let host = Host::with("[agent]\nlease = \"x\"\n");
    let errors = host.load().unwrap_err();
    let expected = json!([{
        "file": host.path("etc/a.toml"),
        "line": 2,
        "column": 9,
        "message": "`x` is not a duration: expected number at 0",
        "hint": "a number with a unit, in quotes, such as \"500ms\", \"8s\" or \"1m 30s\"",
    }]);
    assert_eq!(json!(errors.findings()), expected);
}

#[test]
fn colour_is_only_used_when_it_is_asked_for() {
    let errors = Host::with("x = 1").load().unwrap_err();
    assert!(errors.render(true).contains('\u{1b}'));
    assert!(!errors.render(false).contains('\u{1b}'));
}

#[test]
fn more_errors_than_anybody_reads_are_counted() {
    let text: String = (0..70).map(|number| format!("x{number} = 1\n")).collect();
    let errors = Host::with(text).load().unwrap_err();
    assert_eq!(errors.findings().len(), 70);
    assert!(errors.to_string().ends_with("error: 20 more errors are not shown"));
}
