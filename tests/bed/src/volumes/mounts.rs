//! The odd mounts that an agent meets: bind mounts, read-only ones, overlays, tmpfs.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Bed, BedError, kernel};
use crate::tool::Tool;

impl Bed {
    /// Mounts `of` a second time, on `mnt/NAME`.
    ///
    /// # Errors
    /// When mount(8) fails.
    pub fn bind(&self, of: &Path, name: &str) -> Result<PathBuf, BedError> {
        let mount_point = self.mount_point(name);
        kernel::mount(of, &mount_point, &["--bind"])?;
        Ok(mount_point)
    }

    /// A tmpfs on `mnt/NAME`, which cannot be frozen.
    ///
    /// # Errors
    /// When mount(8) fails.
    pub fn tmpfs(&self, name: &str) -> Result<PathBuf, BedError> {
        let mount_point = self.mount_point(name);
        kernel::mount(Path::new("tmpfs"), &mount_point, &["-t", "tmpfs", "-o", "size=64m"])?;
        Ok(mount_point)
    }

    /// An overlay on `mnt/NAME` with its layers in a directory `NAME.layers` on `base`; it cannot be frozen.
    ///
    /// # Errors
    /// When mount(8) fails.
    pub fn overlay(&self, base: &Path, name: &str) -> Result<PathBuf, BedError> {
        let mount_point = self.mount_point(name);
        let layers = base.join(format!("{name}.layers"));
        let [lower, upper, work] = ["lower", "upper", "work"].map(|layer| layers.join(layer));
        for layer in [&lower, &upper, &work] {
            fs::create_dir_all(layer).map_err(|source| BedError::file(layer, source))?;
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        kernel::mount(Path::new("overlay"), &mount_point, &["-t", "overlay", "-o", &options])?;
        Ok(mount_point)
    }

    /// Makes the whole filesystem read-only.
    ///
    /// # Errors
    /// When a file is open for writing on it.
    pub fn remount_read_only(&self, mount_point: &Path) -> Result<(), BedError> {
        Ok(Tool::new("mount").args(["-o", "remount,ro"]).arg(mount_point).run().map(drop)?)
    }

    /// Unmounts what is mounted on `mount_point`; the device stays attached.
    ///
    /// # Errors
    /// When it is in use.
    pub fn unmount(&self, mount_point: &Path) -> Result<(), BedError> {
        self.require_inside(mount_point)?;
        kernel::unmount(mount_point)
    }
}
