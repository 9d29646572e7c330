//! The handling of an agent under test, shown with a stand-in: a shell script that behaves as the daemon must.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quiesced_bed::agent::{Agent, AgentError, AgentOptions, Signal};
use quiesced_bed::claim::Process;
use quiesced_bed::dlm::{Document, Ssm};
use quiesced_bed::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

/// A daemon that tells systemd(1) it is ready, keeps a child called guardian, and answers commands.
const STAND_IN: &str = r#"#!/bin/bash
case $1 in
daemon)
    cat "$QUIESCED_CONFIG_DIR"/conf.d/*.toml
    systemd-notify --no-block READY=1 STATUS=idle
    (exec -a quiesced-guardian sleep 600) &
    trap 'kill $!; exit 0' TERM
    wait ;;
fail) echo "no good" >&2; exit 1 ;;
*) echo "$QUIESCED_RUNTIME_DIR $*"; exit 203 ;;
esac
"#;

fn stand_in(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("stand-in");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn guardian(agent: &Agent) -> Process {
    let mut found = None;
    wait_until("the guardian", LIMIT, || {
        found = agent.guardian().and_then(Process::of);
        found.is_some()
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn an_agent_is_started_asked_signalled_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(directory.path(), STAND_IN);
    let mut agent = Agent::start(&binary, AgentOptions::configured("# a drop-in\n")).unwrap();
    assert_eq!(agent.notifications(), ["READY=1", "STATUS=idle"]);
    assert!(agent.log().contains("# a drop-in"));

    let output = agent.post_script("None").unwrap();
    let expected = format!("{} post-script --execution-id None\n", agent.runtime_dir().display());
    assert_eq!((output.code, output.stdout), (Some(203), expected));

    guardian(&agent).signal(Signal::SIGKILL);
    agent.signal(Signal::SIGTERM);
    assert_eq!(agent.wait_exit(LIMIT).unwrap().code(), Some(0));
    agent.restart().unwrap();

    let (daemon, guard, home) =
        (Process::of(agent.pid()).unwrap(), guardian(&agent), agent.directory().to_path_buf());
    drop(agent);
    assert!(!daemon.is_alive() && !guard.is_alive() && !home.exists());
}

#[test]
fn the_document_reaches_the_agent_through_its_program() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(&stand_in(directory.path(), STAND_IN), AgentOptions::configured("")).unwrap();
    let document = Document::parse(include_str!("data/document.yaml")).unwrap();
    let ssm = Ssm::new(directory.path()).first_in_path(&agent.bin_dir());
    let result = ssm.run(&document, &[("command", "post-script")]).unwrap();
    assert_eq!(result.code, 203);
    assert!(result.stdout.contains("post-script --execution-id None"), "{}", result.stdout);
}

#[test]
fn a_killed_agent_is_seen_to_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(&stand_in(directory.path(), STAND_IN), AgentOptions::default()).unwrap();
    let guardian = guardian(&agent);
    let status = agent.kill().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    guardian.signal(Signal::SIGKILL);
}

#[test]
fn a_command_that_is_killed_does_not_end_the_agent() {
    let directory = tempfile::tempdir().unwrap();
    let text = STAND_IN.replace("fail)", "slow) sleep 600 ;;\nfail)");
    let agent = Agent::start(&stand_in(directory.path(), &text), AgentOptions::default()).unwrap();
    let mut command = agent.start_cli(["slow"]).unwrap();
    assert!(!command.has_ended());
    command.kill();
    assert!(Process::of(agent.pid()).unwrap().is_alive());
}

#[test]
fn an_agent_that_ends_at_once_shows_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(directory.path(), "#!/bin/sh\necho wrong configuration >&2\nexit 2\n");
    let error = Agent::start(&binary, AgentOptions::default()).unwrap_err();
    assert!(matches!(&error, AgentError::Ended { log, .. } if log == "wrong configuration\n"), "{error}");
}

#[test]
fn an_agent_that_is_never_ready_shows_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(directory.path(), "#!/bin/sh\necho thinking\nexec sleep 600\n");
    let options = AgentOptions::default().ready_within(Duration::from_millis(500));
    let error = Agent::start(&binary, options).unwrap_err();
    assert!(matches!(&error, AgentError::NotReady { log, .. } if log == "thinking\n"), "{error}");
}

#[test]
fn a_wrapper_runs_the_agent_as_its_child() {
    let directory = tempfile::tempdir().unwrap();
    let binary = stand_in(directory.path(), STAND_IN);
    let options = AgentOptions::default().wrapped_in(["sh", "-c", "\"$0\" \"$@\"; true"]);
    let agent = Agent::start(&binary, options).unwrap();
    let command = fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap();
    assert!(command.contains("stand-in\0daemon"), "{command}");
}
