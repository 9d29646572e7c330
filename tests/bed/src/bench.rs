//! What a session costs, against fsfreeze(8) on the same filesystems in the same run. Nothing is asserted: these are
//! figures of one machine, and only their ratios carry over.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use serde_json::Value;

use crate::agent::{Agent, AgentOptions};
use crate::tool::Tool;
use crate::volumes::{Bed, Fs, MIB};
use crate::writers::{Work, Writer, dirty};

const DIRTY: u64 = 500 * MIB;

/// How long both hold before they let go.
const HOLD: Duration = Duration::from_millis(200);

/// How often a command is started to find out what that costs.
const STARTS: u32 = 20;

/// How long an idle agent is watched.
const IDLE: Duration = Duration::from_secs(10);

/// What one way of freezing cost.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    freeze: Duration,
    thaw: Duration,
    stall: Duration,
    own: Duration,
    /// How long all freezes took together, in units of the slowest one.
    spread: f64,
}

/// Measures and prints.
///
/// # Errors
/// When something cannot be run.
pub fn run(binary: &Path) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "filesystems",
        "state",
        "fsfreeze -f",
        "pre-script",
        "ratio",
        "fsfreeze -u",
        "post-script",
        "ratio",
        "stall fsfreeze",
        "stall quiesced",
        "ratio",
        "own share of the window",
        "all freezes / slowest",
    ]);
    for count in [1, 8, 32] {
        for is_dirty in [false, true] {
            let (plain, ours) = compare(binary, count, is_dirty)?;
            table.add_row([
                count.to_string(),
                if is_dirty { "500 MB dirty".to_owned() } else { "clean".to_owned() },
                millis(plain.freeze),
                millis(ours.freeze),
                ratio(ours.freeze, plain.freeze),
                millis(plain.thaw),
                millis(ours.thaw),
                ratio(ours.thaw, plain.thaw),
                millis(plain.stall),
                millis(ours.stall),
                ratio(ours.stall, plain.stall),
                millis(ours.own),
                format!("{:.2}", ours.spread),
            ]);
        }
    }
    println!("{table}");
    footprint(binary)
}

fn compare(binary: &Path, count: usize, is_dirty: bool) -> Result<(Cost, Cost), Box<dyn Error>> {
    let bed = Bed::new()?;
    let mut mounts = Vec::with_capacity(count);
    for number in 0..count {
        let size = if number == 0 { 2_048 * MIB } else { 64 * MIB };
        mounts.push(bed.volume(&format!("v{number}"), Fs::Ext4, size)?.mount_point);
    }
    let list: Vec<String> = mounts.iter().map(|mount| format!("{mount:?}")).collect();
    let config = format!("[group.default]\nfilesystems = [{}]\n", list.join(", "));
    let agent = Agent::start(binary, AgentOptions::configured(&config))?;
    // The first freeze of a filesystem is not like the others: both ways get a second one.
    let _warm = (by_hand(&mounts, false)?, by_agent(&agent, &mounts, false)?);
    Ok((by_hand(&mounts, is_dirty)?, by_agent(&agent, &mounts, is_dirty)?))
}

fn by_hand(mounts: &[PathBuf], is_dirty: bool) -> Result<Cost, Box<dyn Error>> {
    let each = |flag: &str| -> Result<Duration, Box<dyn Error>> {
        let begun = Instant::now();
        for mount in mounts {
            Tool::new("fsfreeze").arg(flag).arg(mount).run()?;
        }
        Ok(begun.elapsed())
    };
    measured(mounts, is_dirty, || each("-f"), || each("-u"))
}

fn by_agent(agent: &Agent, mounts: &[PathBuf], is_dirty: bool) -> Result<Cost, Box<dyn Error>> {
    let script = |command: &str| -> Result<Duration, Box<dyn Error>> {
        let output = agent.cli([command])?;
        if output.code == Some(0) { Ok(output.took) } else { Err(output.stdout.into()) }
    };
    let cost = measured(mounts, is_dirty, || script("pre-script"), || script("post-script"))?;
    let status: Value = serde_json::from_str(&agent.cli(["status", "--json"])?.stdout)?;
    Ok(Cost { own: own_share(&status["last"]), spread: spread(&status["last"]), ..cost })
}

fn measured(
    mounts: &[PathBuf],
    is_dirty: bool,
    freeze: impl FnOnce() -> Result<Duration, Box<dyn Error>>,
    thaw: impl FnOnce() -> Result<Duration, Box<dyn Error>>,
) -> Result<Cost, Box<dyn Error>> {
    let mut writer = Writer::process(&std::env::current_exe()?, &Work::Stream(mounts[0].join("stream")))?;
    std::thread::sleep(Duration::from_millis(300));
    if is_dirty {
        // A file that replaces another one is written out by ext4 when it is closed (auto_da_alloc), so it is a new one.
        let file = mounts[0].join("dirty");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        dirty(&file, DIRTY)?;
    }
    writer.mark()?;
    let freeze = freeze()?;
    std::thread::sleep(HOLD);
    let thaw = thaw()?;
    let stall = writer.stop()?.longest_stall();
    Ok(Cost { freeze, thaw, stall: stall.saturating_sub(HOLD), own: Duration::ZERO, spread: 0.0 })
}

/// The window without what was spent holding, in the kernel and in hooks.
fn own_share(session: &Value) -> Duration {
    let span = |value: &Value| (value["began"].as_u64().unwrap_or(0), value["ended"].as_u64().unwrap_or(0));
    let phases = session["phases"].as_array().into_iter().flatten();
    let mut own = 0;
    for phase in phases.filter(|phase| !matches!(phase["phase"].as_str(), Some("preparing" | "held"))) {
        let (began, ended) = span(phase);
        let steps = session["steps"].as_array().into_iter().flatten().map(&span);
        let inside: Vec<_> = steps.filter(|step| step.0 >= began && step.1 <= ended).collect();
        let first = inside.iter().map(|step| step.0).min().unwrap_or(ended);
        let last = inside.iter().map(|step| step.1).max().unwrap_or(ended);
        own += (ended - began).saturating_sub(last.saturating_sub(first));
    }
    Duration::from_nanos(own)
}

/// Filesystems are frozen together, so all of them should take little longer than the slowest.
fn spread(session: &Value) -> f64 {
    let steps = session["steps"].as_array().into_iter().flatten().filter(|step| step["step"] == "freeze");
    let spans: Vec<(u64, u64)> = steps
        .map(|step| (step["began"].as_u64().unwrap_or(0), step["ended"].as_u64().unwrap_or(0)))
        .collect();
    let first = spans.iter().map(|span| span.0).min().unwrap_or(0);
    let last = spans.iter().map(|span| span.1).max().unwrap_or(0);
    let slowest = spans.iter().map(|span| span.1.saturating_sub(span.0)).max().unwrap_or(0);
    Duration::from_nanos(last - first).as_secs_f64() / Duration::from_nanos(slowest.max(1)).as_secs_f64()
}

/// What the agent and its commands cost when nothing happens.
fn footprint(binary: &Path) -> Result<(), Box<dyn Error>> {
    let agent = Agent::start(binary, AgentOptions::default())?;
    let start = |argument: &str| -> Result<Duration, Box<dyn Error>> {
        let begun = Instant::now();
        for _ in 0..STARTS {
            let output = Command::new(binary).arg(argument).envs(agent.environment()).output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
        }
        Ok(begun.elapsed() / STARTS)
    };
    println!("`quiesced --version`, start to exit: {}", millis(start("--version")?));
    println!("`quiesced status`, start to exit: {}", millis(start("status")?));
    let before = field(agent.pid(), "voluntary_ctxt_switches:")?;
    std::thread::sleep(IDLE);
    let woken = field(agent.pid(), "voluntary_ctxt_switches:")? - before;
    println!(
        "idle agent: {} kB resident, woken {woken} times in {} s",
        field(agent.pid(), "VmRSS:")?,
        IDLE.as_secs()
    );
    Ok(())
}

fn field(pid: i32, name: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn ratio(ours: Duration, theirs: Duration) -> String {
    format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64().max(1e-6))
}
