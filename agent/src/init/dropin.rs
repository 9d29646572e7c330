//! The files that `init` writes.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::engines::{Find, State};
use super::pages;

/// A file for `conf.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropIn {
    /// Its name.
    pub name: String,
    /// What it is about, for people.
    pub title: String,
    /// Its text.
    pub text: String,
}

impl DropIn {
    pub(super) fn of(find: &Find) -> Self {
        let engine = find.engine;
        let mut text = String::new();
        comment(&mut text, &format!("{}, found by `quiesced init`: {}.", engine.title, find.evidence));
        if !engine.page.is_empty() {
            comment(
                &mut text,
                &format!("The other keys, what is proved, and how to restore: docs/hooks/{}.md", engine.name),
            );
        }
        let user = pages::user_section(engine.page);
        if !user.is_empty() {
            comment(&mut text, "");
            comment(&mut text, "The user that it needs:");
            comment(&mut text, "");
            user.iter().for_each(|line| comment(&mut text, line));
        }
        text.push('\n');
        let lines = find.table();
        match find.state {
            State::Native => lines.iter().for_each(|line| push(&mut text, line)),
            State::NotRunning => {
                comment(&mut text, "It does not run. When it does, take these comment signs off:");
                lines.iter().for_each(|line| comment(&mut text, line));
            }
            State::Sample => {
                comment(
                    &mut text,
                    "Install the sample as docs/hooks/README.md says, make these lines yours, and take their comment",
                );
                comment(&mut text, "signs off:");
                lines.iter().for_each(|line| comment(&mut text, line));
            }
            State::Unsupported => {
                comment(&mut text, "There is no hook for it: nothing is to be written here.");
            }
        }
        let note = if find.is_active() { "" } else { "; all in comments, see why in the file" };
        Self { name: format!("50-{}.toml", find.name), title: format!("{}{note}", engine.title), text }
    }

    /// Nothing for a host where nothing may be frozen.
    pub(super) fn of_filesystems(points: &[PathBuf]) -> Option<Self> {
        if points.is_empty() {
            return None;
        }
        let mut text = String::new();
        comment(
            &mut text,
            "No running database with a native hook was found by `quiesced init`. These are the filesystems that may be frozen; take out those that",
        );
        comment(&mut text, "no snapshot is made of. Snapshots of them are filesystem-consistent.");
        text.push('\n');
        push(&mut text, "[group.default]");
        let points: Vec<_> =
            points.iter().map(|point| toml::Value::from(point.to_string_lossy().into_owned())).collect();
        push(&mut text, &format!("filesystems = {}", toml::Value::Array(points)));
        Some(Self {
            name: "50-filesystems.toml".to_owned(),
            title: "filesystems without a database".to_owned(),
            text,
        })
    }
}

/// Writing to a `String` does not fail.
fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").unwrap_or_default();
}

fn comment(text: &mut String, line: &str) {
    push(text, format!("# {line}").trim_end());
}
