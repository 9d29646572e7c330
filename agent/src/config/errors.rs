//! What is wrong with a configuration, for people (with the line and a caret) and for programs.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use quiesced_core::problem::Problem;

use super::origins::lossy;
use super::texts::{Place, Texts};

/// More than anybody reads at once; the rest is counted.
const SHOWN: usize = 50;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, or the directory, that it is wrong with.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// The line in it, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The character in the line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip)]
    pub(super) span: Option<Range<usize>>,
    /// Other places that belong to it, and what is there.
    #[serde(skip)]
    pub(super) also: Vec<(Range<usize>, String)>,
}

impl Finding {
    /// A finding about a file as a whole.
    pub(super) fn of_file(file: PathBuf, message: String, hint: Option<String>) -> Self {
        Self { file, line: None, column: None, message, hint, span: None, also: Vec::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also.push((span, label.into()));
        self
    }
}

impl From<&Finding> for Problem {
    /// The form for places that show no lines of files.
    fn from(finding: &Finding) -> Self {
        let line = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        Self::new(format!("{}{line}: {}", finding.file.display(), finding.message))
            .with_hint(finding.hint.clone())
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone)]
pub struct ConfigErrors {
    findings: Vec<Finding>,
    texts: Texts,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.findings).finish()
    }
}

impl ConfigErrors {
    pub(super) fn new(mut findings: Vec<Finding>, mut texts: Texts) -> Self {
        texts.mask_secrets();
        findings.sort_by_key(|finding| finding.span.as_ref().map(|span| (span.start, span.end)));
        Self { findings, texts }
    }

    /// One by one, in the order of the files and lines.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// All of them, each with its line and a caret below it.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut parts: Vec<String> = self
            .findings
            .iter()
            .take(SHOWN)
            .map(|finding| renderer.render(&[self.report(finding)]).to_string())
            .collect();
        if let Some(more) = self.findings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            parts.push(format!("error: {more} more errors are not shown"));
        }
        parts.join("\n\n")
    }

    fn report<'a>(&'a self, finding: &'a Finding) -> Group<'a> {
        let title = Level::ERROR.primary_title(&finding.message);
        let place = finding.span.as_ref().and_then(|span| self.texts.place(span));
        let mut group = match place {
            Some(place) => title.elements(self.snippets(&place, &finding.also)),
            None => title.element(Origin::path(finding.file.to_string_lossy())),
        };
        if let Some(hint) = &finding.hint {
            group = group.element(Level::HELP.with_name("hint").message(hint));
        }
        group
    }

    /// One snippet for each file that the finding touches.
    fn snippets<'a>(
        &'a self,
        main: &Place<'a>,
        also: &'a [(Range<usize>, String)],
    ) -> Vec<Snippet<'a, Annotation<'a>>> {
        let mut snippets: Vec<(&Path, Snippet<'a, _>)> =
            vec![(main.path, snippet(main).annotation(AnnotationKind::Primary.span(main.range.clone())))];
        for (span, label) in also {
            let Some(place) = self.texts.place(span) else { continue };
            let annotation = AnnotationKind::Context.span(place.range.clone()).label(label);
            match snippets.iter().position(|(path, _)| *path == place.path) {
                Some(at) => {
                    let (path, snippet) = snippets.remove(at);
                    snippets.insert(at, (path, snippet.annotation(annotation)));
                }
                None => snippets.push((place.path, snippet(&place).annotation(annotation))),
            }
        }
        snippets.into_iter().map(|(_, snippet)| snippet).collect()
    }
}

fn snippet<'a>(place: &Place<'a>) -> Snippet<'a, Annotation<'a>> {
    Snippet::source(place.content).path(place.path.to_string_lossy())
}
