//! `quiesced init`: a first configuration, made from what is found on this host.
//!
//! ```text
//!  processes, sockets, units ──▶ seen ──▶ engines: what was found ──▶ dropin: one file for each ──▶ written, never over another
//!                                            ▲
//!                                docs/hooks: users and samples, from the pages that people read
//! ```

mod dropin;
mod engines;
mod pages;
mod seen;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use quiesced_core::problem::Problem;

use crate::config::{FilesystemSelection, Settings};
use crate::daemon::survey::Surveyor;
pub use dropin::DropIn;
pub use seen::Seen;

/// One file for each thing that was found and is not configured yet; for the filesystems alone on a host where no hook is
/// configured and no database was found.
///
/// # Errors
/// When the mounts of the host cannot be read.
pub fn drop_ins(surveyor: &Surveyor, seen: &Seen) -> Result<Vec<DropIn>, Problem> {
    let settings = &surveyor.settings;
    let found = engines::look(seen);
    let is_plain = settings.hook.is_empty() && found.iter().all(|find| !find.is_active());
    let new = found.iter().filter(|find| !find.is_configured(settings));
    let mut files: Vec<DropIn> = new.map(DropIn::of).collect();
    if is_plain && names_no_filesystem(settings) {
        files.extend(DropIn::of_filesystems(&freezable(surveyor)?));
    }
    Ok(files)
}

fn names_no_filesystem(settings: &Settings) -> bool {
    settings.group.values().all(|group| group.filesystems == FilesystemSelection::Auto)
}

/// Where each filesystem that may be frozen is mounted.
fn freezable(surveyor: &Surveyor) -> Result<Vec<PathBuf>, Problem> {
    let host = surveyor.host()?;
    let mounts = host.mounts();
    let opened = mounts.iter().filter_map(|mount| mounts.representative(mount.superblock));
    let points = opened.filter(|mount| host.may_freeze(mount)).map(|mount| mount.mount_point.clone());
    Ok(points.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Writes a file into a directory of the configuration, which is made when it is missing. Returns its path, or nothing
/// when a file of this name is there already, which is left as it is.
///
/// # Errors
/// When it cannot be written.
pub fn write(directory: &Path, file: &DropIn) -> Result<Option<PathBuf>, Problem> {
    let path = directory.join(&file.name);
    let written = try_write(directory, &path, &file.text);
    match written {
        Ok(()) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(Problem::from_error(&error)
            .within(format!("{} cannot be written", path.display()))
            .with_hint(Some("run the command as root, or look first with `quiesced init --dry-run`"))),
    }
}

fn try_write(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a file would be read as a whole one. That it cannot be removed either changes nothing of the error.
        let _still_there = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests;
