//! Which files are meant: each path as it stands, and each pattern for what it matches now.

use std::path::{Path, PathBuf};

use crate::error::SqliteError;

/// What SQLite keeps beside a database while it is open (<https://www.sqlite.org/tempfiles.html>): no databases.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The databases of a list of paths and patterns (`*`, `?`, `[…]`, `**`), each once. A file whose name looks like a
/// pattern is taken as it stands. Blocks for as long as the directories take to be read.
///
/// # Errors
/// When a pattern matches nothing, is none, or leads into a directory that cannot be read.
pub(super) fn expand(patterns: &[PathBuf]) -> Result<Vec<PathBuf>, SqliteError> {
    let mut databases = Vec::new();
    for pattern in patterns {
        match pattern.to_str().filter(|text| text.contains(['*', '?', '[']) && !pattern.exists()) {
            Some(text) => databases.extend(matches(pattern, text)?),
            None => databases.push(pattern.clone()),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    databases.retain(|path| seen.insert(path.clone()));
    Ok(databases)
}

fn matches(pattern: &Path, text: &str) -> Result<Vec<PathBuf>, SqliteError> {
    let bad = |source| SqliteError::Pattern { pattern: pattern.to_owned(), source };
    let mut found = Vec::new();
    for entry in glob::glob(text).map_err(bad)? {
        let path = entry.map_err(|error| {
            let path = error.path().to_owned();
            SqliteError::Examine { path, source: error.into() }
        })?;
        if !BESIDE.iter().any(|end| path.as_os_str().to_string_lossy().ends_with(end)) {
            found.push(path);
        }
    }
    if found.is_empty() { Err(SqliteError::NoMatch { pattern: pattern.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_databases_that_it_matches_and_not_for_what_lies_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["a.db", "b.db", "b.db-wal", "b.db-shm", "other"] {
            std::fs::write(path(name), "").unwrap();
        }
        assert_eq!(expand(&[path("*.db*"), path("a.db")]).unwrap(), [path("a.db"), path("b.db")]);
        let error = expand(&[path("*.sqlite")]).unwrap_err();
        assert!(error.to_string().ends_with("*.sqlite matches no file"), "{error}");
        std::fs::write(path("[x].db"), "").unwrap();
        assert_eq!(expand(&[path("[x].db")]).unwrap(), [path("[x].db")], "a name comes before a pattern");
    }
}
