//! What the agent and its commands cost when nothing happens.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::millis;
use crate::agent::{Agent, AgentOptions};

/// How often a command is started to find out what that costs.
const STARTS: u32 = 20;

/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(10);

/// What `WatchdogSec=` of the packaged unit comes to: an idle agent wakes to serve it (sd_watchdog_enabled(3)).
const WATCHDOG_USEC: &str = "10000000";

pub(super) fn print(binary: &Path) -> Result<(), Box<dyn Error>> {
    let agent = Agent::start(binary, AgentOptions::default().variable("WATCHDOG_USEC", WATCHDOG_USEC))?;
    for command in ["--version", "status"] {
        let took = millis(start_to_exit(binary, &agent, command)?);
        println!("quiesced {command}: {took} ms from start to exit; aim: at most 10 ms");
    }
    let before = wakeups(agent.pid())?;
    std::thread::sleep(IDLE);
    let woken = wakeups(agent.pid())? - before;
    let resident = field(Path::new(&format!("/proc/{}/status", agent.pid())), "VmRSS:")?;
    println!("idle agent: {resident} kB resident; aim: at most 15 MB");
    println!("idle agent: woken {woken} times in {} s; aim: at most once a second", IDLE.as_secs());
    Ok(())
}

fn start_to_exit(binary: &Path, agent: &Agent, argument: &str) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for _ in 0..STARTS {
        let output = Command::new(binary).arg(argument).envs(agent.environment()).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
    }
    Ok(begun.elapsed() / STARTS)
}

/// Of all threads: `/proc/PID/status` counts those of the first one only (proc_pid_status(5)).
fn wakeups(pid: i32) -> Result<u64, Box<dyn Error>> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += field(&thread?.path().join("status"), "voluntary_ctxt_switches:")?;
    }
    Ok(sum)
}

fn field(status: &Path, name: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(status)?;
    let missing = || format!("{} has no {name}", status.display());
    let value = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(missing)?;
    Ok(value.split_whitespace().next().unwrap_or_default().parse()?)
}
