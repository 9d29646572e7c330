//! What EBS does, in milliseconds: a reflink clone is a snapshot of one volume, a subvolume snapshot is one of all.

use std::fs;
use std::path::PathBuf;

use super::{Bed, BedError, Fs, Volume, kernel};
use crate::tool::Tool;

/// A snapshot of one volume.
#[derive(Clone, Debug)]
pub struct Image {
    volume: String,
    fs: Fs,
    file: PathBuf,
}

/// A snapshot of all volumes of the pool in one moment, as `CreateSnapshots` makes it.
#[derive(Clone, Debug)]
pub struct SnapshotSet {
    directory: PathBuf,
}

impl SnapshotSet {
    /// The part of the set that belongs to `volume`.
    pub fn image(&self, volume: &Volume) -> Image {
        let file = self.directory.join(format!("{}.img", volume.name));
        Image { volume: volume.name.clone(), fs: volume.fs, file }
    }
}

impl Bed {
    /// Snapshots one volume while it is in use: the image as it is in one moment (FICLONE, ioctl_ficlonerange(2)).
    ///
    /// # Errors
    /// When the volume is not in the pool, or the clone fails.
    pub fn snapshot_volume(&self, volume: &Volume) -> Result<Image, BedError> {
        self.require_in_pool(volume)?;
        let file = self.pool()?.join(format!("snapshots/{}-{}.img", self.number(), volume.name));
        Tool::new("cp").arg("--reflink=always").args([&volume.image, &file]).run()?;
        Ok(Image { volume: volume.name.clone(), fs: volume.fs, file })
    }

    /// Snapshots all volumes of the pool in one moment.
    ///
    /// # Errors
    /// When btrfs(8) fails.
    pub fn snapshot_set(&self) -> Result<SnapshotSet, BedError> {
        let pool = self.pool()?;
        let directory = pool.join(format!("snapshots/set-{}", self.number()));
        Tool::new("btrfs")
            .args(["-q", "subvolume", "snapshot", "-r"])
            .arg(pool.join("volumes"))
            .arg(&directory)
            .run()?;
        Ok(SnapshotSet { directory })
    }

    /// Mounts a writable copy of a snapshot on a fresh loop device: mounting is what replays a filesystem's journal.
    ///
    /// # Errors
    /// When the copy cannot be mounted.
    pub fn restore(&self, image: &Image) -> Result<Volume, BedError> {
        let name = format!("restored-{}-{}", self.number(), image.volume);
        let (file, device) = self.attach_copy(image, &name)?;
        let mount_point = self.directory().join("restored").join(&name);
        // XFS refuses a second filesystem of the same UUID, and the original is still mounted (xfs(5), nouuid).
        let options: &[&str] = if image.fs == Fs::Xfs { &["-o", "nouuid"] } else { &[] };
        kernel::mount(&device, &mount_point, options)?;
        Ok(Volume { name, fs: image.fs, mount_point, device, image: file })
    }

    /// Deletes a snapshot of one volume.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn delete(&self, image: &Image) -> Result<(), BedError> {
        fs::remove_file(&image.file).map_err(|source| BedError::file(&image.file, source))
    }

    /// Deletes a snapshot of all volumes.
    ///
    /// # Errors
    /// When btrfs(8) fails.
    pub fn delete_set(&self, set: &SnapshotSet) -> Result<(), BedError> {
        Ok(Tool::new("btrfs").args(["-q", "subvolume", "delete"]).arg(&set.directory).run().map(drop)?)
    }

    /// Checks the filesystem of a snapshot after its journal has been replayed, as a host that mounts it would.
    ///
    /// # Errors
    /// When it cannot be mounted, or the checker finds damage.
    pub fn fsck(&self, image: &Image) -> Result<(), BedError> {
        let restored = self.restore(image)?;
        self.unmount(&restored.mount_point)?;
        let checked = checker(image.fs).arg(&restored.device).run();
        kernel::detach(&restored.device)?;
        fs::remove_file(&restored.image).map_err(|source| BedError::file(&restored.image, source))?;
        Ok(checked.map(drop)?)
    }

    fn attach_copy(&self, image: &Image, name: &str) -> Result<(PathBuf, PathBuf), BedError> {
        let file = self.pool()?.join(format!("restored/{name}.img"));
        Tool::new("cp").arg("--reflink=always").args([&image.file, &file]).run()?;
        let device = kernel::attach(&file)?;
        Ok((file, device))
    }

    fn require_in_pool(&self, volume: &Volume) -> Result<(), BedError> {
        let inside = self.pool.get().is_some_and(|pool| volume.image.starts_with(pool));
        if inside { Ok(()) } else { Err(BedError::NotInPool { name: volume.name.clone() }) }
    }
}

fn checker(fs: Fs) -> Tool {
    match fs {
        Fs::Ext4 => Tool::new("e2fsck").args(["-f", "-n"]),
        Fs::Xfs => Tool::new("xfs_repair").arg("-n"),
        Fs::Btrfs => Tool::new("btrfs").args(["check", "--readonly"]),
    }
}
