//! May this program be run with our rights?
//!
//! Only when nobody but root and the user it runs as could have put it there: the file, every directory on the way
//! to it and every symbolic link on the way are looked at. ACLs need no look of their own, because the group bits of
//! the mode are their mask (`acl(5)`).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use crate::error::CommandError;

/// As many as the kernel follows, see `path_resolution(7)`.
const MOST_LINKS: usize = 40;
const STICKY: u32 = 0o1000;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const ANY_EXECUTE: u32 = 0o111;

/// Checks a program that is to run as `uid`.
pub(super) fn check_program(program: &Path, uid: u32) -> Result<(), CommandError> {
    let mut reached = PathBuf::from("/");
    let mut ahead = names(program);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        check_directory(&reached, uid)?;
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(name);
        let metadata = fs::symlink_metadata(&next).map_err(|source| examine(&next, source))?;
        if !metadata.is_symlink() {
            reached = next;
            continue;
        }
        check_owner(&next, &metadata, uid)?;
        links += 1;
        if links > MOST_LINKS {
            return Err(CommandError::TooManyLinks { path: program.to_owned() });
        }
        let target = fs::read_link(&next).map_err(|source| examine(&next, source))?;
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        names(&target).into_iter().rev().for_each(|name| ahead.push_front(name));
    }
    check_file(&reached, uid)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn check_file(path: &Path, uid: u32) -> Result<(), CommandError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| examine(path, source))?;
    if !metadata.is_file() {
        return Err(CommandError::NotAFile { path: path.to_owned() });
    }
    check_owner(path, &metadata, uid)?;
    let mode = metadata.permissions().mode();
    if mode & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(writable(path, mode));
    }
    if mode & ANY_EXECUTE == 0 {
        return Err(CommandError::NotExecutable { path: path.to_owned() });
    }
    Ok(())
}

/// In a sticky directory only the owner of an entry can replace it, and the entry's owner is checked too.
fn check_directory(path: &Path, uid: u32) -> Result<(), CommandError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| examine(path, source))?;
    check_owner(path, &metadata, uid)?;
    let mode = metadata.permissions().mode();
    if mode & GROUP_OR_OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return Err(writable(path, mode));
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata, uid: u32) -> Result<(), CommandError> {
    let owner = metadata.uid();
    if owner == 0 || owner == uid {
        Ok(())
    } else {
        Err(CommandError::Owner { path: path.to_owned(), owner })
    }
}

fn writable(path: &Path, mode: u32) -> CommandError {
    CommandError::Writable { path: path.to_owned(), mode: mode & 0o7777 }
}

fn examine(path: &Path, source: std::io::Error) -> CommandError {
    CommandError::Examine { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;
    use crate::process::account::effective_uid;

    struct Place(tempfile::TempDir);

    impl Place {
        fn with_program() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::write(place.path("program"), "#!/bin/sh\n").unwrap();
            place.set_mode("program", 0o755);
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn set_mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }

        fn check(&self, name: &str) -> Result<(), CommandError> {
            check_program(&self.path(name), effective_uid(None))
        }
    }

    #[test]
    fn a_program_that_only_its_owner_can_change_is_trusted() {
        Place::with_program().check("program").unwrap();
    }

    #[test]
    fn a_group_writable_program_is_refused() {
        let place = Place::with_program();
        place.set_mode("program", 0o775);
        assert!(matches!(place.check("program"), Err(CommandError::Writable { .. })));
    }

    #[test]
    fn a_program_below_a_directory_that_others_can_write_is_refused() {
        let place = Place::with_program();
        fs::create_dir(place.path("open")).unwrap();
        fs::copy(place.path("program"), place.path("open/program")).unwrap();
        place.set_mode("open", 0o777);
        assert!(matches!(place.check("open/program"), Err(CommandError::Writable { .. })));
        place.set_mode("open", 0o1777);
        place.check("open/program").unwrap();
    }

    #[test]
    fn a_link_is_followed_through_a_directory_that_others_can_write_and_refused() {
        let place = Place::with_program();
        fs::create_dir(place.path("open")).unwrap();
        place.set_mode("open", 0o777);
        symlink(place.path("program"), place.path("open/middle")).unwrap();
        symlink("open/middle", place.path("first")).unwrap();
        assert!(matches!(place.check("first"), Err(CommandError::Writable { .. })));
    }

    #[test]
    fn a_link_to_a_trusted_program_is_trusted() {
        let place = Place::with_program();
        fs::create_dir(place.path("sub")).unwrap();
        symlink("../program", place.path("sub/link")).unwrap();
        place.check("sub/link").unwrap();
    }

    #[test]
    fn links_that_lead_in_a_circle_are_refused() {
        let place = Place::with_program();
        symlink("loop", place.path("loop")).unwrap();
        assert!(matches!(place.check("loop"), Err(CommandError::TooManyLinks { .. })));
    }

    #[test]
    fn a_directory_and_a_file_without_execute_permission_are_refused() {
        let place = Place::with_program();
        assert!(matches!(place.check("."), Err(CommandError::NotAFile { .. })));
        place.set_mode("program", 0o644);
        assert!(matches!(place.check("program"), Err(CommandError::NotExecutable { .. })));
        assert!(matches!(place.check("missing"), Err(CommandError::Examine { .. })));
    }

    #[test]
    fn a_program_of_another_user_is_refused_unless_it_runs_as_that_user() {
        let place = Place::with_program();
        if effective_uid(None) != 0 {
            // Only root can give a file away; without root there is no such program to refuse.
            return;
        }
        chown(place.path("program"), Some(12345), None).unwrap();
        assert!(matches!(place.check("program"), Err(CommandError::Owner { owner: 12345, .. })));
        check_program(&place.path("program"), 12345).unwrap();
    }
}
