//! While anything is frozen the agent writes to no disk, and the guardian asks the kernel for nothing but its work.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{ExecHook, expect, freezing, id, is_idle, start, status};
use quiesced_bed::agent::{AgentOptions, Signal};
use quiesced_bed::volumes::{Place, VolumeSpec};
use quiesced_bed::{Bed, Fs, MIB, require_root};

/// Every call that can write, create, allocate or start something, and the two ioctls.
const TRACED: &str = "trace=openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,ioctl,mmap,brk,\
                      execve,clone,clone3,fork,vfork,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,truncate,\
                      ftruncate,fallocate,fsync,fdatasync,msync,link,linkat,symlink,chmod,fchmod,chown";

struct Call<'a> {
    pid: &'a str,
    name: &'a str,
    text: &'a str,
}

/// The calls of a trace in the order in which they began. Lines that only finish a call are passed over.
fn calls(trace: &str) -> Vec<Call<'_>> {
    let parse = |line| {
        let (pid, text) = str::split_once(line, ' ')?;
        let text = text.trim_start();
        let (name, _) = text.split_once('(')?;
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        is_name.then_some(Call { pid, name, text })
    };
    trace.lines().filter_map(parse).collect()
}

/// Whether a call writes to something that is neither a channel between processes nor the journal, which lies on tmpfs.
/// What is printed counts too: where that goes is not the agent's to know.
fn reaches_a_disk(call: &Call<'_>) -> bool {
    let to_memory = ["socket:", "<UNIX-", "anon_inode:", "pipe:", "/run/journal"]
        .iter()
        .any(|kind| call.text.split(',').next().is_some_and(|first| first.contains(kind)));
    match call.name {
        "openat" | "open" => {
            ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.text.contains(flag))
        }
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendto" | "sendmsg" => !to_memory,
        "ioctl" | "mmap" | "brk" | "clone" | "clone3" => false,
        _ => true,
    }
}

#[test]
fn between_the_first_freeze_and_the_last_thaw_nothing_is_written_to_a_disk() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let logs = bed.host_volume("logs", Fs::Xfs, 320 * MIB).unwrap().mount_point;
    let hook = ExecHook::new();
    let traced = tempfile::tempdir().unwrap();
    let trace = traced.path().join("trace");
    let ledger = data.join("ledger.db");
    let connection = rusqlite::Connection::open(&ledger).unwrap();
    connection.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t (n INTEGER)").unwrap();
    drop(connection);
    let config = format!(
        "[log]\nlevel = \"trace\"\n[hook.ledger.sqlite]\ndatabases = [{ledger:?}]\n{}{}",
        hook.table("queue", "exit 0", &format!("data = [{data:?}]")),
        freezing(&[&data, &logs])
    );
    let strace = ["strace", "-f", "-y", "-qq", "-o", trace.to_str().unwrap(), "-e", TRACED];
    let mut agent = start(AgentOptions::configured(&config).wrapped_in(strace));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    // Whatever an operator asks inside the window must not make the agent write either, also when it has to be told.
    agent.signal(Signal::SIGHUP);
    expect(0, &agent.cli(["status"]).unwrap());
    expect(204, &agent.pre_script(&id(2)).unwrap());
    expect(206, &agent.cli(["dry-run"]).unwrap());
    expect(0, &agent.post_script(&id(1)).unwrap());
    agent.signal(Signal::SIGTERM);
    agent.wait_exit(common::SOON);
    let held_back = "is not read again while a session is open";
    assert!(agent.log().contains(held_back), "nothing was logged that could have been held back");

    let text = std::fs::read_to_string(&trace).unwrap();
    let calls = calls(&text);
    let first = calls.iter().position(|call| call.text.contains("FIFREEZE")).expect("something was frozen");
    let last = calls.iter().rposition(|call| call.text.contains("FITHAW")).expect("something was thawed");
    assert_eq!(calls.iter().filter(|call| call.text.contains("FIFREEZE")).count(), 2);
    let offending: Vec<&str> =
        calls[first..=last].iter().filter(|call| reaches_a_disk(call)).map(|call| call.text).collect();
    assert!(offending.is_empty(), "written inside the window:\n{}", offending.join("\n"));
    assert!(calls[..first].iter().any(reaches_a_disk), "the trace would not have shown it");
    assert!(calls[last..].iter().any(reaches_a_disk), "the log is written afterwards");

    let guardian =
        calls.iter().find(|call| call.name == "execve" && call.text.contains("\"guardian\"")).unwrap().pid;
    // Its threads are those that freeze and thaw; the agent does neither while its guardian lives.
    let threads: Vec<&str> =
        calls.iter().filter(|call| call.text.contains("FIFREEZE")).map(|call| call.pid).collect();
    assert!(threads.len() == 2 && !threads.contains(&guardian), "each filesystem has a thread of its own");
    let of_guardian = |call: &&Call<'_>| call.pid == guardian || threads.contains(&call.pid);
    let armed =
        calls.iter().position(|call| call.pid == guardian && call.name == "sendto").expect("it was armed");
    let asked: Vec<&str> = calls[armed..=last]
        .iter()
        .filter(of_guardian)
        .filter(|call| !matches!(call.name, "sendto" | "write" | "ioctl"))
        .map(|call| call.text)
        .collect();
    assert!(asked.is_empty(), "the guardian asked for more after it was armed:\n{}", asked.join("\n"));
}

#[test]
fn the_memory_of_the_guardian_is_locked() {
    if !require_root("a freeze") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let agent = start(AgentOptions::configured(&freezing(&[&data])));
    expect(0, &agent.pre_script(&id(1)).unwrap());
    let guardian = agent.guardian().expect("there is a guardian");
    let status = std::fs::read_to_string(format!("/proc/{guardian}/status")).unwrap();
    let kilobytes = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (locked, resident) = (kilobytes("VmLck:"), kilobytes("VmRSS:"));
    assert!(locked >= resident, "{resident} kB are resident, and only {locked} kB locked");
    assert!(locked < 65_536, "{locked} kB are locked: more than it can need");
    expect(0, &agent.post_script(&id(1)).unwrap());
}

fn refused_because_of(mount_point: &Path, options: AgentOptions, what: &str) {
    let agent = start(options);
    let refused = agent.pre_script(&id(1)).unwrap();
    expect(206, &refused);
    let reason = format!("{} carries the agent's own {what}", mount_point.display());
    assert!(refused.stdout.contains(&reason), "{}", refused.stdout);
    assert!(is_idle(&agent) && status(&agent)["last"]["plan"]["filesystems"].as_array().unwrap().is_empty());
}

#[test]
fn a_target_that_carries_the_agents_state_in_a_loop_file_is_refused() {
    if !require_root("mounts") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 128 * MIB).unwrap().mount_point;
    let inner = VolumeSpec::new("inner", Fs::Ext4, 32 * MIB).place(Place::Inside(data.clone()));
    let inner = bed.make(&inner).unwrap().mount_point;
    let agent = start(AgentOptions::configured(&freezing(&[&data])).state_dir(inner.join("state")));
    let refused = agent.pre_script(&id(1)).unwrap();
    expect(206, &refused);
    let reason = format!("{} carries the agent's own state in the file {}", data.display(), data.display());
    assert!(refused.stdout.contains(&reason), "{}", refused.stdout);
}

#[test]
fn a_target_that_carries_the_state_or_the_log_of_the_agent_is_refused() {
    if !require_root("mounts") {
        return;
    }
    let bed = Bed::new().unwrap();
    let data = bed.host_volume("data", Fs::Ext4, 64 * MIB).unwrap().mount_point;
    let config = freezing(&[&data]);
    refused_because_of(&data, AgentOptions::configured(&config).state_dir(data.join("state")), "state");
    let log = format!("[log]\ndirectory = {:?}\n{config}", data.join("log"));
    refused_because_of(&data, AgentOptions::configured(&log), "log");
}
