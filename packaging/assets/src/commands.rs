//! Manual pages and completions of the commands, from what `--help` is made of.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::error::{AssetError, write};

/// Commands of the administrator (man-pages(7)).
const SECTION: &str = "8";
const NAME: &str = "quiesced";

/// One page for each command, named as git names its own: `quiesced-pre-script.8`.
pub(crate) fn write_pages(directory: &Path) -> Result<(), AssetError> {
    // Building gives each command the name that stands on its page.
    let mut root = quiesced::cli::command().disable_help_subcommand(true);
    root.build();
    write_tree(directory, &root)
}

fn write_tree(directory: &Path, command: &Command) -> Result<(), AssetError> {
    let name = command.get_display_name().unwrap_or(NAME);
    let path = directory.join(format!("{name}.{SECTION}"));
    let mut page = Vec::new();
    Man::new(command.clone())
        .section(SECTION)
        .manual(NAME)
        .render(&mut page)
        .map_err(|source| AssetError::file(&path, source))?;
    write(&path, &page)?;
    command.get_subcommands().try_for_each(|inner| write_tree(directory, inner))
}

/// For the shells that distributions have a directory for.
pub(crate) fn write_completions(directory: &Path) -> Result<(), AssetError> {
    let mut root = quiesced::cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut root, NAME, directory)
            .map_err(|source| AssetError::file(directory, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn every_command_has_a_page_that_names_each_of_its_options() {
        let directory = tempfile::tempdir().unwrap();
        write_pages(directory.path()).unwrap();
        let mut root = quiesced::cli::command();
        root.build();
        let mut seen = 0;
        for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
            let path = directory.path().join(format!("quiesced-{}.8", command.get_name()));
            let page = std::fs::read_to_string(path).unwrap().replace('\\', "");
            for option in
                command.get_arguments().filter(|option| !option.is_hide_set()).filter_map(clap::Arg::get_long)
            {
                assert!(page.contains(&format!("--{option}")), "{}: --{option}\n{page}", command.get_name());
                seen += 1;
            }
        }
        assert!(seen > 30, "only {seen} options");
        assert!(directory.path().join("quiesced-config-show.8").is_file());
    }
}
