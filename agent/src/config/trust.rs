//! Opens what the configuration consists of, and refuses what somebody else could change.
//!
//! Whoever can write a hook file runs commands as root. So each file, the directory it was found in and, for a symbolic
//! link, the directory it leads to must belong to root (or to the user that the agent runs as) and be writable by nobody
//! else. Everything is checked on the descriptor that is then read, never on a name.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, makedev};
use nix::unistd::Uid;

/// A configuration is a few kilobytes; reading must end.
pub(super) const LARGEST: u64 = 1024 * 1024;

/// Why a file or a directory is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is {found}, not {expected}", path.display())]
    Kind { path: PathBuf, found: &'static str, expected: &'static str },
    #[error("{} belongs to uid {owner} (mode {mode:04o}), not to root", path.display())]
    Owner { path: PathBuf, owner: u32, mode: u32 },
    #[error("{} belongs to uid {owner} and has mode {mode:04o}: others than its owner can write to it", path.display())]
    Writable { path: PathBuf, owner: u32, mode: u32 },
    #[error("{} has {size} bytes; at most {LARGEST} are read", path.display())]
    Size { path: PathBuf, size: u64 },
}

impl Refusal {
    /// What is refused.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Open { path, .. }
            | Self::Read { path, .. }
            | Self::Kind { path, .. }
            | Self::Owner { path, .. }
            | Self::Writable { path, .. }
            | Self::Size { path, .. } => path,
        }
    }

    /// What to run against it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Owner { path, mode, .. } if mode & OTHERS_WRITE == 0 => {
                Some(format!("look at what it contains; if it is yours: chown root: {}", quoted(path)))
            }
            Self::Owner { path, .. } => Some(format!(
                "look at what it contains; if it is yours: chown root: {0} && chmod go-w {0}",
                quoted(path)
            )),
            Self::Writable { path, .. } => Some(format!("chmod go-w {}", quoted(path))),
            Self::Open { path, source } if source.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                Some("the symbolic link leads nowhere; one to /dev/null masks a file".to_owned())
            }
            Self::Open { .. } | Self::Read { .. } | Self::Kind { .. } | Self::Size { .. } => None,
        }
    }
}

const OTHERS_WRITE: u32 = 0o022;

/// A directory that nobody else can put files into.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
}

/// What a name in a directory turned out to be.
#[derive(Debug)]
pub(super) enum Opened {
    /// A file, and its bytes.
    Bytes(Vec<u8>),
    /// `/dev/null`.
    Masked,
}

impl Directory {
    /// `None` when there is no such directory.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, Refusal> {
        let opened =
            OpenOptions::new().read(true).custom_flags((OFlag::O_PATH | OFlag::O_CLOEXEC).bits()).open(path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| Refusal::Open { path: path.to_owned(), source })?,
        };
        let metadata = metadata(&file, path)?;
        if !metadata.is_dir() {
            return Err(Refusal::Kind {
                path: path.to_owned(),
                found: kind(&metadata),
                expected: "a directory",
            });
        }
        trusted(&metadata, path)?;
        Ok(Some(Self { path: path.to_owned(), descriptor: file.into() }))
    }

    /// The path of one of its files.
    pub(super) fn join(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// The names of the files that are part of the configuration.
    ///
    /// Names that start with a dot are not: editors leave such files beside the ones they edit.
    pub(super) fn names(&self) -> Result<Vec<OsString>, Refusal> {
        let failed = |source| Refusal::Read { path: self.path.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(magic_link(&self.descriptor)).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.as_bytes().ends_with(b".toml") && !name.as_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Reads one of its files.
    ///
    /// It is opened with `O_PATH` first, which neither waits for the writer of a fifo nor wakes a device (open(2)),
    /// and opened for reading only when it is a regular file.
    pub(super) fn read(&self, name: &OsStr) -> Result<Opened, Refusal> {
        let path = self.join(name);
        let file: File = openat(&self.descriptor, name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Refusal::Open { path: path.clone(), source: errno.into() })?
            .into();
        let metadata = metadata(&file, &path)?;
        if metadata.file_type().is_char_device() && metadata.rdev() == makedev(1, 3) {
            return Ok(Opened::Masked);
        }
        if !metadata.is_file() {
            return Err(Refusal::Kind { path, found: kind(&metadata), expected: "a regular file" });
        }
        trusted(&metadata, &path)?;
        self.target_directory_trusted(&file, &path)?;
        if metadata.len() > LARGEST {
            return Err(Refusal::Size { path, size: metadata.len() });
        }
        contents(&file, &path).map(Opened::Bytes)
    }

    /// The directory that a symbolic link leads to is checked as the one that the link lies in was.
    fn target_directory_trusted(&self, file: &File, path: &Path) -> Result<(), Refusal> {
        let target = std::fs::read_link(magic_link(file))
            .map_err(|source| Refusal::Open { path: path.to_owned(), source })?;
        match target.parent() {
            Some(parent) => Self::open(parent).map(drop),
            None => Ok(()),
        }
    }
}

/// The name under which a descriptor can be opened again: the same file, whatever its name is by now (proc(5)).
fn magic_link(descriptor: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn metadata(file: &File, path: &Path) -> Result<Metadata, Refusal> {
    file.metadata().map_err(|source| Refusal::Read { path: path.to_owned(), source })
}

fn contents(file: &File, path: &Path) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    File::open(magic_link(file))
        .and_then(|file| file.take(LARGEST).read_to_end(&mut bytes))
        .map_err(|source| Refusal::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}

fn trusted(metadata: &Metadata, path: &Path) -> Result<(), Refusal> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != Uid::effective().as_raw() {
        return Err(Refusal::Owner { path: path.to_owned(), owner, mode });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(Refusal::Writable { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        "a regular file"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+:@,=".contains(character);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
