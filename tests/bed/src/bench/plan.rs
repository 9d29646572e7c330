//! What `quiesced plan` costs on a large host that never was: it is asked often, and by people who wait.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::millis;
use crate::sysfs;

const MOUNTS: usize = 200;
const VOLUMES: usize = 64;

/// How often it is asked.
const RUNS: u32 = 20;

pub(super) fn print(binary: &Path) -> Result<(), Box<dyn Error>> {
    let host = tempfile::tempdir()?;
    make(host.path())?;
    let took = millis(ask(binary, host.path())?);
    println!("quiesced plan: {took} ms for {MOUNTS} mounts on {VOLUMES} volumes; aim: well under 100 ms");
    Ok(())
}

/// Each filesystem lies on a logical volume, which is striped over two EBS volumes.
fn make(host: &Path) -> Result<(), Box<dyn Error>> {
    let mut devices = String::new();
    for volume in 0..VOLUMES {
        writeln!(devices, "nvme{volume}n1 259:{volume} ebs vol{volume:017x}")?;
    }
    let (mut mounts, mut group) = ("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n".to_owned(), String::new());
    for number in 0..MOUNTS {
        let below = [number % VOLUMES, (number + 1) % VOLUMES].map(|volume| format!("nvme{volume}n1"));
        writeln!(
            devices,
            "dm-{number} 253:{number} mapped vg-data{number} LVM-{number} over {}",
            below.join(" ")
        )?;
        writeln!(
            mounts,
            "{} 21 253:{number} / /srv/data{number} rw - xfs /dev/dm-{number} rw",
            number + 100
        )?;
        write!(group, "\"/srv/data{number}\", ")?;
    }
    sysfs::make(host, &devices)?;
    let proc = host.join("proc/self");
    fs::create_dir_all(&proc)?;
    fs::write(proc.join("mountinfo"), mounts)?;
    let conf = host.join("conf.d");
    fs::create_dir(&conf)?;
    fs::set_permissions(&conf, fs::Permissions::from_mode(0o755))?;
    fs::write(conf.join("10.toml"), format!("[group.default]\nfilesystems = [{group}]\n"))?;
    Ok(())
}

/// The mean time from start to exit.
fn ask(binary: &Path, host: &Path) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    for _ in 0..RUNS {
        let output = Command::new(binary)
            .args(["plan", "--json"])
            .env("QUIESCED_SIMULATE", host)
            .env("QUIESCED_CONFIG_DIR", host)
            .output()?;
        let volumes = String::from_utf8_lossy(&output.stdout).matches("\"vol-").count();
        if !output.status.success() || volumes < MOUNTS {
            return Err(format!("{volumes} volumes: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    Ok(begun.elapsed() / RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_that_is_planned_is_made_whole() {
        let host = tempfile::tempdir().unwrap();
        make(host.path()).unwrap();
        let mounts = fs::read_to_string(host.path().join("proc/self/mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), MOUNTS + 1);
        assert_eq!(fs::read_dir(host.path().join("sys/dev/block")).unwrap().count(), MOUNTS + VOLUMES);
    }
}
