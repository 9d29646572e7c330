//! `session`: one long-lived child that holds the application still for as long as it is told to.
//!
//! For every client whose lock lives in its session. The child is started in `prepare`, and speaks lines:
//!
//! | we write | it does | it answers |
//! | --- | --- | --- |
//! | `quiesce` | takes the lock | `ok`, or `error TEXT` |
//! | `verify` | looks whether it has held the lock all along | `ok`, or `error TEXT` |
//! | `resume` | releases the lock | `ok`, or `error TEXT` |
//! | end of file | releases the lock and exits | |
//!
//! Each line gets one line as its answer, of at most 4 KiB; everything else belongs on standard error. A child that
//! ends, closes its output or writes without having been asked does not hold any more, for all that is known.
//! `scripts/hooks/session-sample.sh` is a complete one.

mod line;

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::error::{CommandError, HookError, SessionError};
use crate::exec::data_paths;
use crate::hook::{Hook, Inspection, Proof, StepContext};
use crate::process::group::{Group, Leader};
use crate::process::how_it_ended;
use crate::process::output::{Said, Tail};
use crate::process::program::{Program, environment};
use crate::process::supervise::start_command;
use crate::settings::SessionSettings;
use crate::undo::Undo;
use line::{Answer, Lines, parse};

/// How long a child may take to exit after its input has ended, before its group is ended.
const EXIT_LIMIT: Duration = Duration::from_millis(500);

/// A hook with one child.
pub(crate) struct SessionHook {
    settings: SessionSettings,
    program: Option<Program>,
    child: Option<Running>,
}

/// The child while it runs.
struct Running {
    child: Child,
    group: Group,
    leader: Leader,
    input: ChildStdin,
    output: Lines<ChildStdout>,
    errors: Option<Tail>,
    /// What it was told and has not answered.
    open: Option<&'static str>,
}

impl SessionHook {
    pub(crate) const fn new(settings: SessionSettings) -> Self {
        Self { settings, program: None, child: None }
    }

    async fn ask(&mut self, question: &'static str) -> Result<(), HookError> {
        let child = self.child.as_mut().ok_or(SessionError::NotRunning)?;
        Ok(child.ask(question).await?)
    }
}

impl Running {
    async fn start(program: &Program, step: &StepContext) -> Result<Self, HookError> {
        let mut command = program.command(&environment(step));
        command.stdin(Stdio::piped());
        let (mut child, group) = start_command(move || command.spawn(), program).await?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SessionError::NotRunning.into());
        };
        let errors = child.stderr.take().map(Tail::of);
        // Without it nobody could end the child after the agent's death.
        let path = format!("/proc/{}/stat", group.leader()).into();
        let leader = Leader::of(group.leader()).map_err(|source| CommandError::Examine { path, source })?;
        Ok(Self { child, group, leader, input, output: Lines::of(output), errors, open: None })
    }

    /// Tells the child one thing and waits for its answer. When the future is dropped in between, the question stays
    /// open, and its answer is awaited before the next one is asked.
    async fn ask(&mut self, question: &'static str) -> Result<(), SessionError> {
        if self.open.is_some() {
            let late = self.answer().await?;
            tracing::debug!(?late, "a late answer of a session's child");
        }
        match self.output.unasked() {
            Ok(None) => {}
            Ok(Some(line)) => return Err(SessionError::Unasked { line }),
            Err(_ended) => return Err(self.ended().await),
        }
        let told = async {
            self.input.write_all(question.as_bytes()).await?;
            self.input.write_all(b"\n").await
        };
        if let Err(source) = told.await {
            return Err(SessionError::Tell { asked: question, source, said: self.last_words().await });
        }
        self.open = Some(question);
        match self.answer().await? {
            Answer::Ok => Ok(()),
            Answer::Error(text) => Err(SessionError::Refused { asked: question, text }),
            Answer::Garbled(line) => Err(SessionError::Garbled { asked: question, line }),
        }
    }

    async fn answer(&mut self) -> Result<Answer, SessionError> {
        match self.output.next().await {
            Ok(Some(line)) => {
                self.open = None;
                Ok(parse(&line))
            }
            Ok(None) | Err(_) => Err(self.ended().await),
        }
    }

    async fn ended(&mut self) -> SessionError {
        let status = tokio::time::timeout(EXIT_LIMIT, self.child.wait()).await;
        let how = match status {
            Ok(Ok(status)) => how_it_ended(status),
            Ok(Err(_)) | Err(_) => "closed its standard output".to_owned(),
        };
        SessionError::Ended { how, said: self.last_words().await }
    }

    async fn last_words(&mut self) -> Said {
        match &mut self.errors {
            Some(errors) => errors.said().await,
            None => Said::default(),
        }
    }

    /// Ends the child: politely by the end of its input, then with its whole group.
    async fn end(self) -> Result<(), HookError> {
        let Self { mut child, group, input, .. } = self;
        drop(input);
        // Whether it exits in time or not, its group is ended: it may have left somebody behind.
        let exited = tokio::time::timeout(EXIT_LIMIT, child.wait()).await.is_ok();
        if exited {
            drop(group);
            return Ok(());
        }
        group.end().await?;
        Ok(())
    }
}

#[async_trait]
impl Hook for SessionHook {
    async fn inspect(&mut self, _step: &StepContext) -> Result<Inspection, HookError> {
        let settings = &self.settings;
        self.program = Some(Program::resolve(settings.command.clone(), settings.user.clone()).await?);
        Ok(Inspection { data_paths: data_paths(&settings.data).await? })
    }

    async fn prepare(&mut self, step: &StepContext) -> Result<(), HookError> {
        let program = match self.program.take() {
            Some(program) => program,
            None => Program::resolve(self.settings.command.clone(), self.settings.user.clone()).await?,
        };
        self.child = Some(Running::start(&program, step).await?);
        self.program = Some(program);
        Ok(())
    }

    fn undo(&self, _step: &StepContext) -> Option<Undo> {
        Some(Undo::KillGroup(self.child.as_ref()?.leader))
    }

    async fn quiesce(&mut self, _step: &StepContext) -> Result<(), HookError> {
        self.ask("quiesce").await
    }

    async fn verify(&mut self, _step: &StepContext) -> Result<Proof, HookError> {
        self.ask("verify").await?;
        Ok(Proof::Proved { how: "the session's child says that it has held all along".to_owned() })
    }

    /// A child that does not answer is ended: its session, and with it its lock, is then over.
    async fn resume(&mut self, step: &StepContext) -> Result<(), HookError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let asked = tokio::time::timeout(step.remaining() / 2, child.ask("resume")).await;
        let told = match asked {
            Ok(told) => told,
            Err(_) => Err(SessionError::Unanswered { asked: "resume" }),
        };
        if let Err(error) = told {
            tracing::warn!(hook = step.hook, %error, "the session's child is ended instead");
        }
        child.end().await
    }

    async fn close(&mut self) {
        if let Some(child) = self.child.take()
            && let Err(error) = child.end().await
        {
            tracing::warn!(%error, "the session's child cannot be ended");
        }
    }
}

#[cfg(test)]
mod tests;
