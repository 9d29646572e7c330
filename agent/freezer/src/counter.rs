//! How much has been written to the devices under a filesystem, as the kernel counts it.
//!
//! Nothing may reach the disk between the last freeze and the first thaw. Whoever writes there all the same, past the
//! freeze to the device or because the freeze was not one, is seen in the devices' counters: they tell of the hold what
//! no ioctl can.
//!
//! Sectors are compared, not requests: a request is counted only after its waiter has been woken (block/blk-mq.c,
//! `blk_mq_end_request`), so one that the freeze itself had made might be counted a moment after it. Sectors are counted
//! before (`blk_update_request`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A line of 17 numbers (Documentation/block/stat.rst).
const LONGEST: usize = 512;

/// The counters of the devices that one filesystem lies on directly, opened before the window.
#[derive(Debug)]
pub struct WriteCounter(Vec<File>);

impl WriteCounter {
    /// Opens the counters of devices, given as `MAJOR:MINOR`, below the root of the host.
    ///
    /// # Errors
    /// When the kernel shows no counters of a device.
    pub fn open(root: &Path, devices: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let directory = root.join("sys/dev/block");
        let open = |device: String| File::open(directory.join(device).join("stat"));
        devices.into_iter().map(open).collect::<io::Result<_>>().map(Self)
    }

    /// The sectors of 512 bytes that were ever written. Waits for nothing: sysfs lies in memory.
    ///
    /// # Errors
    /// When a device is gone.
    pub fn sectors(&self) -> io::Result<u64> {
        let mut sum: u64 = 0;
        for file in &self.0 {
            let mut line = [0; LONGEST];
            let length = file.read_at(&mut line, 0)?;
            let written = parse(&line[..length]).ok_or(io::ErrorKind::InvalidData)?;
            sum = sum.wrapping_add(written);
        }
        Ok(sum)
    }
}

/// Field 7 of a device's `stat`: write sectors.
fn parse(line: &[u8]) -> Option<u64> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    str::from_utf8(fields.nth(6)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_all_devices_are_added_and_read_anew_each_time() {
        let root = tempfile::tempdir().unwrap();
        let write = |device: &str, sectors: u64| {
            let directory = root.path().join("sys/dev/block").join(device);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("stat"), format!("  1 2 3 4 5 6 {sectors:>8} 8 9 10 11\n"))
                .unwrap();
        };
        write("7:1", 10);
        write("7:2", 5);
        let counter = WriteCounter::open(root.path(), ["7:1".to_owned(), "7:2".to_owned()]).unwrap();
        assert_eq!(counter.sectors().unwrap(), 15);
        write("7:2", 6);
        assert_eq!(counter.sectors().unwrap(), 16);
        WriteCounter::open(root.path(), ["7:3".to_owned()]).unwrap_err();
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _sectors = parse(&line);
        }
    }
}
