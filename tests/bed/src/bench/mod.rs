//! What a session costs, against fsfreeze(8) on the same filesystems, and against an administrator at a database's own
//! client, in the same run. Nothing is asserted: these are
//! figures of one machine, and only their ratios carry over.

mod databases;
mod footprint;
mod plan;
mod session;

use std::error::Error;
use std::path::{Path, PathBuf};
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

/// What one way of freezing cost.
#[derive(Debug)]
struct Cost {
    /// Each command that froze: one for all filesystems, or one for each.
    freezes: Vec<Duration>,
    thaws: Vec<Duration>,
    /// The longest write beside it, without the time that it was held on purpose.
    stall: Duration,
}

impl Cost {
    fn freeze(&self) -> Duration {
        self.freezes.iter().sum()
    }

    fn thaw(&self) -> Duration {
        self.thaws.iter().sum()
    }

    fn slowest_freeze(&self) -> Duration {
        self.freezes.iter().max().copied().unwrap_or_default()
    }
}

/// Both ways, on the same filesystems.
#[derive(Debug)]
struct Comparison {
    plain: Cost,
    ours: Cost,
    /// What the agent says about its session.
    session: Value,
}

/// Measures and prints.
///
/// # Errors
/// When something cannot be run.
pub fn run(binary: &Path) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "file-\nsystems",
        "state",
        "fsfreeze\n-f",
        "pre-\nscript",
        "ratio",
        "fsfreeze\n-u",
        "post-\nscript",
        "ratio",
        "stall by\nfsfreeze",
        "stall by\nquiesced",
        "ratio",
        "agent's\nown share",
        "all freezes /\nslowest alone",
    ]);
    for count in [1, 8, 32] {
        for is_dirty in [false, true] {
            table.add_row(cells(count, is_dirty, &compare(binary, count, is_dirty)?));
        }
    }
    println!("{table}");
    println!("Times in ms. Stalls are without the {} ms that both hold.", HOLD.as_millis());
    println!("Agent's own share: the window without holding, the kernel and hooks; aim: at most 2 ms.");
    println!(
        "All freezes / slowest alone: of the agent's together, of fsfreeze's one by one; aim: at most 2."
    );
    databases::print(binary)?;
    plan::print(binary)?;
    footprint::print(binary)
}

fn cells(count: usize, is_dirty: bool, comparison: &Comparison) -> [String; 13] {
    let Comparison { plain, ours, session } = comparison;
    // What the agent has written out before, fsfreeze writes out while it freezes: these two cannot be compared.
    let together =
        if is_dirty { "–".to_owned() } else { ratio(session::freezes(session), plain.slowest_freeze()) };
    [
        count.to_string(),
        if is_dirty { "500 MB dirty".to_owned() } else { "clean".to_owned() },
        millis(plain.freeze()),
        millis(ours.freeze()),
        ratio(ours.freeze(), plain.freeze()),
        millis(plain.thaw()),
        millis(ours.thaw()),
        ratio(ours.thaw(), plain.thaw()),
        millis(plain.stall),
        millis(ours.stall),
        ratio(ours.stall, plain.stall),
        millis(session::own_share(session)),
        together,
    ]
}

fn compare(binary: &Path, count: usize, is_dirty: bool) -> Result<Comparison, Box<dyn Error>> {
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
    let (plain, ours) = (by_hand(&mounts, is_dirty)?, by_agent(&agent, &mounts, is_dirty)?);
    let status: Value = serde_json::from_str(&agent.cli(["status", "--json"])?.stdout)?;
    Ok(Comparison { plain, ours, session: status["last"].clone() })
}

/// What each command of one edge took.
type Took = Result<Vec<Duration>, Box<dyn Error>>;

fn by_hand(mounts: &[PathBuf], is_dirty: bool) -> Result<Cost, Box<dyn Error>> {
    let each = |flag: &str| -> Took {
        let one = |mount: &PathBuf| {
            let begun = Instant::now();
            Tool::new("fsfreeze").arg(flag).arg(mount).run()?;
            Ok(begun.elapsed())
        };
        mounts.iter().map(one).collect()
    };
    measured(mounts, is_dirty, || each("-f"), || each("-u"))
}

fn by_agent(agent: &Agent, mounts: &[PathBuf], is_dirty: bool) -> Result<Cost, Box<dyn Error>> {
    let script = |command: &str| -> Took {
        let output = agent.cli([command])?;
        if output.code == Some(0) {
            Ok(vec![output.took])
        } else {
            Err(format!("{command}: {}{}", output.stdout, output.stderr).into())
        }
    };
    measured(mounts, is_dirty, || script("pre-script"), || script("post-script"))
}

fn measured(
    mounts: &[PathBuf],
    is_dirty: bool,
    freeze: impl FnOnce() -> Took,
    thaw: impl FnOnce() -> Took,
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
    let freezes = freeze()?;
    std::thread::sleep(HOLD);
    let thaws = thaw()?;
    let stall = writer.stop()?.longest_stall();
    Ok(Cost { freezes, thaws, stall: stall.saturating_sub(HOLD) })
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn ratio(ours: Duration, theirs: Duration) -> String {
    format!("{:.2}", ours.as_secs_f64() / theirs.as_secs_f64().max(1e-6))
}
