//! `quiesced`: one binary for the daemon, its commands and the guardian.

use std::path::Path;
use std::process::ExitCode;

use quiesced::preflight::writes;

fn main() -> ExitCode {
    // The guardian is started before the command line is read and before a runtime exists: it must know of neither.
    if std::env::args_os().nth(1).is_some_and(|first| first == "guardian") {
        return match quiesced_freezer::guardian::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == writes::ARGUMENT) {
        return writes::main(Path::new(&arguments.next().unwrap_or_default()));
    }
    quiesced::cli::main()
}
