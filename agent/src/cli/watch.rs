//! `--watch`: the same again and again, until nobody looks any more.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::error::CliError;

/// Clears the screen and goes to its first line (ECMA-48, ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Whether a command goes on.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Show it again and again, every so often.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s", require_equals = true, value_parser = interval)]
    watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| format!("{error}, as in 2s"))?;
    if interval < Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(interval)
}

impl Watch {
    /// Prints what `look` brings: once, or until it fails or standard output is closed.
    pub(super) async fn run(
        &self,
        mut look: impl AsyncFnMut() -> Result<String, CliError>,
    ) -> Result<ExitCode, CliError> {
        let Some(interval) = self.watch else {
            super::say(&look().await?);
            return Ok(ExitCode::SUCCESS);
        };
        let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
        loop {
            let text = look().await?;
            let mut stdout = std::io::stdout().lock();
            let shown = write!(stdout, "{clear}{text}").and_then(|()| stdout.flush());
            drop(stdout);
            if shown.is_err() {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(interval).await;
        }
    }
}
