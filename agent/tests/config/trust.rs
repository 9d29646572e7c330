//! Files that somebody else could change are refused, and nothing can make reading hang.

use std::os::unix::fs::chown;

use nix::sys::stat::Mode;
use nix::unistd::Uid;

use crate::support::{Host, chmod};

/// The uid of `nobody` on every common distribution; it only has to be another one.
const SOMEBODY: u32 = 65534;

/// Giving files away needs root; the tests that do are told apart, so that nobody believes they ran.
fn as_root(test: &str) -> bool {
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("{test} was not run: it needs root");
    }
    root
}

fn hint(host: &Host) -> String {
    let errors = host.load().unwrap_err();
    errors.findings()[0].hint.clone().unwrap().replace(host.path("").to_str().unwrap(), "/")
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !as_root("a_file_of_another_user_is_refused") {
        return;
    }
    let host = Host::with("");
    chown(host.path("etc/a.toml"), Some(SOMEBODY), None).unwrap();
    assert_eq!(host.messages(), ["/etc/a.toml belongs to uid 65534 (mode 0644), not to root"]);
    assert_eq!(hint(&host), "look at what it contains; if it is yours: chown root: /etc/a.toml");
    chmod(&host.path("etc/a.toml"), 0o666);
    assert_eq!(
        hint(&host),
        "look at what it contains; if it is yours: chown root: /etc/a.toml && chmod go-w /etc/a.toml"
    );
}

#[test]
fn a_directory_of_another_user_is_refused_even_when_it_is_empty() {
    if !as_root("a_directory_of_another_user_is_refused_even_when_it_is_empty") {
        return;
    }
    let host = Host::new();
    chown(host.path("run"), Some(SOMEBODY), None).unwrap();
    assert_eq!(host.messages(), ["/run belongs to uid 65534 (mode 0755), not to root"]);
}

#[test]
fn a_link_out_of_a_trusted_directory_is_followed_and_its_target_checked() {
    let host = Host::new();
    std::fs::create_dir(host.path("else where")).unwrap();
    chmod(&host.path("else where"), 0o755);
    host.write("else where/a.toml", "agent.lease = \"20s\"");
    host.link("etc/a.toml", host.path("else where/a.toml"));
    assert_eq!(host.settings().agent.lease.as_secs(), 20);

    chmod(&host.path("else where/a.toml"), 0o664);
    let own = Uid::effective();
    let refused =
        format!("/etc/a.toml belongs to uid {own} and has mode 0664: others than its owner can write to it");
    assert_eq!(host.messages(), [refused]);

    chmod(&host.path("else where/a.toml"), 0o644);
    chmod(&host.path("else where"), 0o757);
    let refused =
        format!("/else where belongs to uid {own} and has mode 0757: others than its owner can write to it");
    assert_eq!(host.messages(), [refused]);
    assert_eq!(hint(&host), "chmod go-w '/else where'");
}

#[test]
fn what_others_can_write_to_is_refused() {
    for mode in [0o664, 0o646, 0o666] {
        let host = Host::with("");
        chmod(&host.path("etc/a.toml"), mode);
        assert_eq!(host.messages().len(), 1, "{mode:o}");
        assert_eq!(hint(&host), "chmod go-w /etc/a.toml");
    }
    let host = Host::with("");
    chmod(&host.path("etc"), 0o1777);
    assert_eq!(hint(&host), "chmod go-w /etc");
}

#[test]
fn a_fifo_is_refused_without_waiting_for_its_writer() {
    let host = Host::new();
    nix::unistd::mkfifo(&host.path("etc/a.toml"), Mode::S_IRUSR).unwrap();
    assert_eq!(host.messages(), ["/etc/a.toml is a fifo, not a regular file"]);
}

#[test]
fn a_directory_is_not_a_file_and_a_file_is_not_a_directory() {
    let host = Host::new();
    std::fs::create_dir(host.path("etc/a.toml")).unwrap();
    std::fs::remove_dir(host.path("run")).unwrap();
    host.write("run", "");
    assert_eq!(
        host.messages(),
        ["/run is a regular file, not a directory", "/etc/a.toml is a directory, not a regular file"]
    );
}

#[test]
fn a_device_other_than_null_masks_nothing() {
    let host = Host::new();
    host.link("etc/a.toml", "/dev/zero");
    assert_eq!(host.messages(), ["/etc/a.toml is a device, not a regular file"]);
}

#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let host = Host::new();
    host.link("etc/a.toml", "gone");
    assert_eq!(host.messages(), ["cannot open /etc/a.toml: No such file or directory (os error 2)"]);
    assert_eq!(hint(&host), "the symbolic link leads nowhere; one to /dev/null masks a file");
}

#[test]
fn a_file_too_large_to_be_a_configuration_is_not_read() {
    let host = Host::new();
    host.write("etc/a.toml", vec![b'#'; 1024 * 1024 + 1]);
    assert_eq!(host.messages(), ["/etc/a.toml has 1048577 bytes; at most 1048576 are read"]);
    host.write("etc/a.toml", vec![b'#'; 1024 * 1024]);
    assert_eq!(host.load().unwrap().files.len(), 1);
}
