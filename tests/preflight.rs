//! What preflight finds before anything is held, each provoked for real.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Simulated, expect, freezing, id, is_idle, last, start};
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use quiesced_bed::agent::AgentOptions;
use quiesced_bed::{Bed, Fs, MIB, require_root};

#[test]
fn a_process_that_must_allow_every_open_is_named_and_the_session_runs() {
    if !require_root("fanotify") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    // A file that nobody opens: nobody waits for an answer.
    let watched = data.join("watched");
    std::fs::write(&watched, "").unwrap();
    let listener =
        Fanotify::init(InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC, EventFFlags::O_RDONLY).unwrap();
    let folder = std::fs::File::open(&data).unwrap();
    listener.mark(MarkFlags::FAN_MARK_ADD, MaskFlags::FAN_OPEN_PERM, &folder, Some("watched")).unwrap();
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(0, &pre);
    let own = format!("warning: process {} (", std::process::id());
    assert!(pre.stdout.contains(&own) && pre.stdout.contains("(fanotify)"), "{}", pre.stdout);
    expect(0, &agent.post_script(&id(1)).unwrap());
    assert_eq!(last(&agent)["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn check_names_a_filesystem_that_somebody_else_has_frozen_and_holds_nothing() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Xfs, 320 * MIB).unwrap().mount_point;
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.cli(["check"]).unwrap());
    quiesced_bed::volumes::freeze(&data).unwrap();
    for (command, code) in [("check", 1), ("dry-run", 206)] {
        let checked = agent.cli([command]).unwrap();
        expect(code, &checked);
        let reason = format!("error: {} takes no writes", data.display());
        assert!(checked.stdout.contains(&reason), "{}", checked.stdout);
    }
    quiesced_bed::volumes::thaw(&data).unwrap();
    expect(0, &agent.cli(["dry-run"]).unwrap());
    assert!(is_idle(&agent));
}

#[test]
fn check_names_what_a_dead_agent_may_still_hold() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let mut agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let held = agent.cli(["check"]).unwrap();
    expect(1, &held);
    assert_eq!(
        held.stdout.matches("error: ").count(),
        1,
        "an open session, and no foreign freeze:\n{}",
        held.stdout
    );
    agent.kill();
    common::wait_until_thawed(&[&data]);
    let checked = agent.cli(["check"]).unwrap();
    expect(1, &checked);
    assert!(
        checked.stdout.contains("of an agent that has died, may still hold 1 thing(s)"),
        "{}",
        checked.stdout
    );
    expect(0, &agent.cli(["recover"]).unwrap());
    expect(0, &agent.cli(["check"]).unwrap());
}

#[test]
fn a_timeout_that_can_never_be_used_is_a_warning() {
    let host = Simulated::new(&serde_json::json!({}));
    let hook = common::ExecHook::new();
    let agent = start(host.options(&hook.table("queue", "exit 0", "timeout = \"9s\"")));
    let checked = agent.cli(["check"]).unwrap();
    expect(0, &checked);
    let warning = "warning: hook queue may take 9s, but pre-script is given up after 8s";
    assert!(checked.stdout.contains(warning), "{}", checked.stdout);
}
