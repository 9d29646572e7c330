//! Writers that run beside the test: as a thread, or as a process of their own.
//!
//! A thread that sleeps on a frozen filesystem keeps its process from ending, immune to SIGKILL. So whoever must be
//! able to end takes a process. It is asked through a pipe and answers from a thread that never writes to a disk.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::meter::Meter;
use super::pair::PairWriter;
use super::{Pair, Progress, WriterError};
use crate::volumes::MIB;

/// Between two transactions an application does something else. Without this pause whoever polls for the write lock of
/// the ledger would wait for a long time.
const THINKING: Duration = Duration::from_millis(2);

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The ledger and its records.
    Pair(Pair),
    /// 4 KiB blocks with fdatasync, round and round in one file of 64 MiB.
    Stream(PathBuf),
}

impl Work {
    fn name(&self) -> String {
        match self {
            Self::Pair(pair) => pair.ledger.display().to_string(),
            Self::Stream(file) => file.display().to_string(),
        }
    }

    fn arguments(&self) -> Vec<PathBuf> {
        match self {
            Self::Pair(pair) => vec!["write-pair".into(), pair.ledger.clone(), pair.records.clone()],
            Self::Stream(file) => vec!["write-stream".into(), file.clone()],
        }
    }

    fn run(self, meter: &Meter) {
        let result = match self {
            Self::Pair(pair) => {
                PairWriter::open(pair).map(|mut writer| meter.drive(THINKING, || writer.write_next()))
            }
            Self::Stream(path) => {
                open_stream(&path).map(|mut file| meter.drive(Duration::ZERO, || write_block(&mut file)))
            }
        };
        if let Err(error) = result {
            meter.give_up(&error.to_string());
        }
    }
}

fn open_stream(path: &Path) -> Result<File, WriterError> {
    let opened = File::options().create(true).truncate(false).write(true).open(path);
    opened.map_err(|source| WriterError::File { path: path.to_path_buf(), source })
}

fn write_block(file: &mut File) -> std::io::Result<()> {
    if file.stream_position()? >= 64 * MIB {
        file.rewind()?;
    }
    file.write_all(&[0x5a; 4096])?;
    file.sync_data()
}

/// Writes `bytes` to a new file without any sync, so that a freeze finds dirty pages.
///
/// # Errors
/// When the file cannot be written.
pub fn dirty(path: &Path, bytes: u64) -> Result<(), WriterError> {
    let write = || {
        let mut file = File::create(path)?;
        let block = vec![0x5a; 1024 * 1024];
        for _ in 0..bytes.div_ceil(MIB) {
            file.write_all(&block)?;
        }
        Ok(())
    };
    write().map_err(|source| WriterError::File { path: path.to_path_buf(), source })
}

/// A running writer. Dropping it stops it, without waiting.
#[derive(Debug)]
pub struct Writer {
    name: String,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    Thread { meter: Arc<Meter>, handle: Option<JoinHandle<()>> },
    Process { child: Child, ask: Option<ChildStdin>, answers: BufReader<ChildStdout> },
}

impl Writer {
    /// Writes in a thread of this process.
    pub fn thread(work: Work) -> Self {
        let meter = Arc::new(Meter::new());
        let name = work.name();
        let theirs = Arc::clone(&meter);
        let handle = std::thread::spawn(move || work.run(&theirs));
        Self { name, runs: Runs::Thread { meter, handle: Some(handle) } }
    }

    /// Writes in a process of the program `binary`, see [`bed_binary`].
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn process(binary: &Path, work: &Work) -> Result<Self, WriterError> {
        let name = work.name();
        let silent = |reason: String| WriterError::Silent { work: name.clone(), reason };
        let mut child = Command::new(binary)
            .args(work.arguments())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| silent(error.to_string()))?;
        let (Some(ask), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(silent("it has no pipes".to_owned()));
        };
        Ok(Self { name, runs: Runs::Process { child, ask: Some(ask), answers: BufReader::new(answers) } })
    }

    /// How far it is, also while it is blocked.
    ///
    /// # Errors
    /// When it stopped by itself.
    pub fn progress(&mut self) -> Result<Progress, WriterError> {
        let progress = match &mut self.runs {
            Runs::Thread { meter, .. } => meter.progress(),
            Runs::Process { .. } => self.ask("progress")?,
        };
        self.judged(progress)
    }

    fn judged(&self, progress: Progress) -> Result<Progress, WriterError> {
        match progress.stopped {
            Some(reason) => Err(WriterError::Stopped { work: self.name.clone(), reason }),
            None => Ok(progress),
        }
    }

    /// Forgets the longest stall so far.
    ///
    /// # Errors
    /// When its process is gone.
    pub fn mark(&mut self) -> Result<(), WriterError> {
        match &mut self.runs {
            Runs::Thread { meter, .. } => meter.mark(),
            Runs::Process { .. } => drop(self.ask("mark")?),
        }
        Ok(())
    }

    /// Stops it after the write that is under way, and waits for that: never call it while the filesystem is frozen.
    ///
    /// # Errors
    /// When it stopped by itself before.
    pub fn stop(mut self) -> Result<Progress, WriterError> {
        match &mut self.runs {
            Runs::Thread { meter, handle } => {
                meter.stop();
                if let Some(Err(_)) = handle.take().map(JoinHandle::join) {
                    meter.give_up("its thread panicked");
                }
                self.progress()
            }
            Runs::Process { ask, .. } => {
                drop(ask.take());
                self.answer().and_then(|progress| self.judged(progress))
            }
        }
    }

    fn ask(&mut self, question: &str) -> Result<Progress, WriterError> {
        let Runs::Process { ask: Some(ask), .. } = &mut self.runs else {
            return Err(self.silent("it was stopped"));
        };
        if let Err(error) = writeln!(ask, "{question}") {
            return Err(self.silent(&error.to_string()));
        }
        self.answer()
    }

    /// Reads one answer; the last one comes without a question, at the end.
    fn answer(&mut self) -> Result<Progress, WriterError> {
        let Runs::Process { answers, .. } = &mut self.runs else {
            return Err(self.silent("it is a thread"));
        };
        let mut line = String::new();
        let read = answers.read_line(&mut line).map_err(|error| error.to_string());
        let answer = read.and_then(|_| serde_json::from_str(&line).map_err(|error| error.to_string()));
        answer.map_err(|reason| self.silent(&reason))
    }

    fn silent(&self, reason: &str) -> WriterError {
        WriterError::Silent { work: self.name.clone(), reason: reason.to_owned() }
    }
}

impl Drop for Writer {
    /// Nothing is waited for here: what is blocked ends with the thaw, and the test that is to thaw would hang.
    fn drop(&mut self) {
        match &mut self.runs {
            Runs::Thread { meter, .. } => meter.stop(),
            Runs::Process { child, .. } => {
                let _ = child.kill();
                let _ = child.try_wait();
            }
        }
    }
}

/// The other side of [`Writer::process`]: writes until `questions` ends, answers each line of it.
///
/// # Errors
/// When an answer cannot be written.
pub fn serve(work: Work, questions: impl BufRead, mut answers: impl Write) -> std::io::Result<()> {
    let meter = Arc::new(Meter::new());
    let theirs = Arc::clone(&meter);
    let writer = std::thread::spawn(move || work.run(&theirs));
    let mut answer = |meter: &Meter| {
        let line = serde_json::to_string(&meter.progress()).map_err(std::io::Error::other)?;
        writeln!(answers, "{line}")?;
        answers.flush()
    };
    for question in questions.lines() {
        if question? == "mark" {
            meter.mark();
        }
        answer(&meter)?;
    }
    meter.stop();
    if writer.join().is_err() {
        meter.give_up("its thread panicked");
    }
    answer(&meter)
}

/// The program of this crate, beside the running test or program.
///
/// # Errors
/// When it was not built.
pub fn bed_binary() -> Result<PathBuf, WriterError> {
    let own = std::env::current_exe()
        .map_err(|source| WriterError::File { path: PathBuf::from("/proc/self/exe"), source })?;
    let mut beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("quiesced-bed"));
    let fallback = own.with_file_name("quiesced-bed");
    beside.find(|path| path.is_file()).ok_or(WriterError::NoProgram { path: fallback })
}
