//! What the settings must obey beyond their types.

use crate::support::{Host, QUEUE};

fn messages(text: &str) -> Vec<String> {
    Host::with(text).messages()
}

#[test]
fn the_lease_lasts_from_a_second_to_ten_minutes() {
    for sound in ["lease = \"10m\"", "lease = \"1001ms\"\npre_script_budget = \"1s\""] {
        Host::with(format!("[agent]\n{sound}")).settings();
    }
    let long = messages("[agent]\nlease = \"601s\"");
    assert_eq!(long, ["the lease is 10m 1s; it must last from 1s to 10m"]);
    let short = messages("[agent]\nlease = \"900ms\"\npre_script_budget = \"900ms\"");
    assert_eq!(
        short,
        [
            "the lease is 900ms; it must last from 1s to 10m",
            "the lease (900ms) must be longer than the budget of pre-script (900ms), which is part of it",
            "the budget of pre-script is 900ms; it must be from 1s to 100s",
        ]
    );
}

#[test]
fn the_budget_of_pre_script_is_shorter_than_the_lease_also_when_only_one_is_written() {
    let errors = Host::with("[agent]\npre_script_budget = \"40s\"").load().unwrap_err();
    assert_eq!(
        errors.findings()[0].message,
        "the lease (30s) must be longer than the budget of pre-script (40s), which is part of it"
    );
    assert_eq!((errors.findings()[0].line, errors.findings()[0].column), (Some(2), Some(21)));
}

#[test]
fn a_timeout_is_not_longer_than_the_lease_and_not_nothing() {
    let long = messages(&(QUEUE.to_owned() + "timeout = \"31s\""));
    assert_eq!(long, ["the timeout of [hook.queue.exec] (31s) is longer than the lease (30s)"]);
    let none = messages(&(QUEUE.to_owned() + "timeout = \"0s\""));
    assert_eq!(none, ["a timeout of nothing leaves no time for any step"]);
}

#[test]
fn a_lease_that_cannot_be_read_makes_no_timeout_wrong() {
    let text = QUEUE.to_owned() + "timeout = \"1m\"\n[agent]\nlease = \"two minutes\"";
    assert_eq!(messages(&text), ["`two minutes` is not a duration: expected number at 0"]);
}

#[test]
fn a_command_names_a_program_by_an_absolute_path() {
    let text = "[hook.a.exec]\nquiesce = []\nresume = [\"bin/go\"]\nverify = [\"/bin/v\", \"\\u0000\"]\n\
                [hook.b.session]\ncommand = [\"\"]";
    assert_eq!(
        messages(text),
        [
            "`quiesce` names no program",
            "`bin/go` is not an absolute path",
            "an argument cannot hold a NUL character",
            "`` is not an absolute path",
        ]
    );
}

#[test]
fn every_path_is_absolute() {
    let text = "[log]\ndirectory = \"log\"\n[hook.a.sqlite]\ndatabases = [\"/a.db\", \"b.db\"]\n\
                [hook.b.session]\ncommand = [\"/bin/s\"]\ndata = [\"/\\u0000\"]\n[group.g]\nfilesystems = [\"srv\"]";
    assert_eq!(
        messages(text),
        [
            "`log` is not an absolute path",
            "`b.db` is not an absolute path",
            "a path cannot hold a NUL character",
            "`srv` is not an absolute path",
        ]
    );
}

#[test]
fn a_hook_has_something_to_hold() {
    assert_eq!(messages("[hook.a.sqlite]\ndatabases = []"), ["a sqlite hook needs at least one database"]);
    assert_eq!(messages(&(QUEUE.to_owned() + "user = \"\"")), ["this cannot be the name of a user"]);
}

#[test]
fn names_are_plain() {
    let hook = |name: &str| format!("[hook.{name}.sqlite]\ndatabases = [\"/a.db\"]\n");
    let longest = "a".repeat(64);
    for sound in ["a", "0", "orders-db", "\"a.b_c\"", &longest] {
        Host::with(hook(sound)).settings();
    }
    let longer = "a".repeat(65);
    for (written, shown) in
        [("A", "A"), ("-a", "-a"), ("\"\"", ""), ("\"a b\"", "a b"), ("\"ä\"", "ä"), (&longer, &longer)]
    {
        assert_eq!(messages(&hook(written)), [format!("`{shown}` cannot be the name of a hook")]);
    }
    assert_eq!(messages("[group.\"a\\n\"]"), ["`a\\n` cannot be the name of a group"]);
}

/// Sqlite hooks by name, each with the names that it comes after.
fn chain(hooks: &[(&str, &str)]) -> String {
    let table = |(name, after): &(&str, &str)| {
        format!("[hook.{name}.sqlite]\ndatabases = [\"/a.db\"]\nafter = [{after}]\n")
    };
    hooks.iter().map(table).collect()
}

#[test]
fn hooks_do_not_wait_for_each_other() {
    let text = chain(&[("a", "\"b\""), ("b", "\"c\""), ("c", "\"a\""), ("d", "\"a\"")]);
    assert_eq!(messages(&text), ["hooks wait for each other: a after b after c after a"]);
    Host::with(chain(&[("a", ""), ("b", "\"a\""), ("c", "\"a\", \"b\"")])).settings();
}

#[test]
fn every_cycle_is_named() {
    let text = chain(&[("a", "\"b\""), ("b", "\"a\""), ("c", "\"d\""), ("d", "\"c\"")]);
    assert_eq!(
        messages(&text),
        ["hooks wait for each other: a after b after a", "hooks wait for each other: c after d after c"]
    );
}

#[test]
fn after_names_another_hook_that_exists() {
    let text = chain(&[("orders", "\"orders\", \"ledgr\""), ("ledger", "")]);
    assert_eq!(messages(&text), ["hook `orders` cannot come after itself", "there is no hook `ledgr`"]);
    let errors = Host::with(&text).load().unwrap_err();
    assert_eq!(errors.findings()[1].hint.as_deref(), Some("did you mean `ledger`?"));
}

#[test]
fn a_hook_with_errors_of_its_own_still_exists_for_others() {
    let text = chain(&[("a", "\"b\"")]) + "[hook.b.sqlite]\ndatabases = 3\n";
    assert_eq!(messages(&text), ["expected a list, found an integer"]);
}

#[test]
fn a_group_names_hooks_that_exist_each_once() {
    let text = chain(&[("a", "")]) + "[group.g]\nhooks = [\"a\", \"zebra\", \"a\"]";
    assert_eq!(messages(&text), ["there is no hook `zebra`", "hook `a` is listed twice"]);
    let errors = Host::with(&text).load().unwrap_err();
    assert_eq!(errors.findings()[0].hint.as_deref(), Some("known hooks: a"));
}

#[test]
fn a_group_holds_what_its_hooks_come_after() {
    let text = chain(&[("a", ""), ("b", "\"a\"")]) + "[group.g]\nhooks = [\"b\"]";
    assert_eq!(messages(&text), ["hook `b` comes after `a`, which is not in the group `g`"]);
    let errors = Host::with(&text).load().unwrap_err();
    assert_eq!(errors.findings()[0].hint.as_deref(), Some("add \"a\" to the hooks of the group"));
}

#[test]
fn expected_volumes_are_ids_of_volumes() {
    Host::with("[group.default]\nexpect_volumes = [\"vol-1a2b3c4d\", \"vol-0123456789abcdef0\"]").settings();
    let errors = messages("[group.default]\nexpect_volumes = [\"vol-1a2b3c4d\", \"vol1a2b3c4d\"]");
    assert_eq!(errors, ["`vol1a2b3c4d` is not the id of a volume"]);
}

#[test]
fn a_password_is_named_and_never_written_down() {
    let host = Host::new();
    host.write(
        "etc/10.toml",
        "[hook.a.postgresql]\npassword = \"s3cret\"\n[hook.b.redis]\npassword = { file = \"relative\" }\n\
         [hook.c.mariadb]\npassword = { credential = \"a/b\" }\n",
    );
    let errors = host.errors();
    for line in ["10.toml:2:", "10.toml:4:", "10.toml:6:"] {
        assert!(errors.contains(line), "{line} is missing in\n{errors}");
    }
    assert!(!errors.contains("s3cret") && errors.contains("password = \"******\""), "{errors}");
}

#[test]
fn a_password_does_not_leave_the_host_in_clear() {
    let hook = |host: &str, more: &str| {
        format!("[hook.a.postgresql]\nhost = \"{host}\"\npassword = {{ file = \"/etc/p\" }}\n{more}")
    };
    for near in ["/run/postgresql", "localhost", "127.0.0.1"] {
        Host::with(hook(near, "")).settings();
    }
    Host::with(hook("db.example", "tls_ca = \"/etc/ca.pem\"\n")).settings();
    assert!(Host::with(hook("db.example", "")).errors().contains("only with `tls_ca`"));
}

#[test]
fn figures_are_served_to_this_host_alone_and_reports_kept_for_a_while() {
    for (text, message) in [
        ("[metrics]\nlisten = \"0.0.0.0:9464\"", "0.0.0.0:9464 can be reached from other hosts"),
        ("[metrics]\nlisten = \"localhost\"", "`localhost` is not an address with a port"),
        ("[report]\nkeep_for = \"5m\"", "reports are kept for 5m, which must be at least 1h"),
        (
            "[report.webhook]\nurl = \"http://example.com/\"\nsecret = { file = \"/s\" }",
            "`http://example.com/` would send reports in the clear",
        ),
        (
            "[report.webhook]\nurl = \"example.com\"\nsecret = { file = \"/s\" }",
            "`example.com` is not an https address",
        ),
        (
            "[report.webhook]\nurl = \"https://example.com/\"\nsecret = { file = \"s\" }",
            "`s` is not an absolute path",
        ),
    ] {
        assert_eq!(Host::with(text).messages(), [message], "{text}");
    }
    for sound in ["[metrics]\nlisten = \"127.0.0.1:9464\"", "[metrics]\nlisten = \"[::1]:9464\""] {
        Host::with(sound).load().unwrap();
    }
}
