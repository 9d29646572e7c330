//! The `/sys` of a host that never was, made from a short description: a line for each device, those it lies on first.
//!
//! ```text
//! nvme1n1    259:4   ebs vol0123456789abcdef0         an EBS volume on Nitro, and its serial number
//! nvme2n1    259:5   instance-store AWS6AAA           a disk of the instance
//! vda        254:0   virtio                           a disk that tells nothing
//! xvdf       202:80  xen                              a disk of a Xen instance
//! nvme1n1p1  259:6   partition nvme1n1
//! dm-0       253:0   mapped vg-data LVM-… over nvme1n1p1 nvme2n1
//! md0        9:0     raid raid0 over nvme1n1 nvme2n1
//! bcache0    252:0   bcache over dm-0 nvme2n1
//! loop0      7:0     loop /srv/images/a file.img      the rest of the line is the path
//! btrfs      3f6e…   over dm-0 md0                    a mounted filesystem, and its UUID
//! ```
//!
//! Lines that begin with `#` are for people. The layout is the kernel's: Documentation/filesystems/sysfs.rst,
//! Documentation/ABI/stable/sysfs-block, testing/sysfs-dev and testing/sysfs-block-dm, block/holder.c for `slaves`,
//! drivers/nvme/host/sysfs.c, drivers/xen/xenbus/xenbus_probe.c, drivers/block/loop.c and fs/btrfs/sysfs.c.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes `<root>/sys`.
///
/// # Errors
/// When a line is not as described above, or something cannot be written.
pub fn make(root: &Path, description: &str) -> io::Result<()> {
    let mut sysfs = Maker { sys: root.join("sys"), places: HashMap::new() };
    for directory in ["block", "class/block", "dev/block", "fs/btrfs/features"] {
        fs::create_dir_all(sysfs.sys.join(directory))?;
    }
    for line in description.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        sysfs.line(line).map_err(|error| io::Error::new(error.kind(), format!("{line}: {error}")))?;
    }
    Ok(())
}

struct Maker {
    sys: PathBuf,
    /// Where the directory of each device is, below `sys`.
    places: HashMap<String, PathBuf>,
}

impl Maker {
    fn line(&mut self, line: &str) -> io::Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["btrfs", uuid, "over", ref devices @ ..] => self.btrfs(uuid, devices),
            [name, number, "ebs", serial] => self.nvme(name, number, "Amazon Elastic Block Store", serial),
            [name, number, "instance-store", serial] => {
                self.nvme(name, number, "Amazon EC2 NVMe Instance Storage", serial)
            }
            [name, number, "virtio"] => {
                self.bus(name, number, "devices/pci0000:00/0000:00:05.0/virtio1", &[])
            }
            [name, number, "xen"] => {
                self.bus(name, number, &format!("devices/vbd-{name}"), &[("devtype", "vbd")])
            }
            [name, number, "partition", disk] => {
                let place = self.place(disk)?.join(name);
                self.device(name, number, place, &[("partition", "1")], &[])
            }
            [name, number, "mapped", mapped, uuid, "over", ref below @ ..] => {
                self.made(name, number, &[("dm/name", mapped), ("dm/uuid", uuid)], below)
            }
            [name, number, "raid", level, "over", ref below @ ..] => {
                self.made(name, number, &[("md/level", level)], below)
            }
            [name, number, "bcache", "over", ref below @ ..] => self.made(name, number, &[], below),
            [name, number, "loop", ..] => {
                let (_, file) = line.split_once(" loop ").unwrap_or_default();
                self.made(name, number, &[("loop/backing_file", file.trim())], &[])
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "no such kind of device")),
        }
    }

    fn place(&self, name: &str) -> io::Result<&PathBuf> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("{name} stands on no line before"));
        self.places.get(name).ok_or_else(unknown)
    }

    /// The attributes are padded, as in the controller's identification.
    fn nvme(&mut self, name: &str, number: &str, model: &str, serial: &str) -> io::Result<()> {
        let controller = name.rsplit_once('n').map_or(name, |(controller, _)| controller);
        let bus = format!("devices/pci0000:00/0000:00:04.0/nvme/{controller}");
        self.attributes(&bus, &[("model", &format!("{model:40}")), ("serial", &format!("{serial:20}"))])?;
        self.device(name, number, Path::new(&bus).join(name), &[], &[])?;
        self.link(&Path::new(&bus).join(name).join("device"), Path::new(&bus))
    }

    fn bus(&mut self, name: &str, number: &str, bus: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
        self.attributes(bus, attributes)?;
        let place = Path::new(bus).join("block").join(name);
        self.device(name, number, place.clone(), &[], &[])?;
        self.link(&place.join("device"), Path::new(bus))
    }

    fn made(
        &mut self,
        name: &str,
        number: &str,
        attributes: &[(&str, &str)],
        below: &[&str],
    ) -> io::Result<()> {
        self.device(name, number, Path::new("devices/virtual/block").join(name), attributes, below)
    }

    fn device(
        &mut self,
        name: &str,
        number: &str,
        place: PathBuf,
        attributes: &[(&str, &str)],
        below: &[&str],
    ) -> io::Result<()> {
        let is_partition = attributes.iter().any(|(name, _)| *name == "partition");
        fs::create_dir_all(self.sys.join(&place).join("holders"))?;
        self.attributes(&place, &[("dev", number)])?;
        self.attributes(&place, attributes)?;
        self.link(&Path::new("class/block").join(name), &place)?;
        self.link(&Path::new("dev/block").join(number), &place)?;
        if !is_partition {
            fs::create_dir_all(self.sys.join(&place).join("slaves"))?;
            self.link(&Path::new("block").join(name), &place)?;
        }
        for lower in below {
            let lower_place = self.place(lower)?.clone();
            self.link(&place.join("slaves").join(lower), &lower_place)?;
            self.link(&lower_place.join("holders").join(name), &place)?;
        }
        self.places.insert(name.to_owned(), place);
        Ok(())
    }

    fn btrfs(&self, uuid: &str, devices: &[&str]) -> io::Result<()> {
        let directory = Path::new("fs/btrfs").join(uuid).join("devices");
        fs::create_dir_all(self.sys.join(&directory))?;
        devices.iter().try_for_each(|device| self.link(&directory.join(device), self.place(device)?))
    }

    fn attributes(&self, directory: impl AsRef<Path>, attributes: &[(&str, &str)]) -> io::Result<()> {
        for (name, value) in attributes {
            let path = self.sys.join(&directory).join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, format!("{value}\n"))?;
        }
        Ok(())
    }

    /// A relative link, as all of sysfs are.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let up: PathBuf = from.components().skip(1).map(|_| "..").collect();
        symlink(up.join(to), self.sys.join(from))
    }
}
