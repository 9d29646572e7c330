//! `exec`: two commands, one quiesces and one resumes; a third may verify.
//!
//! Each command is an argument vector with an absolute program, which only root and the user it runs as may be able
//! to change. In its environment, besides `PATH` and `LANG`:
//!
//! | variable | |
//! | --- | --- |
//! | `QUIESCED_EDGE` | `quiesce`, `verify` or `resume` |
//! | `QUIESCED_EXECUTION_ID` | the session's id, or `None` |
//! | `QUIESCED_HOOK` | the hook's name |
//! | `QUIESCED_DEADLINE_MS` | how many milliseconds the command has |
//! | `QUIESCED_VOLUMES` | the volumes that the session covers, separated by spaces |
//!
//! Exit code 0 is success. A command that takes too long, fails or is called off is ended with its whole process
//! group, SIGTERM first. After a success the group is left alone, so a command may leave something behind that holds
//! the application; it should redirect its output, which nobody reads any more. `resume` runs whenever `quiesce` was
//! started, so it must do no harm when nothing was quiesced. The hold outlives the agent, therefore `resume` is also
//! what the journal lists; a command that outlives the agent too is ended before.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{CommandError, HookError};
use crate::hook::{DataPath, Hook, Inspection, Proof, StepContext};
use crate::process::mark::Mark;
use crate::process::program::{Environment, Program, environment};
use crate::process::supervise::Supervisor;
use crate::settings::ExecSettings;
use crate::undo::Undo;

/// What a command leaves of its step's time, so that it can be ended and its last output read: then its error says more
/// than that the step took too long.
const LAST_WORDS: Duration = Duration::from_millis(400);

/// A hook of two or three commands.
pub(crate) struct ExecHook {
    settings: ExecSettings,
    programs: Option<Programs>,
    supervisor: Supervisor,
}

/// The commands, found fit to run.
#[derive(Clone)]
struct Programs {
    quiesce: Program,
    verify: Option<Program>,
    resume: Program,
}

impl ExecHook {
    pub(crate) fn new(settings: ExecSettings) -> Self {
        Self { settings, programs: None, supervisor: Supervisor::default() }
    }

    async fn resolve(&self) -> Result<Programs, CommandError> {
        let resolve = |argv: &Vec<String>| Program::resolve(argv.clone(), self.settings.user.clone());
        let verify = match &self.settings.verify {
            Some(argv) => Some(resolve(argv).await?),
            None => None,
        };
        Ok(Programs {
            quiesce: resolve(&self.settings.quiesce).await?,
            verify,
            resume: resolve(&self.settings.resume).await?,
        })
    }

    /// The commands as the inspection found them: inside the window nobody asks the name service.
    async fn programs(&mut self) -> Result<Programs, CommandError> {
        let programs = match self.programs.take() {
            Some(programs) => programs,
            None => self.resolve().await?,
        };
        Ok(self.programs.insert(programs).clone())
    }

    async fn run(&mut self, program: &Program, step: &StepContext, edge: &str) -> Result<(), HookError> {
        // A command that was given up may take a while to end; that comes off the time of this one.
        drop(self.supervisor.settle().await);
        let limit = step.remaining().saturating_sub(LAST_WORDS);
        Ok(self.supervisor.run_within(program, on_edge(step, edge), limit).await?)
    }
}

fn on_edge(step: &StepContext, edge: &str) -> Environment {
    let mut environment = environment(step);
    environment.insert("QUIESCED_EDGE".to_owned(), edge.to_owned());
    environment
}

/// Checks that the places of a hook's data exist.
pub(crate) async fn data_paths(paths: &[impl AsRef<Path>]) -> Result<Vec<DataPath>, HookError> {
    let paths: Vec<_> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        let examined = path.clone();
        let there = tokio::task::spawn_blocking(move || std::fs::metadata(examined)).await;
        let there = there.unwrap_or_else(|lost| Err(std::io::Error::other(lost)));
        there.map_err(|source| HookError::Examine { path: path.clone(), source })?;
        found.push(DataPath { what: "data".to_owned(), path });
    }
    Ok(found)
}

#[async_trait]
impl Hook for ExecHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        self.programs = Some(self.resolve().await?);
        Ok(Inspection { data_paths: data_paths(&self.settings.data).await? })
    }

    async fn prepare(&mut self, step: &StepContext) -> Result<(), HookError> {
        self.supervisor = Supervisor::marked(Mark::create(&Mark::path(&step.runtime_dir, &step.hook))?);
        Ok(())
    }

    fn undo(&self, step: &StepContext) -> Option<Undo> {
        Some(Undo::Command {
            argv: self.settings.resume.clone(),
            user: self.settings.user.clone(),
            environment: on_edge(step, "resume"),
            timeout: self.settings.common.timeout,
            mark: Mark::path(&step.runtime_dir, &step.hook),
        })
    }

    async fn quiesce(&mut self, step: &StepContext) -> Result<(), HookError> {
        let program = self.programs().await?.quiesce;
        self.run(&program, step, "quiesce").await
    }

    async fn verify(&mut self, step: &StepContext) -> Result<Proof, HookError> {
        let Some(program) = self.programs().await?.verify else {
            return Ok(Proof::Claimed { why: "the hook has no `verify` command".to_owned() });
        };
        self.run(&program, step, "verify").await?;
        Ok(Proof::Proved { how: format!("{} exited with code 0", program.line()) })
    }

    async fn resume(&mut self, step: &StepContext) -> Result<(), HookError> {
        let program = self.programs().await?.resume;
        self.run(&program, step, "resume").await
    }
}

#[cfg(test)]
mod tests;
