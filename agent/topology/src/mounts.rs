//! The tree of mounts.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use quiesced_core::superblock::Superblock;

use crate::error::{BadLine, LineProblem, TopologyError};
use crate::mountinfo::Mount;
use crate::procfs;

/// Every mount that this process can see, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// In the order of the kernel's table.
    list: Vec<Mount>,
    /// Positions in `list`, by mount id.
    ids: HashMap<u32, usize>,
    /// What is mounted where on which mount; `None` is what lies above the topmost mount that can be seen.
    children: HashMap<Option<u32>, HashMap<PathBuf, usize>>,
}

impl Mounts {
    /// Reads `<root>/proc/self/mountinfo`.
    ///
    /// # Errors
    /// When the table cannot be read, does not settle, or has a line that cannot be understood.
    pub fn read(root: &Path) -> Result<Self, TopologyError> {
        let table = procfs::read(root, "self/mountinfo")?;
        Self::parse(&table.text).map_err(|bad| TopologyError::Malformed { path: table.path, bad })
    }

    /// Reads the text of a mountinfo table.
    ///
    /// # Errors
    /// When a line cannot be understood. None is skipped: a mount that is not known may be the one that matters.
    pub fn parse(text: &[u8]) -> Result<Self, BadLine> {
        let mut mounts = Self::default();
        let lines = text.strip_suffix(b"\n").unwrap_or(text);
        if lines.is_empty() {
            return Ok(mounts);
        }
        for (number, line) in (1..).zip(lines.split(|&byte| byte == b'\n')) {
            let mount = Mount::parse(line).map_err(|problem| BadLine { number, problem })?;
            if mounts.ids.insert(mount.id, mounts.list.len()).is_some() {
                return Err(BadLine { number, problem: LineProblem::DuplicateId { id: mount.id } });
            }
            mounts.list.push(mount);
        }
        mounts.index_children();
        Ok(mounts)
    }

    /// A mount whose parent is not in the table, or is itself, is a topmost one: the root of this process, or, below
    /// a `chroot` into a plain directory, what is mounted under it.
    fn index_children(&mut self) {
        for (at, mount) in self.list.iter().enumerate() {
            let parent = Some(mount.parent).filter(|id| *id != mount.id && self.ids.contains_key(id));
            self.children.entry(parent).or_default().insert(mount.mount_point.clone(), at);
        }
    }

    /// All mounts, hidden ones too, in the order of the kernel's table.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.list.iter()
    }

    /// The mount with this id.
    pub fn by_id(&self, id: u32) -> Option<&Mount> {
        self.ids.get(&id).map(|&at| &self.list[at])
    }

    /// The visible mount that a path lies on: what a lookup of the path would end on.
    ///
    /// The path is absolute and free of symbolic links and `..`; whether it exists does not matter. The answer is
    /// `None` only for a relative path, or if the process has been moved into a plain directory with `chroot(2)`.
    ///
    /// This is a walk down the tree, as the kernel does it, and not a search for the longest prefix: a mount below a
    /// directory that something else was mounted on later has the longest prefix, and is out of reach.
    pub fn of(&self, path: &Path) -> Option<&Mount> {
        self.crossed(path).pop()
    }

    /// The mount that a path lay on before a filesystem was mounted above it.
    pub(crate) fn of_except(&self, path: &Path, later: Superblock) -> Option<&Mount> {
        self.crossed(path).into_iter().rfind(|mount| mount.superblock != later)
    }

    /// The mounts that a lookup of the path goes through, the topmost first.
    fn crossed(&self, path: &Path) -> Vec<&Mount> {
        let mut prefixes: Vec<&Path> = path.ancestors().collect();
        prefixes.reverse();
        let mut crossed: Vec<&Mount> = Vec::new();
        for prefix in prefixes {
            // Several mounts on one point are mounted on one another.
            while let Some(mount) = self.child(crossed.last().copied(), prefix) {
                crossed.push(mount);
            }
        }
        crossed
    }

    fn child(&self, parent: Option<&Mount>, mount_point: &Path) -> Option<&Mount> {
        let at = self.children.get(&parent.map(|mount| mount.id))?.get(mount_point)?;
        Some(&self.list[*at])
    }

    /// Whether a mount is reached by its own path, not covered by another one.
    pub fn is_visible(&self, mount: &Mount) -> bool {
        self.of(&mount.mount_point).is_some_and(|found| found.id == mount.id)
    }

    /// All mounts of a filesystem, hidden ones too.
    pub fn of_superblock(&self, superblock: Superblock) -> impl Iterator<Item = &Mount> {
        self.list.iter().filter(move |mount| mount.superblock == superblock)
    }

    /// The mount by which a filesystem is opened: a visible one, of the whole filesystem where there is such a one,
    /// with the shortest path, and the lowest id.
    ///
    /// A mount of the whole filesystem is a directory for certain; a bind mount may be of a single file.
    pub fn representative(&self, superblock: Superblock) -> Option<&Mount> {
        self.of_superblock(superblock)
            .filter(|mount| self.is_visible(mount))
            .min_by_key(|mount| (Reverse(mount.is_whole()), mount.mount_point.as_os_str().len(), mount.id))
    }

    /// The mounts that a visible mount is mounted on, nearest first.
    ///
    /// This ends, since a visible mount is one that was reached from the top of the tree.
    pub(crate) fn ancestors<'a>(&'a self, visible: &'a Mount) -> impl Iterator<Item = &'a Mount> {
        std::iter::successors(Some(visible), |mount| {
            self.by_id(mount.parent).filter(|parent| parent.id != mount.id)
        })
        .skip(1)
    }
}
