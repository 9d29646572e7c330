//! A command that has been found fit to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::account::{Account, effective_uid};
use super::output::shown;
use super::trust::check_program;
use crate::error::CommandError;
use crate::hook::StepContext;

/// What a command finds on a fresh login of root, wherever the agent was started from.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Environment variables by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// A command and the user that runs it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    argv: Vec<String>,
    account: Option<Account>,
}

impl Program {
    /// Finds out whether a command may run, and as whom.
    pub(crate) async fn resolve(argv: Vec<String>, user: Option<String>) -> Result<Self, CommandError> {
        let command = command_line(&argv);
        // The name service and file systems may keep us waiting; the other hooks must not wait with us.
        let resolved = tokio::task::spawn_blocking(move || Self::resolve_now(argv, user.as_deref())).await;
        resolved.unwrap_or(Err(CommandError::Unwatched { command }))
    }

    fn resolve_now(argv: Vec<String>, user: Option<&str>) -> Result<Self, CommandError> {
        let path = PathBuf::from(argv.first().ok_or(CommandError::Empty)?);
        if !path.is_absolute() {
            return Err(CommandError::NotAbsolute { program: path.display().to_string() });
        }
        let account = user.map(Account::look_up).transpose()?;
        check_program(&path, effective_uid(account.as_ref()))?;
        Ok(Self { path, argv, account })
    }

    /// The command, ready to be started: nothing of the agent's environment is left in it.
    pub(crate) fn command(&self, environment: &Environment) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.argv[1..]).env_clear().env("PATH", PATH).env("LANG", "C.UTF-8").envs(environment);
        command.current_dir(Path::new("/")).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// The command as it would be typed.
    pub(crate) fn line(&self) -> String {
        command_line(&self.argv)
    }

    /// What to type to run it as the agent does.
    pub(crate) fn by_hand(&self, environment: &Environment) -> String {
        let variables = environment.iter().map(|(name, value)| format!(" {name}={}", quoted(value)));
        let user = self.account.as_ref().map(|account| format!("runuser -u {} -- ", quoted(&account.name)));
        let (user, variables): (_, String) = (user.unwrap_or_default(), variables.collect());
        format!("cd / && {user}env -i PATH={PATH} LANG=C.UTF-8{variables} {}", self.line())
    }
}

/// What every child is told of the session.
pub(crate) fn environment(step: &StepContext) -> Environment {
    let variables = [
        ("QUIESCED_EXECUTION_ID", step.execution_id.to_string()),
        ("QUIESCED_HOOK", step.hook.clone()),
        ("QUIESCED_VOLUMES", step.volumes.join(" ")),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Adds the time that a command has.
pub(crate) fn with_limit(mut environment: Environment, limit: Duration) -> Environment {
    environment.insert("QUIESCED_DEADLINE_MS".to_owned(), limit.as_millis().to_string());
    environment
}

fn command_line(argv: &[String]) -> String {
    argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell would read it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", shown(word).replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_expand_them() {
        let argv = ["/bin/echo", "plain", "two words", "it's", "$HOME", ""].map(str::to_owned);
        assert_eq!(command_line(&argv), r"/bin/echo plain 'two words' 'it'\''s' '$HOME' ''");
    }

    #[tokio::test]
    async fn a_command_without_an_absolute_program_is_refused() {
        let refused = Program::resolve(vec!["true".to_owned()], None).await;
        assert!(matches!(refused, Err(CommandError::NotAbsolute { .. })));
        assert!(matches!(Program::resolve(vec![], None).await, Err(CommandError::Empty)));
    }

    #[tokio::test]
    async fn an_unknown_user_is_named() {
        let refused = Program::resolve(vec!["/bin/true".to_owned()], Some("no-such-user".to_owned())).await;
        assert_eq!(refused.unwrap_err().to_string(), "there is no user no-such-user");
    }
}
