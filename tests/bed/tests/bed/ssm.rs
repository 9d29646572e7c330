//! The simulated SSM agent does what the genuine one was observed to do.

use std::path::Path;
use std::time::Duration;

use quiesced_bed::dlm::{Deliver, Document, Edge, Faults, Invocation, Ssm, SsmDelivery, Status};
use quiesced_bed::wait_until;

const LIMIT: Duration = Duration::from_secs(30);

fn document(lines: &[&str]) -> Document {
    let script: String =
        lines.iter().map(|line| format!("        - {}\n", serde_json::json!(line))).collect();
    let text = include_str!("data/document.yaml");
    let (head, _) = text.split_once("        - exec").unwrap();
    Document::parse(&format!("{head}{script}")).unwrap()
}

fn ran_with(ssm: impl FnOnce(Ssm) -> Ssm, lines: &[&str]) -> Invocation {
    let work = tempfile::tempdir().unwrap();
    ssm(Ssm::new(work.path())).run(&document(lines), &[]).unwrap()
}

fn ran(lines: &[&str]) -> Invocation {
    ran_with(|ssm| ssm, lines)
}

fn appears(path: &Path) {
    wait_until("a file of the script", LIMIT, || std::fs::read(path).is_ok_and(|text| !text.is_empty()))
        .unwrap();
}

fn pid_in(path: &Path) -> i32 {
    appears(path);
    std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

fn is_gone(pid: i32) -> bool {
    quiesced_bed::claim::state(pid).is_none_or(|state| state == 'Z')
}

#[test]
fn the_exit_code_is_passed_through() {
    for (script, status, code) in [
        ("exit 0", Status::Success, 0),
        ("exit 203", Status::Failed, 203),
        ("no-such-program-here", Status::Failed, 127),
        ("kill -TERM $$", Status::Failed, 143),
    ] {
        let result = ran(&[script]);
        assert_eq!((result.status, result.code), (status, code), "{script}");
        assert_eq!(result.violation, None, "{script}");
    }
}

#[test]
fn the_codes_with_a_meaning_of_their_own_are_breaches_of_the_contract() {
    for (code, status) in
        [(137, Status::TimedOut), (168, Status::Success), (169, Status::Failed), (194, Status::Failed)]
    {
        let result = ran(&[&format!("exit {code}")]);
        assert_eq!(result.status, status, "{code}");
        assert!(result.violation.is_some_and(|text| text.contains(&code.to_string())), "{code}");
    }
}

#[test]
fn several_commands_are_one_script_without_set_e() {
    let result = ran(&["false", "echo went on"]);
    assert_eq!((result.status, result.stdout.as_str()), (Status::Success, "went on\n"));
}

#[test]
fn a_shebang_is_honoured() {
    let result = ran(&["#!/bin/cat", "this is shown, not run"]);
    assert!(result.stdout.ends_with("this is shown, not run\n"), "{}", result.stdout);
}

#[test]
fn a_script_runs_in_its_own_group_with_no_input_and_two_pipes() {
    let result = ran(&[
        // The fifth field is the process group, which the shell that was started leads (proc_pid_stat(5)).
        r#"set -- $(cat /proc/$$/stat); test "$5" = "$$" || test "$5" = "$PPID" || echo no group"#,
        r#"test "$(readlink /proc/$$/fd/0)" = /dev/null || echo input"#,
        "readlink /proc/$$/fd/1 /proc/$$/fd/2",
    ]);
    let pipes: Vec<&str> = result.stdout.lines().collect();
    assert_eq!(pipes.len(), 2, "{pipes:?}");
    assert!(
        pipes[0].starts_with("pipe:") && pipes[1].starts_with("pipe:") && pipes[0] != pipes[1],
        "{pipes:?}"
    );
}

#[test]
fn the_environment_is_bare_and_names_the_command() {
    let result = ran_with(|ssm| ssm.variable("OF_THE_AGENT", "inherited"), &["env", "pwd"]);
    for name in ["AWS_SSM_INSTANCE_ID", "AWS_SSM_REGION_NAME", "AWS_SSM_PLATFORM_NAME", "SSM_COMMAND_ID"] {
        assert!(result.stdout.contains(&format!("\n{name}=")) || result.stdout.starts_with(name), "{name}");
    }
    assert!(result.stdout.contains("OF_THE_AGENT=inherited"));
    assert!(!result.stdout.lines().any(|line| line.starts_with("HOME=") || line.starts_with("USER=")));
}

#[test]
fn output_is_cut() {
    let result = ran(&["yes | head -c 60000", "yes | head -c 60000 >&2"]);
    assert_eq!((result.stdout.len(), result.stderr.len(), result.output.len()), (24_000, 8_000, 2_500));
    assert_eq!(result.status, Status::Success);
}

#[test]
fn the_timeout_kills_the_whole_group_without_a_warning() {
    let work = tempfile::tempdir().unwrap();
    let (pid, trapped) = (work.path().join("pid"), work.path().join("trapped"));
    let lines = [
        format!("trap 'echo trapped > {}' TERM EXIT", trapped.display()),
        "echo begun".to_owned(),
        format!("sleep 600 & echo $! > {}; wait", pid.display()),
    ];
    let ssm = Ssm::new(work.path()).timeout(Duration::from_secs(1));
    let result = ssm.run(&document(&lines.each_ref().map(String::as_str)), &[]).unwrap();
    assert_eq!((result.status, result.code), (Status::TimedOut, 137));
    assert_eq!(result.stdout, "begun\n");
    let child = pid_in(&pid);
    wait_until("the end of the child", LIMIT, || is_gone(child)).unwrap();
    assert!(!trapped.exists(), "a trap ran");
}

#[test]
fn a_child_in_another_session_survives_the_timeout() {
    let work = tempfile::tempdir().unwrap();
    let pid = work.path().join("pid");
    let line =
        format!("setsid sh -c 'echo $$ > {}; exec sleep 600' > /dev/null 2>&1 & sleep 600", pid.display());
    let running =
        Ssm::new(work.path()).timeout(Duration::from_secs(2)).start(&document(&[&line]), &[]).unwrap();
    let child = pid_in(&pid);
    assert_eq!(running.wait().status, Status::TimedOut);
    assert!(!is_gone(child));
    quiesced_bed::claim::Process::of(child).unwrap().signal(quiesced_bed::agent::Signal::SIGKILL);
}

#[test]
fn a_child_in_another_session_that_still_writes_dies_of_the_closed_pipe() {
    let work = tempfile::tempdir().unwrap();
    let pid = work.path().join("pid");
    let line = format!(
        "setsid sh -c 'echo $$ > {}; while :; do echo still here; sleep 0.1; done' & sleep 600",
        pid.display()
    );
    let running =
        Ssm::new(work.path()).timeout(Duration::from_secs(2)).start(&document(&[&line]), &[]).unwrap();
    let child = pid_in(&pid);
    assert_eq!(running.wait().status, Status::TimedOut);
    wait_until("the end of the writer", LIMIT, || is_gone(child)).unwrap();
}

#[test]
fn cancel_kills_at_once() {
    let work = tempfile::tempdir().unwrap();
    let running = Ssm::new(work.path()).start(&document(&["sleep 600"]), &[]).unwrap();
    running.cancel();
    let result = running.wait();
    assert_eq!((result.status, result.code), (Status::Cancelled, 137));
}

#[test]
fn a_command_ends_only_when_its_pipes_are_closed() {
    let result = ran(&["{ sleep 1; echo late; } &", "echo done"]);
    assert_eq!((result.status, result.stdout.as_str()), (Status::Success, "done\nlate\n"));
    assert!(result.took >= Duration::from_secs(1));
}

#[test]
fn a_pipe_kept_open_past_the_timeout_fails_a_script_that_exited_0() {
    let result = ran_with(|ssm| ssm.timeout(Duration::from_secs(1)), &["sleep 600 &", "exit 0"]);
    assert_eq!(result.status, Status::Failed);
}

#[test]
fn a_child_that_lets_go_of_both_pipes_keeps_nothing_open() {
    let result = ran_with(|ssm| ssm.timeout(LIMIT), &["sleep 1 > /dev/null 2>&1 &", "exit 0"]);
    assert_eq!(result.status, Status::Success);
}

#[test]
fn commands_run_together() {
    let work = tempfile::tempdir().unwrap();
    let ssm = Ssm::new(work.path());
    let flag = work.path().join("flag");
    let waits = format!("until test -s {}; do sleep 0.05; done", flag.display());
    let first = ssm.start(&document(&[&waits]), &[]).unwrap();
    ssm.run(&document(&[&format!("echo now > {}", flag.display())]), &[]).unwrap();
    assert_eq!(first.wait().status, Status::Success);
}

#[test]
fn a_private_program_comes_first_in_the_path() {
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("quiesced"), "#!/bin/sh\necho \"private $*\"\n").unwrap();
    std::fs::set_permissions(
        work.path().join("quiesced"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let document = Document::parse(include_str!("data/document.yaml")).unwrap();
    let result = Ssm::new(work.path())
        .first_in_path(work.path())
        .run(&document, &[("command", "pre-script")])
        .unwrap();
    assert_eq!(result.stdout, "private pre-script --execution-id None\n");
}

#[test]
fn who_walks_away_leaves_the_script_running_and_never_sees_its_result() {
    let work = tempfile::tempdir().unwrap();
    let mut delivery = SsmDelivery::new(Ssm::new(work.path()), document(&["sleep 1; echo {{ command }}"]));
    assert!(delivery.deliver(Edge::Pre, "None", Duration::from_millis(50)).is_none());
    let (edge, result) = delivery.unseen(LIMIT).unwrap();
    assert_eq!((edge, result.stdout.as_str()), (Edge::Pre, "pre-script\n"));
}

#[test]
fn a_delayed_pre_script_can_come_after_post_script() {
    let work = tempfile::tempdir().unwrap();
    let log = work.path().join("log");
    let line = format!("echo {{{{ command }}}} >> {}", log.display());
    let mut delivery = SsmDelivery::new(Ssm::new(work.path()), document(&[&line]));
    delivery.set_faults(Faults { pre_delay: Duration::from_secs(2), ..Faults::default() });
    assert!(delivery.deliver(Edge::Pre, "None", Duration::ZERO).is_none());
    assert!(delivery.deliver(Edge::Post, "None", LIMIT).is_some());
    delivery.unseen(LIMIT).unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "post-script\npre-script\n");
}

#[test]
fn a_duplicate_is_delivered_a_second_time() {
    let work = tempfile::tempdir().unwrap();
    let mut delivery =
        SsmDelivery::new(Ssm::new(work.path()), document(&["echo {{ executionId }} {{ command }}"]));
    delivery.set_faults(Faults { duplicate: Some(Duration::from_millis(100)), ..Faults::default() });
    let first = delivery.deliver(Edge::Post, "None", LIMIT).unwrap();
    let (_, second) = delivery.unseen(LIMIT).unwrap();
    assert_eq!(first.stdout, second.stdout);
}
