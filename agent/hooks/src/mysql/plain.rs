//! Tables without transactions. The agent looks for them itself: the server tells only of tables that its user has a right
//! on, and the agent's user should have none.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

/// What ends the names of files with the rows of MyISAM, ARCHIVE and CSV tables.
const PLAIN: [&str; 3] = ["MYD", "ARZ", "CSV"];

/// Databases of the server's own. Two CSV tables lie there, for logs.
const SYSTEM: [&str; 3] = ["mysql", "performance_schema", "sys"];

/// A file of such a table in a data directory; looked for on a thread where that may block.
pub(super) async fn plain_table(base: PathBuf) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    tokio::task::spawn_blocking(move || look(&base))
        .await
        .unwrap_or_else(|lost| Err((PathBuf::new(), io::Error::other(lost))))
}

/// A database is a directory, or a link to one.
fn look(base: &Path) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    for database in entries(base)? {
        let path = database.path();
        if !path.is_dir() || SYSTEM.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let files = entries(&path)?.into_iter().map(|file| file.path());
        if let Some(table) = files.into_iter().find(|file| is_plain(file)) {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

fn is_plain(file: &Path) -> bool {
    file.extension().is_some_and(|end| PLAIN.iter().any(|plain| end == *plain))
}

/// Those of a directory; none when it has gone meanwhile.
fn entries(directory: &Path) -> Result<Vec<DirEntry>, (PathBuf, io::Error)> {
    match fs::read_dir(directory).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|source| (directory.to_owned(), source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    #[test]
    fn only_tables_of_databases_of_users_count_as_plain() {
        let directory = folder(&["mysql/general_log.CSV", "d/t.ibd", "d/m.MYI", "notes.CSV"]);
        assert_eq!(look(directory.path()).unwrap(), None);
        for file in ["d/m.MYD", "d/a.ARZ", "d/c.CSV"] {
            let directory = folder(&["mysql/general_log.CSV", file]);
            assert_eq!(look(directory.path()).unwrap(), Some(directory.path().join(file)));
        }
    }

    #[test]
    fn a_database_that_is_a_link_is_looked_into() {
        let (elsewhere, directory) = (folder(&["m.MYD"]), folder(&[]));
        symlink(elsewhere.path(), directory.path().join("d")).unwrap();
        assert_eq!(look(directory.path()).unwrap(), Some(directory.path().join("d/m.MYD")));
    }
}
