//! The manifest: what a volume says of itself when it is restored, by whomever and however much later.
//!
//! It is a small file on each target, `.quiesced/session.json`, written while the session is prepared and thus in the
//! snapshot. The disks belong to applications, and their folders often to users that must not lead root astray: every
//! name is looked up from the opened target, without following a link, and only a folder of root's own is written to.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use serde::{Deserialize, Serialize};

use quiesced_core::id::ExecutionId;
use quiesced_core::plan::DataPath;
use quiesced_core::proof::Positions;

const FOLDER: &str = ".quiesced";
const FILE: &str = "session.json";
const NEW: &str = "session.json.new";

/// The version of [`Manifest`]'s form.
pub const MANIFEST_VERSION: u32 = 1;

/// What is written to each target of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the agent that wrote it.
    pub version: u32,
    /// The session. What it was worth is not known yet: the agent's report tells.
    pub execution_id: ExecutionId,
    /// The consistency group.
    pub group: String,
    /// When it was written, by the wall clock (RFC 3339, UTC): a moment before the snapshot.
    pub written_at: String,
    /// The version of the agent.
    pub agent_version: String,
    /// Where this filesystem was mounted.
    pub mount_point: PathBuf,
    /// Every EBS volume of the group; a restore needs all of them, from the same session.
    pub volumes: Vec<String>,
    /// The applications.
    pub hooks: Vec<ManifestHook>,
}

/// An application of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestHook {
    /// The name of its hook.
    pub name: String,
    /// The kind of its hook: "postgresql".
    pub kind: String,
    /// Where its data lay.
    pub data: Vec<DataPath>,
    /// About where it stood; the report has the exact positions.
    #[serde(default, skip_serializing_if = "Positions::is_empty")]
    pub positions: Positions,
}

/// Why a target has no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The folder could belong to somebody who means ill.
    #[error("{FOLDER} is not a folder that belongs to root alone")]
    Untrusted,
    /// The disk refused.
    #[error("{name} cannot be {action}")]
    Refused {
        /// Which file.
        name: &'static str,
        /// What was tried.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn refused(name: &'static str, action: &'static str) -> impl FnOnce(Errno) -> ManifestError {
    move |errno| ManifestError::Refused { name, action, source: errno.into() }
}

/// Writes a manifest to a target, in place of the one before.
///
/// # Errors
/// When it cannot be written. No earlier one is left then, which would name another session.
pub fn write(target: impl AsFd, manifest: &Manifest) -> Result<(), ManifestError> {
    let written = replace(target.as_fd(), manifest);
    if written.is_err() {
        remove(target)?;
    }
    written
}

/// Removes the manifest of an earlier session.
///
/// # Errors
/// When there is one, and it cannot be removed.
pub fn remove(target: impl AsFd) -> Result<(), ManifestError> {
    let folder = match folder(&target) {
        Ok(Some(folder)) => folder,
        // What is somebody else's holds no manifest of ours.
        Ok(None) | Err(ManifestError::Untrusted) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Left by an agent that was killed in the midst of it.
    let _gone = unlinkat(&folder, NEW, UnlinkatFlags::NoRemoveDir);
    match unlinkat(&folder, FILE, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(refused(FILE, "removed")(errno)),
    }
    // A folder that somebody keeps something in stays.
    let _kept = unlinkat(target, FOLDER, UnlinkatFlags::RemoveDir);
    Ok(())
}

fn replace(target: impl AsFd, manifest: &Manifest) -> Result<(), ManifestError> {
    match mkdirat(&target, FOLDER, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(refused(FOLDER, "made")(errno)),
    }
    let folder = folder(&target)?.ok_or(ManifestError::Untrusted)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&folder, NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(refused(NEW, "made"))?;
    let written = |source| ManifestError::Refused { name: NEW, action: "written", source };
    let bytes = serde_json::to_vec_pretty(manifest).map_err(io::Error::from).map_err(written)?;
    let mut file = File::from(file);
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(written)?;
    renameat(&folder, NEW, &folder, FILE).map_err(refused(FILE, "put in place"))?;
    File::from(folder).sync_all().map_err(written)
}

/// The folder, if there is one: on the target itself, root's own, and writable by nobody else.
fn folder(target: impl AsFd) -> Result<Option<OwnedFd>, ManifestError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = match openat(&target, FOLDER, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::ENOENT) => return Ok(None),
        // A link, or a file.
        Err(Errno::ELOOP | Errno::ENOTDIR) => return Err(ManifestError::Untrusted),
        Err(errno) => return Err(refused(FOLDER, "opened")(errno)),
    };
    let stat = fstat(&folder).map_err(refused(FOLDER, "looked at"))?;
    let home = fstat(&target).map_err(refused(FOLDER, "looked at"))?;
    let is_ours = stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0;
    if is_ours && stat.st_dev == home.st_dev { Ok(Some(folder)) } else { Err(ManifestError::Untrusted) }
}

/// Whether a server takes every folder in its data directory for a database, so that one of ours would show up in it
/// (<https://dev.mysql.com/doc/refman/9.7/en/identifier-mapping.html>).
pub fn would_disturb(hooks: &[ManifestHook], mount_point: &Path) -> bool {
    let lists_folders = |hook: &&ManifestHook| matches!(hook.kind.as_str(), "mariadb" | "mysql");
    hooks.iter().filter(lists_folders).flat_map(|hook| &hook.data).any(|data| data.path == mount_point)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn manifest(group: &str) -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            execution_id: ExecutionId::NONE,
            group: group.to_owned(),
            written_at: "2026-11-24T00:00:00Z".to_owned(),
            agent_version: "0".to_owned(),
            mount_point: "/data".into(),
            volumes: vec!["vol-0123456789abcdef0".to_owned()],
            hooks: Vec::new(),
        }
    }

    fn read(target: &Path) -> Manifest {
        serde_json::from_slice(&fs::read(target.join(FOLDER).join(FILE)).unwrap()).unwrap()
    }

    #[test]
    fn a_later_manifest_takes_the_place_of_an_earlier_one() {
        let target = tempfile::tempdir().unwrap();
        let opened = File::open(target.path()).unwrap();
        for group in ["first", "second"] {
            write(&opened, &manifest(group)).unwrap();
            assert_eq!(read(target.path()), manifest(group));
        }
        assert_eq!(fs::read_dir(target.path().join(FOLDER)).unwrap().count(), 1);
        remove(&opened).unwrap();
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
        remove(&opened).unwrap();
    }

    #[test]
    fn a_link_is_not_followed() {
        let (target, victim) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(victim.path(), target.path().join(FOLDER)).unwrap();
        let refused = write(File::open(target.path()).unwrap(), &manifest("g"));
        assert!(matches!(refused, Err(ManifestError::Untrusted)), "{refused:?}");
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_left_alone() {
        let target = tempfile::tempdir().unwrap();
        let folder = target.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let refused = write(File::open(target.path()).unwrap(), &manifest("g"));
        assert!(matches!(refused, Err(ManifestError::Untrusted)), "{refused:?}");
        remove(File::open(target.path()).unwrap()).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_replaced_is_removed() {
        let target = tempfile::tempdir().unwrap();
        let opened = File::open(target.path()).unwrap();
        write(&opened, &manifest("first")).unwrap();
        // A folder in the place of the new file: it can be neither written nor renamed.
        fs::create_dir(target.path().join(FOLDER).join(NEW)).unwrap();
        write(&opened, &manifest("second")).unwrap_err();
        assert!(!target.path().join(FOLDER).join(FILE).exists());
    }
}
