//! What preflight finds before anything is held, each provoked for real.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{expect, freezing, id, last, start};
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
