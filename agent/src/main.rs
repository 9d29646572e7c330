//! `quiesced`: one binary for the daemon, its commands and the guardian.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The guardian is started before the command line is read and before a runtime exists: it must know of neither.
    if std::env::args_os().nth(1).is_some_and(|first| first == "guardian") {
        return match quiesced_freezer::guardian::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    quiesced::cli::main()
}
