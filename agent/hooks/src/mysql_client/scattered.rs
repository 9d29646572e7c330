//! Data that lies outside the places that the server can be asked for: what `DATA DIRECTORY` has put elsewhere, and
//! databases that are links.
//!
//! InnoDB leaves a file `TABLE.isl` with the path of the tablespace, but not since MySQL 8.0, which can be asked; MyISAM and
//! Aria leave a link `TABLE.MYD`
//! (<https://mariadb.com/docs/server/reference/sql-statements/data-definition/create/create-table>, DATA DIRECTORY).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directories outside `base` that entries below it lead to. Blocks for as long as the directories take to be read.
///
/// # Errors
/// When something cannot be read: what it leads to would not be known.
pub(super) fn places(base: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut places = BTreeSet::new();
    for database in fs::read_dir(base)? {
        let database = database?;
        let kind = database.file_type()?;
        if kind.is_symlink() {
            places.insert(fs::canonicalize(database.path())?);
        } else if kind.is_dir() {
            for table in fs::read_dir(database.path())? {
                places.extend(leads_to(&table?)?);
            }
        }
    }
    Ok(places)
}

fn leads_to(table: &DirEntry) -> io::Result<Option<PathBuf>> {
    let target = if table.file_type()?.is_symlink() {
        fs::canonicalize(table.path())?
    } else if table.path().extension() == Some(OsStr::new("isl")) {
        PathBuf::from(OsStr::from_bytes(fs::read(table.path())?.trim_ascii()))
    } else {
        return Ok(None);
    };
    Ok(target.parent().map(Path::to_owned))
}

/// The directories of the absolute paths in `innodb_data_file_path`: `ibdata1:12M;/fast/ibdata2:1G:autoextend`.
pub(super) fn system_tablespace(data_file_path: &str) -> BTreeSet<PathBuf> {
    let files = data_file_path.split(';').filter_map(|file| file.split(':').next());
    let absolute = files.map(Path::new).filter(|file| file.is_absolute());
    absolute.filter_map(|file| file.parent().map(Path::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespaces_and_tables_elsewhere_are_found() {
        let (base, fast) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let fast = fast.path().canonicalize().unwrap();
        let database = base.path().join("shop");
        fs::create_dir(&database).unwrap();
        fs::create_dir(fast.join("shop")).unwrap();
        fs::create_dir(fast.join("old")).unwrap();
        fs::write(fast.join("t.MYD"), "").unwrap();
        fs::write(database.join("plain.ibd"), "").unwrap();
        assert_eq!(places(base.path()).unwrap(), BTreeSet::new());
        fs::write(database.join("orders.isl"), format!("{}/shop/orders.ibd\n", fast.display())).unwrap();
        std::os::unix::fs::symlink(fast.join("t.MYD"), database.join("t.MYD")).unwrap();
        std::os::unix::fs::symlink(fast.join("old"), base.path().join("old")).unwrap();
        assert_eq!(
            places(base.path()).unwrap(),
            BTreeSet::from([fast.clone(), fast.join("shop"), fast.join("old")])
        );
    }

    #[test]
    fn files_of_the_system_tablespace_with_a_path_of_their_own_are_found() {
        assert_eq!(system_tablespace("ibdata1:12M:autoextend"), BTreeSet::new());
        let expected = BTreeSet::from(["/fast".into(), "/slow".into()]);
        assert_eq!(system_tablespace("a:1M;/fast/b:1G;/slow/c:10M:autoextend:max:1G"), expected);
    }
}
