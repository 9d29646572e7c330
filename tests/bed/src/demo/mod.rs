//! The demo: three cycles of the lifecycle manager over two volumes that are being written.
//!
//! The first cycle finds no agent, and so falls back to a crash-consistent snapshot; the other two find one. Snapshots
//! of the two volumes are taken a second apart, which is the hard case. Each is restored on fresh loop devices and read.

mod report;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{Agent, AgentOptions, refuse_installed};
use crate::dlm::{Cycle, Document, Policy, Script, Ssm, SsmDelivery, run_cycle};
use crate::observe::wait_until;
use crate::volumes::{Bed, BedError, Fs, Image, MIB, Volume};
use crate::writers::{Pair, PairReport, Work, Writer, check_pair};

pub use report::Row;

/// The demo takes well under this; then its failsafe thaws.
const FAILSAFE: Duration = Duration::from_secs(180);

/// How far apart the two volumes are cloned.
const GAP: Duration = Duration::from_secs(1);

/// Two volumes, what writes them, and the agent.
struct Scene {
    agent: Agent,
    writer: Writer,
    ledger: Volume,
    records: Volume,
    document: Document,
    bed: Bed,
}

/// Runs the demo with the agent's binary and the text of the SSM document. True when both snapshots that were taken
/// with the agent are application-consistent, and prove so when they are restored.
///
/// # Errors
/// When the demo itself cannot be run.
pub fn run(binary: &Path, document: &str) -> Result<bool, Box<dyn Error>> {
    refuse_installed()?;
    println!(
        "Two volumes: a SQLite ledger on ext4, an application's records on xfs. Each number is written to both.\n\
         A snapshot clones one volume, and the other one {} s later: so long is everything held.",
        GAP.as_secs()
    );
    let mut scene = Scene::new(binary, document)?;
    let mut rows = Vec::new();
    for (title, with_agent) in
        [("without the agent", false), ("with the agent", true), ("and once more", true)]
    {
        println!("\n── {title} ──");
        rows.push(scene.cycle(title, with_agent)?);
    }
    let Scene { writer, agent, .. } = scene;
    writer.stop()?;
    drop(agent);
    println!("\n{}", report::table(&rows));
    Ok(rows[1..].iter().all(Row::is_kept))
}

impl Scene {
    fn new(binary: &Path, document: &str) -> Result<Self, Box<dyn Error>> {
        let bed = Bed::new()?;
        bed.failsafe(FAILSAFE)?;
        let ledger = bed.volume("ledger", Fs::Ext4, 512 * MIB)?;
        let records = bed.volume("records", Fs::Xfs, 512 * MIB)?;
        let pair = Pair::on(&ledger.mount_point, &records.mount_point);
        let writer = Writer::process(&std::env::current_exe()?, &Work::Pair(pair.clone()))?;
        wait_until("the ledger is there", Duration::from_secs(20), || pair.ledger.exists())?;
        let config = hooks(&pair, &bed.directory().join("size-of-records"));
        let agent = Agent::start(binary, AgentOptions::configured(&config))?;
        Ok(Self { agent, writer, ledger, records, document: Document::parse(document)?, bed })
    }

    fn cycle(&mut self, title: &'static str, with_agent: bool) -> Result<Row, Box<dyn Error>> {
        let written = self.writer.progress()?.written;
        let writer = &mut self.writer;
        let mut goes_on = || writer.progress().is_ok_and(|progress| progress.written > written + 200);
        wait_until("the application writes", Duration::from_secs(60), &mut goes_on)?;
        self.writer.mark()?;
        let ssm = Ssm::new(&self.bed.directory().join("ssm"));
        let ssm = if with_agent { ssm.first_in_path(&self.agent.bin_dir()) } else { ssm };
        let mut delivery = SsmDelivery::new(ssm, self.document.clone());
        let (bed, ledger, records) = (&self.bed, &self.ledger, &self.records);
        let clones = || -> Result<[Image; 2], BedError> {
            let first = bed.snapshot_volume(ledger)?;
            std::thread::sleep(GAP);
            Ok([first, bed.snapshot_volume(records)?])
        };
        let cycle = run_cycle(&Policy::default(), &mut delivery, clones);
        let stall = self.writer.progress()?.longest_stall();
        report::scripts(&cycle);
        let session = if with_agent { self.session_of(&cycle)? } else { Value::Null };
        report::timeline(&session);
        let pair = self.restore(&cycle)?;
        let row = Row { title, fallback: cycle.crash_consistent_fallback, stall, session, pair };
        report::judgement(&row);
        Ok(row)
    }

    /// Puts both clones on fresh devices and reads them.
    fn restore(&self, cycle: &Cycle<[Image; 2]>) -> Result<PairReport, Box<dyn Error>> {
        let [ledger, records] = cycle.snapshot.as_ref().ok_or("no snapshot was taken")?;
        let (ledger, records) = (self.bed.restore(ledger)?, self.bed.restore(records)?);
        let report = check_pair(&Pair::on(&ledger.mount_point, &records.mount_point))?;
        self.bed.remove(&ledger)?;
        self.bed.remove(&records)?;
        Ok(report)
    }

    /// What the agent reports about the session of this cycle; null when it has none.
    fn session_of<S>(&self, cycle: &Cycle<S>) -> Result<Value, Box<dyn Error>> {
        let status = self.agent.cli(["status", "--json"])?;
        let last = serde_json::from_str::<Value>(&status.stdout)?["last"].clone();
        let is_of = |script: &Script| last["execution_id"] == script.execution_id.as_str();
        Ok(if cycle.pre.iter().any(is_of) { last } else { Value::Null })
    }
}

/// The application writes a record only inside a transaction on the ledger, so the ledger's lock holds it as well: the
/// second hook has but to prove that its records do not grow.
fn hooks(pair: &Pair, noted: &Path) -> String {
    let (records, noted) = (pair.records.display(), noted.display());
    let size = format!("stat -c %s '{records}'");
    let shell = |script: String| format!("[\"/bin/sh\", \"-c\", {script:?}]");
    format!(
        "[hook.ledger.sqlite]\ndatabases = [{:?}]\n\n[hook.records.exec]\nquiesce = {}\nverify = {}\nresume = {}\n\
         data = ['{records}']\nafter = [\"ledger\"]\n",
        pair.ledger,
        shell(format!("{size} > '{noted}'")),
        shell(format!("test \"$({size})\" = \"$(cat '{noted}')\"")),
        shell(format!("rm -f '{noted}'")),
    )
}

/// Shows a session on a made-up host, for those without root.
///
/// # Errors
/// When the agent cannot be started.
pub fn simulate(binary: &Path) -> Result<bool, Box<dyn Error>> {
    let host = tempfile::tempdir()?;
    std::fs::create_dir_all(host.path().join("proc/self"))?;
    let mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 21 259:1 / /data rw - xfs /dev/nvme1n1 rw\n";
    std::fs::write(host.path().join("proc/self/mountinfo"), mounts)?;
    std::fs::write(host.path().join("proc/swaps"), "Filename Type Size Used Priority\n")?;
    let config = "[hook.queue.exec]\nquiesce = [\"/bin/true\"]\nverify = [\"/bin/true\"]\nresume = [\"/bin/true\"]\n\n\
                  [group.default]\nfilesystems = [\"/data\"]\n";
    let options = AgentOptions::configured(config).variable("QUIESCED_SIMULATE", host.path());
    let agent = Agent::start(binary, options)?;
    let (pre, post) = (agent.pre_script("None")?, agent.post_script("None")?);
    println!("$ quiesced pre-script\n{}\n$ quiesced post-script\n{}", pre.stdout, post.stdout);
    Ok(pre.code == Some(0) && post.code == Some(0))
}
