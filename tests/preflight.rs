//! What preflight finds before anything is held, each provoked for real.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

use common::{Simulated, expect, freezing, id, is_idle, last, start};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
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
    assert!(checked.stdout.contains("of an agent that has died, may still hold"), "{}", checked.stdout);
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

/// A FUSE filesystem whose server never says a word: whoever looks at it waits for as long as it is there.
struct Hung {
    mount_point: std::path::PathBuf,
    _server: std::fs::File,
}

impl Hung {
    fn new(mount_point: &std::path::Path) -> Self {
        std::fs::create_dir(mount_point).unwrap();
        let server = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        mount(Some("hung"), mount_point, Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Self { mount_point: mount_point.to_owned(), _server: server }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Its server ends with this; what still waits for it fails then.
        let _ = umount2(&self.mount_point, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_filesystem_that_hangs_beside_a_target_holds_nothing_up() {
    if !require_root("a mount") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let _hung = Hung::new(&data.with_file_name("hung"));
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.cli(["plan"]).unwrap());
    expect(0, &agent.cli(["check"]).unwrap());
    expect(0, &agent.cli(["dry-run"]).unwrap());
    expect(0, &agent.pre_script(&id(1)).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn without_root_check_says_what_is_missing() {
    if !require_root("another user") {
        return;
    }
    let host = Simulated::new(&serde_json::json!({}));
    let agent = start(host.options(""));
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let binary = agent.directory().join("quiesced");
    std::fs::copy(common::binary(), &binary).unwrap();
    for directory in [agent.directory(), runtime.path()] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = tempfile::tempdir().unwrap();
    std::fs::set_permissions(config.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let hook = "[hook.queue.exec]\nquiesce = [\"/bin/true\"]\nresume = [\"/bin/true\"]\n";
    std::fs::create_dir(config.path().join("conf.d")).unwrap();
    std::fs::write(config.path().join("conf.d/10.toml"), hook).unwrap();
    let mut check = std::process::Command::new("setpriv");
    check.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary).arg("check");
    check.arg("--config-dir").arg(config.path()).arg("--runtime-dir").arg(runtime.path());
    let output = check.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["this process may not freeze filesystems: EPERM", "CAP_SYS_ADMIN", "run the command as root"]
    {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
}

#[test]
fn a_limit_of_the_unit_that_would_stop_a_thaw_is_told() {
    let host = Simulated::new(&serde_json::json!({}));
    std::fs::create_dir_all(host.directory().join("run/systemd/system")).unwrap();
    let properties = [
        "LoadState=loaded",
        "KillMode=mixed",
        "TimeoutStopUSec=5s",
        "WatchdogUSec=10s",
        "ExecStopPost={ argv[]=quiesced recover }",
    ];
    common::script(host.directory(), "systemctl", &format!("echo '{}'", properties.join("\n")));
    let path = format!("{}:{}", host.directory().display(), std::env::var("PATH").unwrap());
    let agent = start(host.options("").variable("PATH", path));
    let checked = agent.cli(["check"]).unwrap();
    expect(0, &checked);
    for part in ["systemd kills the agent 5s after", "TimeoutStopSec=31s", "with KillMode=mixed"] {
        assert!(checked.stdout.contains(part), "{part:?} is missing in:\n{}", checked.stdout);
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> bool {
    std::process::Command::new(program).args(arguments).output().unwrap().status.success()
}

/// A swap file in use; it is taken out of use when this is dropped, since nothing could be unmounted before.
struct Swap(std::path::PathBuf);

impl Drop for Swap {
    fn drop(&mut self) {
        run("swapoff", &[self.0.as_os_str()]);
    }
}

#[test]
fn a_target_that_carries_a_swap_file_is_refused() {
    if !require_root("a swap file") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let swap = Swap(data.join("swap"));
    std::fs::write(&swap.0, vec![0; 16 << 20]).unwrap();
    std::fs::set_permissions(&swap.0, std::fs::Permissions::from_mode(0o600)).unwrap();
    for program in ["mkswap", "swapon"] {
        assert!(run(program, &[swap.0.as_os_str()]), "{program}");
    }
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    let checked = agent.cli(["check"]).unwrap();
    expect(1, &checked);
    let told = format!("{} carries the swap file {}", data.display(), swap.0.display());
    assert!(checked.stdout.contains(&told), "{}", checked.stdout);
    expect(206, &agent.pre_script(&id(1)).unwrap());
}

#[test]
fn a_filesystem_that_was_shut_down_is_refused_by_name() {
    if !require_root("a volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Xfs, 320 * MIB).unwrap().mount_point;
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.cli(["check"]).unwrap());
    assert!(run("xfs_io", &["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), data.as_os_str()]));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(206, &pre);
    let told = format!("the mount point {} cannot be opened", data.display());
    for part in [told.as_str(), "Input/output error", "dmesg"] {
        assert!(pre.stdout.contains(part), "{part:?} is missing in:\n{}", pre.stdout);
    }
}

#[test]
fn a_filesystem_that_has_met_an_error_is_told_and_held() {
    if !require_root("a volume") {
        return;
    }
    let bed = Bed::new().unwrap();
    let volume = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap();
    let device = volume.device.file_name().unwrap();
    let sysfs = std::path::Path::new("/sys/fs/ext4").join(device);
    std::fs::write(sysfs.join("trigger_fs_error"), "made by a test").unwrap();
    let agent = start(AgentOptions::configured(&freezing(&[&volume.mount_point])));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(0, &pre);
    let told = format!("warning: {} has met 1 error(s)", volume.mount_point.display());
    assert!(pre.stdout.contains(&told), "{}", pre.stdout);
    expect(0, &agent.post_script(&id(1)).unwrap());
}

#[test]
fn a_limit_for_locked_memory_that_the_guardian_would_meet_is_told() {
    if !require_root("capabilities") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    let mut check = std::process::Command::new("setpriv");
    check.args(["--inh-caps=-ipc_lock", "--bounding-set=-ipc_lock", "prlimit", "--memlock=65536:65536"]);
    let output = check.arg(common::binary()).arg("check").envs(agent.environment()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}{}", String::from_utf8_lossy(&output.stderr));
    for part in ["the guardian may lock only 64 KiB of memory", "LimitMEMLOCK=infinity"] {
        assert!(told.contains(part), "{part:?} is missing in:\n{told}");
    }
}

#[test]
fn a_state_directory_without_room_is_told_and_the_session_runs() {
    if !require_root("a mount") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let small = data.with_file_name("small");
    std::fs::create_dir(&small).unwrap();
    mount(Some("small"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=2M,mode=700")).unwrap();
    let agent = start(AgentOptions::configured(&freezing(&[&data])).state_dir(&small));
    let pre = agent.pre_script(&id(1)).unwrap();
    expect(0, &pre);
    let told = format!("warning: {} has 2", small.display());
    assert!(pre.stdout.contains(&told) && pre.stdout.contains("KiB are enough"), "{}", pre.stdout);
    expect(0, &agent.post_script(&id(1)).unwrap());
    drop(agent);
    umount2(&small, MntFlags::MNT_DETACH).unwrap();
}
