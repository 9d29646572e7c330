//! One look through a data directory, as the server lays it out: a directory for each database, files of tables in it.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

/// What ends the names of files with the rows of MyISAM, ARCHIVE and CSV tables.
const PLAIN: [&str; 3] = ["MYD", "ARZ", "CSV"];

/// Databases of the server's own. Two CSV tables lie there, for logs.
const SYSTEM: [&str; 3] = ["mysql", "performance_schema", "sys"];

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Symbolic links that lead to data.
    pub(crate) links: Vec<PathBuf>,
    /// A file of a table without transactions, if there is one.
    pub(crate) plain: Option<PathBuf>,
}

/// Looks through a data directory on a thread where it may block.
pub(crate) async fn look_through(base: PathBuf) -> Result<Contents, (PathBuf, io::Error)> {
    tokio::task::spawn_blocking(move || look(&base))
        .await
        .unwrap_or_else(|lost| Err((PathBuf::new(), io::Error::other(lost))))
}

fn look(base: &Path) -> Result<Contents, (PathBuf, io::Error)> {
    let mut contents = Contents::default();
    for entry in entries(base)? {
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        // A link that leads nowhere holds nothing, and the server's socket and its log are no data.
        if is_link && (path.is_dir() || (path.exists() && is_tablespace(&path))) {
            contents.links.push(path.clone());
        }
        if path.is_dir() {
            look_into(&path, &mut contents)?;
        }
    }
    Ok(contents)
}

fn look_into(database: &Path, contents: &mut Contents) -> Result<(), (PathBuf, io::Error)> {
    let is_system = SYSTEM.iter().any(|name| database.ends_with(name));
    for entry in entries(database)? {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) && path.exists() {
            contents.links.push(path.clone());
        }
        let is_plain = path.extension().is_some_and(|end| PLAIN.iter().any(|plain| end == *plain));
        if is_plain && !is_system && contents.plain.is_none() {
            contents.plain = Some(path);
        }
    }
    Ok(())
}

/// `ibdata1`, `ib_logfile0`, `undo_001`, `orders.ibd`.
fn is_tablespace(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with("ib") || name.starts_with("undo") || name.ends_with(".ibd") || name.ends_with(".ibu")
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
        assert_eq!(look(directory.path()).unwrap(), Contents::default());
        for file in ["d/m.MYD", "d/a.ARZ", "d/c.CSV"] {
            let directory = folder(&["mysql/general_log.CSV", file]);
            assert_eq!(look(directory.path()).unwrap().plain, Some(directory.path().join(file)));
        }
    }

    #[test]
    fn links_to_data_are_found_and_others_are_not() {
        let elsewhere = folder(&["redo/1", "m.MYD", "error.log", "undo_001"]);
        let directory = folder(&["d/t.ibd"]);
        let link = |from: &str, to: &str| {
            symlink(elsewhere.path().join(from), directory.path().join(to)).unwrap();
        };
        link("redo", "#innodb_redo");
        link("m.MYD", "d/m.MYD");
        link("undo_001", "undo_001");
        link("error.log", "error.log");
        link("nowhere", "d/gone.MYD");
        let mut links = look(directory.path()).unwrap().links;
        links.sort();
        assert_eq!(links, ["#innodb_redo", "d/m.MYD", "undo_001"].map(|name| directory.path().join(name)));
    }

    #[test]
    fn a_database_that_is_a_link_is_looked_into() {
        let elsewhere = folder(&["m.MYD"]);
        let directory = folder(&[]);
        symlink(elsewhere.path(), directory.path().join("d")).unwrap();
        let found = look(directory.path()).unwrap();
        assert_eq!(found.links, [directory.path().join("d")]);
        assert_eq!(found.plain, Some(directory.path().join("d/m.MYD")));
    }
}
