//! What a hold costs the clients of a database: by the agent, and by the same statements typed into the engine's own client,
//! with fsfreeze(8), on the same server under the same load in the same run.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use serde_json::Value;

use super::{HOLD, millis, ratio};
use crate::agent::{Agent, AgentOptions};
use crate::cycles::engines::{Application, ByHand, Case};
use crate::cycles::load::{CLIENTS, Load};
use crate::cycles::window;
use crate::volumes::{Bed, Volume, freeze, thaw};
use crate::wait_until;

/// How often each way is measured. They take turns.
const ROUNDS: usize = 5;

/// One round takes a second or two; then the bed's failsafe thaws.
const FAILSAFE: Duration = Duration::from_secs(60);

const LIMIT: Duration = Duration::from_secs(60);

/// How many rows each client writes between two rounds.
const ROWS: u64 = 50;

/// What one hold took, without the time that it was held on purpose.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// From the first lock to the last release.
    window: Duration,
    /// The longest wait of a client.
    stall: Duration,
}

/// Fields are dropped in this order: nobody writes when the bed goes.
struct Scene {
    agent: Agent,
    terminal: Terminal,
    load: Load,
    application: Box<dyn Application>,
    bed: Bed,
}

pub(super) fn print(binary: &Path) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "engine",
        "held",
        "window\nby hand",
        "window by\nquiesced",
        "ratio",
        "stall\nby hand",
        "stall by\nquiesced",
        "ratio",
    ]);
    // A label changes how a copy is recovered, not how the server is held.
    for case in Case::all().into_iter().filter(|case| !case.needs_agent()) {
        let [hand, agent] = Scene::new(case, binary)?.compare()?;
        table.add_row([
            case.engine().to_owned(),
            case.held().to_owned(),
            millis(hand.window),
            millis(agent.window),
            ratio(agent.window, hand.window),
            millis(hand.stall),
            millis(agent.stall),
            ratio(agent.stall, hand.stall),
        ]);
    }
    println!("{table}");
    println!(
        "Times in ms, medians of {ROUNDS} by turns, without the {} ms that both hold.\n\
         By hand: the same statements in one session of the engine's own client, and fsfreeze.",
        HOLD.as_millis()
    );
    Ok(())
}

impl Scene {
    fn new(case: Case, binary: &Path) -> Result<Self, Box<dyn Error>> {
        let bed = Bed::new()?;
        let application = case.make(&bed)?;
        let load = Load::start((0..CLIENTS).map(|client| application.client(client)))?;
        let terminal = Terminal::open(application.by_hand())?;
        let agent = Agent::start(binary, AgentOptions::configured(&application.hook()))?;
        Ok(Self { agent, terminal, load, application, bed })
    }

    /// By hand, and by the agent.
    fn compare(mut self) -> Result<[Cost; 2], Box<dyn Error>> {
        // The first freeze of a filesystem is not like the others.
        let _warm = (self.by_hand()?, self.by_agent()?);
        let (mut hand, mut agent) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            hand.push(self.by_hand()?);
            agent.push(self.by_agent()?);
        }
        Ok([median(&hand), median(&agent)])
    }

    fn by_hand(&mut self) -> Result<Cost, Box<dyn Error>> {
        self.begin()?;
        self.terminal.prepare()?;
        let begun = Instant::now();
        self.terminal.quiesce()?;
        let mut frozen = Frozen(Vec::new());
        for volume in self.application.volumes() {
            freeze(&volume.mount_point)?;
            frozen.0.push(volume);
        }
        std::thread::sleep(HOLD);
        drop(frozen);
        self.terminal.resume()?;
        self.end(begun.elapsed())
    }

    fn by_agent(&mut self) -> Result<Cost, Box<dyn Error>> {
        self.begin()?;
        self.script("pre-script")?;
        std::thread::sleep(HOLD);
        self.script("post-script")?;
        let status: Value = serde_json::from_str(&self.agent.cli(["status", "--json"])?.stdout)?;
        self.end(window(&status["last"]).ok_or("the agent reports no window")?)
    }

    fn script(&self, command: &str) -> Result<(), Box<dyn Error>> {
        let output = self.agent.cli([command])?;
        let failed = || format!("{command}: {}{}", output.stdout, output.stderr).into();
        if output.code == Some(0) { Ok(()) } else { Err(failed()) }
    }

    fn begin(&self) -> Result<(), Box<dyn Error>> {
        self.bed.failsafe(FAILSAFE)?;
        self.until_load_goes_on()?;
        self.load.mark();
        Ok(())
    }

    fn end(&self, window: Duration) -> Result<Cost, Box<dyn Error>> {
        self.until_load_goes_on()?;
        let stall = self.load.longest_stall();
        Ok(Cost { window: window.saturating_sub(HOLD), stall: stall.saturating_sub(HOLD) })
    }

    fn until_load_goes_on(&self) -> Result<(), Box<dyn Error>> {
        let since = self.load.acknowledged();
        let goes_on = || self.load.goes_on(&since, ROWS).unwrap_or(true);
        wait_until("every client goes on writing", LIMIT, goes_on)?;
        self.load.goes_on(&since, ROWS)?;
        Ok(())
    }
}

fn median(costs: &[Cost]) -> Cost {
    let of = |time: fn(&Cost) -> Duration| {
        let mut times: Vec<Duration> = costs.iter().map(time).collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    Cost { window: of(|cost| cost.window), stall: of(|cost| cost.stall) }
}

/// What fsfreeze(8) froze, until it is dropped: also when something fails, or the server could not be ended.
struct Frozen<'a>(Vec<&'a Volume>);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        for volume in self.0.iter().rev() {
            if let Err(error) = thaw(&volume.mount_point) {
                eprintln!("error: {error}");
            }
        }
    }
}

/// The engine's own client, open all the time: its locks end with its session.
struct Terminal {
    hand: ByHand,
    child: Child,
    typed: ChildStdin,
    shown: BufReader<ChildStdout>,
}

impl Terminal {
    fn open(mut hand: ByHand) -> Result<Self, Box<dyn Error>> {
        hand.client.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = hand.client.spawn()?;
        let (Some(typed), Some(shown)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a client has no pipes".into());
        };
        Ok(Self { hand, child, typed, shown: BufReader::new(shown) })
    }

    fn prepare(&mut self) -> Result<(), Box<dyn Error>> {
        self.run(self.hand.prepare)
    }

    fn quiesce(&mut self) -> Result<(), Box<dyn Error>> {
        self.run(self.hand.quiesce)
    }

    fn resume(&mut self) -> Result<(), Box<dyn Error>> {
        self.run(self.hand.resume)
    }

    /// Types the lines, and waits until the last of them is done.
    fn run(&mut self, lines: &[&str]) -> Result<(), Box<dyn Error>> {
        for line in lines.iter().chain([&self.hand.say_done]) {
            writeln!(self.typed, "{line}")?;
        }
        loop {
            let mut answer = String::new();
            if self.shown.read_line(&mut answer)? == 0 {
                return Err(format!("the client ended at one of these lines: {lines:?}").into());
            }
            if answer.trim() == "done" {
                return Ok(());
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
