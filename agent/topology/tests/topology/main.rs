//! The public face of the crate, on hosts that never were: `fixtures` holds their tables.

#[cfg(test)]
mod mounts;
#[cfg(test)]
mod order;
#[cfg(test)]
mod rules;

#[cfg(test)]
mod hosts {
    use std::path::{Path, PathBuf};

    use quiesced_core::superblock::Superblock;
    use quiesced_topology::{Mount, Mounts};

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
}
