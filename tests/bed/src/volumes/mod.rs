//! Volumes that behave as EBS volumes do: a loop device with direct I/O on an image, and snapshots of that image.
//!
//! ```text
//! /var/tmp/quiesced-bed/<pid>-<n>/      the bed: one claim, removed on drop
//!   owner, processes                    whose it is, and what must not outlive it
//!   pool.img ─loop─▶ btrfs ─▶ pool/     the pool: where reflink clones exist
//!     volumes/NAME.img ─loop─▶ ext4|xfs ─▶ mnt/NAME
//!     snapshots/                        one file per clone, one read-only subvolume per set
//!     restored/                         writable clones of snapshots, mounted under restored/
//! ```
//!
//! Nothing is listed that the kernel knows better: whatever is mounted below the directory, and every loop device
//! whose file lies below it, belongs to the bed. So there is no moment in which something exists and is not noted.

mod error;
mod failsafe;
mod kernel;
mod lock;
mod mounts;
mod snapshots;
mod spec;
mod sweep;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

pub use error::BedError;
pub use failsafe::Failsafe;
pub use kernel::{freeze, thaw};
pub use snapshots::{Image, SnapshotSet};
pub use spec::{Fs, GIB, MIB, Place, Volume, VolumeSpec};
pub use sweep::{AGENTS, BEDS, sweep, sweep_leftovers};

use crate::claim::Claim;
use crate::tool::Tool;
use lock::Lock;

/// How long a bed of [`Bed::new`] may stay frozen, whatever happens to the test.
const FAILSAFE: Duration = Duration::from_secs(120);
/// The pool is sparse: only what is written takes space.
const POOL_SIZE: u64 = 24 * GIB;

/// A directory of volumes, and everything that must be undone at its end.
///
/// Only one bed exists on a host at a time: [`Bed::new`] waits for its turn. So a test takes one, never two.
#[derive(Debug)]
pub struct Bed {
    claim: Claim,
    pool: OnceLock<PathBuf>,
    making_pool: Mutex<()>,
    failsafe: Mutex<Option<Failsafe>>,
    next: AtomicU32,
    // Released last: fields are dropped in the order in which they are declared.
    _lock: Lock,
}

impl Bed {
    /// An empty bed, after what killed processes left behind has been swept as far as it can be. Its failsafe thaws everything after two
    /// minutes; [`Bed::failsafe`] sets another time.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new() -> Result<Self, BedError> {
        let lock = Lock::take(Path::new(BEDS))?;
        if let Err(error) = sweep::abandoned() {
            // What a killed process left behind is not this bed's failure: it works elsewhere.
            eprintln!("warning: {error}");
        }
        let claim = Claim::new(Path::new(BEDS)).map_err(|source| BedError::claim(Path::new(BEDS), source))?;
        let bed = Self {
            claim,
            pool: OnceLock::new(),
            making_pool: Mutex::new(()),
            failsafe: Mutex::new(None),
            next: AtomicU32::new(0),
            _lock: lock,
        };
        bed.failsafe(FAILSAFE)?;
        Ok(bed)
    }

    /// The directory that everything of this bed lies in.
    pub fn directory(&self) -> &Path {
        self.claim.directory()
    }

    /// The claim, to note processes that must not outlive this bed.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Thaws everything of this bed after `limit`, from a process of its own, in place of the earlier failsafe.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn failsafe(&self, limit: Duration) -> Result<(), BedError> {
        let armed = Failsafe::arm(self.directory(), limit)?;
        self.claim
            .note_process(armed.process())
            .map_err(|source| BedError::claim(self.directory(), source))?;
        *self.failsafe.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(armed);
        Ok(())
    }

    /// A mounted volume with its image in the pool.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn volume(&self, name: &str, fs: Fs, size: u64) -> Result<Volume, BedError> {
        self.make(&VolumeSpec::new(name, fs, size))
    }

    /// A mounted volume with its image on the host's filesystem: faster to make, without snapshots.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn host_volume(&self, name: &str, fs: Fs, size: u64) -> Result<Volume, BedError> {
        self.make(&VolumeSpec::new(name, fs, size).place(Place::Host))
    }

    /// A mounted volume as `spec` says.
    ///
    /// # Errors
    /// When a tool fails.
    pub fn make(&self, spec: &VolumeSpec) -> Result<Volume, BedError> {
        let mount_point = spec.mount_point().map_or_else(|| self.mount_point(spec.name()), Path::to_path_buf);
        self.require_inside(&mount_point)?;
        let image = self.image_directory(spec.at())?.join(format!("{}.img", spec.name()));
        let file = fs::File::create_new(&image).map_err(|source| BedError::file(&image, source))?;
        file.set_len(spec.size()).map_err(|source| BedError::file(&image, source))?;
        drop(file);
        let device = kernel::attach(&image)?;
        kernel::make_filesystem(&device, spec.fs())?;
        kernel::mount(&device, &mount_point, &[])?;
        Ok(Volume { name: spec.name().to_owned(), fs: spec.fs(), mount_point, device, image })
    }

    /// Where a volume of this name is mounted when its spec does not say otherwise.
    pub fn mount_point(&self, name: &str) -> PathBuf {
        self.directory().join("mnt").join(name)
    }

    /// Unmounts a volume, detaches its device and deletes its image.
    ///
    /// # Errors
    /// When it is in use.
    pub fn remove(&self, volume: &Volume) -> Result<(), BedError> {
        self.unmount(&volume.mount_point)?;
        kernel::detach(&volume.device)?;
        fs::remove_file(&volume.image).map_err(|source| BedError::file(&volume.image, source))
    }

    fn image_directory(&self, place: &Place) -> Result<PathBuf, BedError> {
        match place {
            Place::Pool => Ok(self.pool()?.join("volumes")),
            Place::Inside(directory) => Ok(directory.clone()),
            Place::Host => {
                let directory = self.directory().join("images");
                fs::create_dir_all(&directory).map_err(|source| BedError::file(&directory, source))?;
                Ok(directory)
            }
        }
    }

    /// The pool is made when the first volume wants it.
    fn pool(&self) -> Result<&Path, BedError> {
        let _making = self.making_pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pool) = self.pool.get() {
            return Ok(pool);
        }
        let pool = self.make_pool()?;
        Ok(self.pool.get_or_init(|| pool))
    }

    fn make_pool(&self) -> Result<PathBuf, BedError> {
        let image = self.directory().join("pool.img");
        let pool = self.directory().join("pool");
        let file = fs::File::create_new(&image).map_err(|source| BedError::file(&image, source))?;
        file.set_len(POOL_SIZE).map_err(|source| BedError::file(&image, source))?;
        let device = kernel::attach(&image)?;
        let options = ["-q", "--nodiscard", "--data", "single", "--metadata", "single"];
        Tool::new("mkfs.btrfs").args(options).arg(&device).run()?;
        kernel::mount(&device, &pool, &[])?;
        Tool::new("btrfs").args(["-q", "subvolume", "create"]).arg(pool.join("volumes")).run()?;
        for folder in ["snapshots", "restored"] {
            let folder = pool.join(folder);
            fs::create_dir(&folder).map_err(|source| BedError::file(&folder, source))?;
        }
        Ok(pool)
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The sweeper finds by path, so nothing may be mounted elsewhere.
    fn require_inside(&self, path: &Path) -> Result<(), BedError> {
        let dots = path.components().any(|part| part == std::path::Component::ParentDir);
        if path.starts_with(self.directory()) && !dots {
            Ok(())
        } else {
            Err(BedError::Outside { path: path.to_path_buf(), bed: self.directory().to_path_buf() })
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Err(error) = sweep(self.directory()) {
            eprintln!("error: {error}");
        }
    }
}
