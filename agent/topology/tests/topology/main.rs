//! The public face of the crate, on hosts that never were: `fixtures` holds their tables, and descriptions of their
//! block devices, which `quiesced_bed::sysfs` turns into the `/sys` that the kernel would show.

#[cfg(test)]
mod mounts;
#[cfg(test)]
mod order;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod stack;

#[cfg(test)]
mod hosts {
    use std::path::{Path, PathBuf};

    use quiesced_core::block::Stack;
    use quiesced_core::superblock::Superblock;
    use quiesced_topology::{BlockStack, Mount, Mounts, TopologyError};
    use tempfile::TempDir;

    /// The root of a host of fixtures.
    pub(crate) fn root(host: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(host)
    }

    /// Its mounts.
    pub(crate) fn host(host: &str) -> Mounts {
        Mounts::read(&root(host)).unwrap()
    }

    /// The mount that a path lies on.
    pub(crate) fn on<'a>(mounts: &'a Mounts, path: &str) -> &'a Mount {
        mounts.of(Path::new(path)).unwrap_or_else(|| panic!("{path} lies on no mount"))
    }

    /// The filesystem that a path lies on.
    pub(crate) fn superblock(mounts: &Mounts, path: &str) -> Superblock {
        on(mounts, path).superblock
    }

    /// A host of fixtures with its block devices.
    pub(crate) struct Host {
        root: TempDir,
        pub(crate) mounts: Mounts,
    }

    impl Host {
        pub(crate) fn new(name: &str) -> Self {
            let devices = std::fs::read_to_string(root(name).join("devices")).unwrap();
            Self::described(host(name), &devices)
        }

        pub(crate) fn described(mounts: Mounts, devices: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            quiesced_bed::sysfs::make(root.path(), devices).unwrap();
            Self { root, mounts }
        }

        pub(crate) fn root(&self) -> &Path {
            self.root.path()
        }

        pub(crate) fn under(&self, path: &str) -> Result<Stack, TopologyError> {
            BlockStack::new(self.root(), &self.mounts).under(superblock(&self.mounts, path))
        }
    }
}
