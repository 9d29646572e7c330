//! Runs one command at a time, and ends what was given up.
//!
//! The command is watched by a task of its own, because the step that waits for it may be dropped at any moment:
//! the task then still ends the process group, politely first. Whoever runs the next command waits for that, so that
//! a quiesce that was given up cannot act after the resume that follows it.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::group::Group;
use super::how_it_ended;
use super::mark::Mark;
use super::output::{Said, Tail};
use super::program::{Environment, Program, with_limit};
use crate::error::CommandError;

/// Runs the commands of one hook, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    mark: Option<Mark>,
    watch: Option<JoinHandle<Result<(), CommandError>>>,
}

impl Supervisor {
    /// Lets every command from now on leave this mark while it runs.
    pub(crate) fn marked(mark: Mark) -> Self {
        Self { mark: Some(mark), watch: None }
    }

    /// Runs a command to its end. When the future is dropped, the command's process group is ended.
    pub(crate) async fn run(
        &mut self,
        program: &Program,
        environment: Environment,
    ) -> Result<(), CommandError> {
        drop(self.settle().await);
        // Dropped together with this future, which is what the watching task waits for.
        let (_still_wanted, given_up) = oneshot::channel();
        let watch =
            self.watch.insert(tokio::spawn(watch(program.clone(), environment, self.mark.clone(), given_up)));
        let ended = watch.await;
        self.watch = None;
        ended.unwrap_or_else(|_| Err(CommandError::Unwatched { command: program.line() }))
    }

    /// Runs a command for as long as `limit`, then ends it, which takes a moment more.
    pub(crate) async fn run_within(
        &mut self,
        program: &Program,
        environment: Environment,
        limit: Duration,
    ) -> Result<(), CommandError> {
        let run = self.run(program, with_limit(environment, limit));
        match tokio::time::timeout(limit, run).await {
            Ok(ended) => ended,
            Err(_) => {
                let said = self.settle().await;
                Err(CommandError::TimedOut { command: program.line(), after: limit, said })
            }
        }
    }

    /// Waits until a command that was given up has ended. Returns what it wrote last.
    pub(crate) async fn settle(&mut self) -> Said {
        let Some(watch) = &mut self.watch else { return Said::default() };
        let ended = watch.await;
        self.watch = None;
        match ended {
            Ok(Err(CommandError::Failed { said, .. })) => said,
            // What else became of it is in the log, and was asked by nobody any more.
            _ => Said::default(),
        }
    }
}

async fn watch(
    program: Program,
    environment: Environment,
    mark: Option<Mark>,
    given_up: oneshot::Receiver<()>,
) -> Result<(), CommandError> {
    let ended = watch_marked(&program, environment, mark.as_ref(), given_up).await;
    mark.map_or(Ok(()), |mark| mark.clear()).and(ended)
}

async fn watch_marked(
    program: &Program,
    environment: Environment,
    mark: Option<&Mark>,
    given_up: oneshot::Receiver<()>,
) -> Result<(), CommandError> {
    let (mut child, group) = start(program, &environment, mark).await?;
    let mut stdout = child.stdout.take().map(Tail::of);
    let mut stderr = child.stderr.take().map(Tail::of);
    let ended = tokio::select! {
        biased;
        status = child.wait() => Some(status.map_err(|source| CommandError::Wait { command: program.line(), source })?),
        _ = given_up => None,
    };
    if ended.is_some_and(|status| status.success()) {
        group.let_go();
        return Ok(());
    }
    let how = finish(child, group, ended, program).await?;
    let said = last_words(stderr.as_mut(), stdout.as_mut()).await;
    let error =
        CommandError::Failed { command: program.line(), how, said, by_hand: program.by_hand(&environment) };
    if ended.is_none() {
        tracing::warn!(%error, "a command that took too long or was called off has been ended");
    }
    Err(error)
}

/// Starts a command on a thread where it may block: the program may lie on a disk that does not answer.
pub(crate) async fn start(
    program: &Program,
    environment: &Environment,
    mark: Option<&Mark>,
) -> Result<(Child, Group), CommandError> {
    let mut command = program.command(environment);
    if let Some(mark) = mark {
        mark.on(&mut command);
    }
    start_command(move || command.spawn(), program).await
}

/// As [`start`], for a caller that has changed the command.
pub(crate) async fn start_command(
    spawn: impl FnOnce() -> std::io::Result<Child> + Send + 'static,
    program: &Program,
) -> Result<(Child, Group), CommandError> {
    let line = || program.line();
    let with_group = move || spawn().map(|child| (Group::of(&child), child));
    let started = tokio::task::spawn_blocking(with_group).await;
    let started = started.map_err(|_| CommandError::Unwatched { command: line() })?;
    let (group, child) = started.map_err(|source| CommandError::Start { command: line(), source })?;
    let group = group.ok_or_else(|| CommandError::Unwatched { command: line() })?;
    Ok((child, group))
}

/// Ends what is left of a command that failed or was given up: unknown counts as held, and a leftover that acts after
/// the resume would hold the application again.
async fn finish(
    mut child: Child,
    group: Group,
    ended: Option<ExitStatus>,
    program: &Program,
) -> Result<String, CommandError> {
    group.end().await?;
    match ended {
        Some(status) => Ok(how_it_ended(status)),
        None => {
            let status = child.wait().await;
            let status = status.map_err(|source| CommandError::Wait { command: program.line(), source })?;
            Ok(format!("was ended: it {}", how_it_ended(status)))
        }
    }
}

/// What the command wrote last to its standard error, or else to its standard output.
async fn last_words(stderr: Option<&mut Tail>, stdout: Option<&mut Tail>) -> Said {
    for tail in [stderr, stdout].into_iter().flatten() {
        let said = tail.said().await;
        if !said.is_empty() {
            return said;
        }
    }
    Said::default()
}
