//! What filesystems lie on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::hosts::{Host, host, superblock};
use proptest::prelude::*;
use quiesced_core::block::{DeviceKind, Stack};
use quiesced_core::superblock::Superblock;
use quiesced_topology::{BlockStack, Mounts, TopologyError, freeze_ranks};

/// The devices below a path, each with what it is and what it lies on, and the volumes.
fn below(host: &str, path: &str) -> (Vec<String>, Vec<String>) {
    let Stack { devices, volumes } = Host::new(host).under(path).unwrap();
    let devices = devices
        .iter()
        .map(|device| {
            let on: String = device.below.iter().map(|name| format!(" {name}")).collect();
            format!("{} {}:{on}", device.name, device.kind)
        })
        .collect();
    (devices, volumes.iter().map(ToString::to_string).collect())
}

fn error(host: &str, path: &str) -> TopologyError {
    Host::new(host).under(path).unwrap_err()
}

fn ranks(host: &Host, paths: &[&str]) -> Result<Vec<u16>, TopologyError> {
    let mut stack = BlockStack::new(host.root(), &host.mounts);
    let targets: Vec<Superblock> = paths.iter().map(|path| superblock(&host.mounts, path)).collect();
    let stacks = targets.iter().map(|target| (*target, stack.under(*target).unwrap())).collect();
    let ranks = freeze_ranks(&host.mounts, &stacks)?;
    Ok(targets.iter().map(|target| ranks[target]).collect())
}

macro_rules! assert_below {
    ($host:literal, $path:literal, $devices:expr, $volumes:expr) => {
        let (devices, volumes) = below($host, $path);
        let (expected_devices, expected_volumes): (&[&str], &[&str]) = (&$devices, &$volumes);
        assert_eq!(devices, expected_devices);
        assert_eq!(volumes, expected_volumes);
    };
}

#[test]
fn a_partition_leads_to_its_disk_and_its_serial_number_to_the_volume() {
    assert_below!(
        "nitro",
        "/data",
        ["nvme1n1p1 partition: nvme1n1", "nvme1n1 disk:"],
        ["vol-0bbbbbbbbbbbbbbbb"]
    );
}

#[test]
fn short_volume_ids_are_read_too() {
    assert_below!("nitro", "/old", ["nvme2n1 disk:"], ["vol-1a2b3c4d"]);
}

#[test]
fn instance_store_is_told_apart_by_its_model() {
    assert_below!("nitro", "/scratch", ["nvme3n1 disk:"], ["nvme3n1 (instance store)"]);
}

#[test]
fn a_network_filesystem_lies_on_another_machine_and_one_in_memory_on_nothing() {
    assert_below!("nitro", "/mnt/reports", [], ["fs-0c0ffee.efs.eu-west-1.amazonaws.com:/"]);
    assert_below!("nitro", "/proc", [], ["proc (no volume)"]);
}

#[test]
fn lvm_over_two_volumes_lies_on_both() {
    assert_below!(
        "lvm",
        "/srv/db",
        [
            "dm-0 lvm vg--db-data: nvme1n1 nvme2n1p1",
            "nvme1n1 disk:",
            "nvme2n1p1 partition: nvme2n1",
            "nvme2n1 disk:"
        ],
        ["vol-0bbbbbbbbbbbbbbbb", "vol-0cccccccccccccccc"]
    );
}

#[test]
fn a_thin_volume_lies_on_the_data_and_the_metadata_of_its_pool() {
    assert_below!(
        "lvm",
        "/srv/thin",
        [
            "dm-5 lvm vg--db-thin: dm-3",
            "dm-3 lvm vg--db-pool-tpool: dm-1 dm-2",
            "dm-1 lvm vg--db-pool_tmeta: nvme1n1",
            "nvme1n1 disk:",
            "dm-2 lvm vg--db-pool_tdata: nvme2n1p1",
            "nvme2n1p1 partition: nvme2n1",
            "nvme2n1 disk:"
        ],
        ["vol-0bbbbbbbbbbbbbbbb", "vol-0cccccccccccccccc"]
    );
}

#[test]
fn luks_on_a_logical_volume_is_followed_through_both_layers() {
    assert_below!(
        "lvm",
        "/srv/secret",
        [
            "dm-7 crypt secret: dm-6",
            "dm-6 lvm vg--db-secret: nvme2n1p1",
            "nvme2n1p1 partition: nvme2n1",
            "nvme2n1 disk:"
        ],
        ["vol-0cccccccccccccccc"]
    );
}

#[test]
fn an_array_over_four_volumes_lies_on_all_of_them() {
    assert_below!(
        "raid",
        "/srv/db",
        [
            "md127 MD raid0: nvme1n1 nvme2n1 nvme3n1 nvme4n1",
            "nvme1n1 disk:",
            "nvme2n1 disk:",
            "nvme3n1 disk:",
            "nvme4n1 disk:"
        ],
        ["vol-01111111111111111", "vol-02222222222222222", "vol-03333333333333333", "vol-04444444444444444"]
    );
}

#[test]
fn a_partition_of_an_array_lies_on_the_array() {
    assert_below!(
        "raid",
        "/srv/wal",
        ["md126p1 partition: md126", "md126 MD raid1: nvme7n1 nvme8n1", "nvme7n1 disk:", "nvme8n1 disk:"],
        ["vol-07777777777777777", "vol-08888888888888888"]
    );
}

#[test]
fn a_cache_is_part_of_what_data_lies_on() {
    assert_below!(
        "raid",
        "/srv/cached",
        ["bcache0 bcache: nvme5n1 nvme6n1", "nvme5n1 disk:", "nvme6n1 disk:"],
        ["vol-05555555555555555", "nvme6n1 (instance store)"]
    );
}

#[test]
fn btrfs_lies_on_every_device_of_the_filesystem_that_has_its_source() {
    assert_below!(
        "btrfs",
        "/srv/orders",
        ["nvme1n1 disk:", "nvme2n1 disk:"],
        ["vol-0bbbbbbbbbbbbbbbb", "vol-0cccccccccccccccc"]
    );
    assert_below!(
        "btrfs",
        "/home",
        ["nvme0n1p1 partition: nvme0n1", "nvme0n1 disk:"],
        ["vol-0aaaaaaaaaaaaaaaa"]
    );
}

#[test]
fn btrfs_is_found_by_each_name_that_mount_may_have_been_given() {
    let devices = "nvme1n1 259:0 ebs vol0bbbbbbbbbbbbbbbb\n\
                   dm-0 253:0 mapped vg--a-data-1 LVM-x over nvme1n1\n\
                   btrfs 5b2f6f6e over dm-0\n";
    for source in ["/dev/dm-0", "/dev/mapper/vg--a-data-1", "/dev/disk/by-uuid/5b2f6f6e"] {
        let table = format!("25 1 0:30 / / rw - btrfs {source} rw\n");
        let host = Host::described(Mounts::parse(table.as_bytes()).unwrap(), devices);
        assert_eq!(host.under("/").unwrap().volumes[0].ebs_id(), Some("vol-0bbbbbbbbbbbbbbbb"), "{source}");
    }
}

#[test]
fn lvms_own_names_for_a_volume_have_their_dashes_doubled_by_the_device_mapper() {
    let devices = "nvme1n1 259:0 ebs vol0bbbbbbbbbbbbbbbb\n\
                   dm-0 253:0 mapped vg--a-data--1 LVM-x over nvme1n1\n\
                   btrfs 5b2f6f6e over dm-0\n";
    let table = "25 1 0:30 / / rw - btrfs /dev/vg-a/data-1 rw\n";
    let host = Host::described(Mounts::parse(table.as_bytes()).unwrap(), devices);
    assert_eq!(host.under("/").unwrap().devices.len(), 2);
}

#[test]
fn xen_devices_tell_no_volume_and_other_machines_disks_are_unknown() {
    assert_below!("xen", "/data", ["xvdf disk:"], ["xvdf (Xen tells no volume id)"]);
    assert_below!("xen", "/", ["xvda1 partition: xvda", "xvda disk:"], ["xvda (Xen tells no volume id)"]);
    assert_below!("xen", "/virtio", ["vda disk:"], ["vda (unknown volume: it has no model)"]);
}

#[test]
fn a_file_as_a_device_lies_on_what_the_files_filesystem_lies_on() {
    assert_below!(
        "loops",
        "/mnt/deep",
        [
            "loop1 loop over /mnt/ledger/deep.img: loop0",
            "loop0 loop over /srv/images/ledger (old).img: nvme1n1",
            "nvme1n1 disk:"
        ],
        ["vol-0bbbbbbbbbbbbbbbb"]
    );
}

#[test]
fn a_file_that_its_own_filesystem_was_mounted_over_lies_on_the_filesystem_beneath() {
    assert_below!(
        "loops",
        "/srv/pool",
        ["loop2 loop over /srv/pool/disk.img: nvme0n1", "nvme0n1 disk:"],
        ["vol-0aaaaaaaaaaaaaaaa"]
    );
}

#[test]
fn two_filesystems_on_one_mount_point_are_two_also_when_one_lies_in_the_other() {
    assert_below!(
        "loops",
        "/srv/layers",
        ["loop5 loop over /srv/layers/upper.img: nvme2n1", "nvme2n1 disk:"],
        ["vol-0cccccccccccccccc"]
    );
}

#[test]
fn a_loop_over_a_device_lies_on_that_device_and_one_over_memory_on_no_volume() {
    assert_below!(
        "loops",
        "/mnt/device",
        ["loop3 loop over /dev/nvme2n1: nvme2n1", "nvme2n1 disk:"],
        ["vol-0cccccccccccccccc"]
    );
    assert_below!("loops", "/mnt/memory", ["loop4 loop over /run/disk.img:"], ["tmpfs (no volume)"]);
}

#[test]
fn a_filesystem_in_a_file_is_frozen_before_the_one_that_holds_the_file() {
    let host = Host::new("loops");
    assert_eq!(ranks(&host, &["/srv/images", "/mnt/ledger", "/mnt/deep"]).unwrap(), [2, 1, 0]);
}

#[test]
fn files_count_for_the_order_also_when_the_filesystem_between_is_no_target() {
    let host = Host::new("loops");
    assert_eq!(ranks(&host, &["/srv/images", "/mnt/deep", "/mnt/device"]).unwrap(), [1, 0, 0]);
}

#[test]
fn a_circle_of_files_is_an_error_that_shows_the_way_round() {
    let expected = "no order of freezing is possible: /mnt/a (7:0) lies on loop0 lies on /mnt/b/a.img lies on \
                    /mnt/b (7:1) lies on loop1 lies on /mnt/a/b.img lies on /mnt/a (7:0)";
    assert_eq!(error("circles", "/mnt/a").to_string(), expected);
}

#[test]
fn a_filesystem_mounted_on_one_that_lies_in_it_is_an_error_that_shows_both() {
    let host = Host::new("circles");
    let expected = "no order of freezing is possible: /mnt/c must be frozen before /mnt/c/d must be frozen before /mnt/c";
    assert_eq!(ranks(&host, &["/mnt/c", "/mnt/c/d"]).unwrap_err().to_string(), expected);
    assert_eq!(ranks(&host, &["/mnt/c"]).unwrap(), [0], "alone it can be held");
}

#[test]
fn a_device_that_was_detached_under_its_filesystem_is_an_error() {
    assert_eq!(
        error("circles", "/mnt/gone").to_string(),
        "/mnt/gone lies on the device 259:9, which is gone"
    );
}

#[test]
fn a_btrfs_whose_devices_cannot_be_found_is_an_error() {
    let error = error("circles", "/mnt/lost");
    assert_eq!(error.to_string(), "the devices of the btrfs at /mnt/lost cannot be found by /dev/root");
    assert!(error.hint().contains("btrfs filesystem show /mnt/lost"), "{}", error.hint());
}

#[test]
fn an_attribute_that_cannot_be_understood_is_an_error_with_its_path() {
    let host = Host::new("nitro");
    let dev = host.root().join("sys/class/block/nvme1n1/dev");
    std::fs::write(&dev, "259;3\n").unwrap();
    assert_eq!(
        host.under("/data").unwrap_err().to_string(),
        format!("cannot understand line 1 of {}", dev.display())
    );
}

#[test]
fn devices_on_a_circle_of_their_own_are_an_error() {
    let host = Host::new("lvm");
    let slaves = host.root().join("sys/class/block/dm-6/slaves");
    std::os::unix::fs::symlink("../../dm-7", slaves.join("dm-7")).unwrap();
    let expected = "no order of freezing is possible: dm-7 lies on dm-6 lies on dm-7";
    assert_eq!(host.under("/srv/secret").unwrap_err().to_string(), expected);
}

#[test]
fn without_a_sys_the_volumes_are_unknown_and_that_is_no_error() {
    let mounts = host("nitro");
    let nowhere = tempfile::tempdir().unwrap();
    let stack = BlockStack::new(nowhere.path(), &mounts).under(superblock(&mounts, "/data")).unwrap();
    assert!(stack.devices.is_empty());
    assert!(stack.volumes[0].to_string().starts_with("259:4 (unknown volume: there is no "), "{stack:?}");
}

/// Devices of a made-up host: each lies on some of the earlier ones, or is a volume.
#[derive(Clone, Debug)]
struct Made(Vec<BTreeSet<usize>>);

fn made() -> impl Strategy<Value = Made> {
    let below = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    prop::collection::vec(below, 1..24).prop_map(|all| {
        let pick = |(at, below): (usize, Vec<prop::sample::Index>)| match at {
            0 => BTreeSet::new(),
            _ => below.iter().map(|index| index.index(at)).collect(),
        };
        Made(all.into_iter().enumerate().map(pick).collect())
    })
}

impl Made {
    fn name(&self, at: usize) -> String {
        if self.0[at].is_empty() { format!("nvme{at}n1") } else { format!("dm-{at}") }
    }

    fn host(&self) -> Host {
        let (mut devices, mut table) = (String::new(), String::new());
        for (at, below) in self.0.iter().enumerate() {
            let name = self.name(at);
            if below.is_empty() {
                writeln!(devices, "{name} 259:{at} ebs vol{at:017x}").unwrap();
            } else {
                let below: Vec<String> = below.iter().map(|lower| self.name(*lower)).collect();
                writeln!(devices, "{name} 259:{at} mapped m{at} LVM-{at} over {}", below.join(" ")).unwrap();
            }
            writeln!(table, "{} 1 259:{at} / /{at} rw - ext4 /dev/{name} rw", at + 2).unwrap();
        }
        Host::described(Mounts::parse(table.as_bytes()).unwrap(), &devices)
    }

    fn reachable(&self, at: usize) -> BTreeSet<usize> {
        let lower = self.0[at].iter().flat_map(|lower| self.reachable(*lower));
        lower.chain([at]).collect()
    }
}

/// Not a rule, but a figure: run it in a release build with `--run-ignored only --no-capture`.
#[test]
#[ignore = "it prints how long a large host takes"]
fn two_hundred_filesystems_over_sixty_four_volumes() {
    let disks: String = (0..64).map(|at| format!("nvme{at}n1 259:{at} ebs vol{at:017x}\n")).collect();
    let (mut devices, mut table) = (disks, String::new());
    for at in 0..200 {
        writeln!(
            devices,
            "dm-{at} 253:{at} mapped vg-{at} LVM-{at} over nvme{}n1 nvme{}n1",
            at % 64,
            (at + 1) % 64
        )
        .unwrap();
        writeln!(table, "{} 1 253:{at} / /{at} rw - xfs /dev/mapper/vg-{at} rw", at + 2).unwrap();
    }
    let host = Host::described(Mounts::parse(table.as_bytes()).unwrap(), &devices);
    let began = std::time::Instant::now();
    let mut stack = BlockStack::new(host.root(), &host.mounts);
    let targets = host.mounts.iter().map(|mount| mount.superblock);
    let stacks = targets.map(|target| (target, stack.under(target).unwrap())).collect();
    let ranks = freeze_ranks(&host.mounts, &stacks).unwrap();
    println!("{} filesystems: {:?}", ranks.len(), began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_described_is_read(made in made(), at: prop::sample::Index) {
        let at = at.index(made.0.len());
        let stack = made.host().under(&format!("/{at}")).unwrap();
        let reachable = made.reachable(at);

        let expected: BTreeSet<String> = reachable.iter().map(|at| made.name(*at)).collect();
        let found: BTreeSet<String> = stack.devices.iter().map(|device| device.name.clone()).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(stack.devices.len(), reachable.len());

        let ends = reachable.iter().filter(|at| made.0[**at].is_empty());
        let expected: BTreeSet<String> = ends.map(|at| format!("vol-{at:017x}")).collect();
        let found: BTreeSet<String> =
            stack.volumes.iter().filter_map(|volume| volume.ebs_id().map(str::to_owned)).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(stack.topmost().map(|device| device.name.clone()).collect::<Vec<_>>(), [made.name(at)]);
    }

    #[test]
    fn each_device_stands_before_those_that_it_lies_on(made in made()) {
        let at = made.0.len() - 1;
        let stack = made.host().under(&format!("/{at}")).unwrap();
        let place: BTreeMap<&str, usize> =
            stack.devices.iter().enumerate().map(|(place, device)| (device.name.as_str(), place)).collect();
        for device in &stack.devices {
            for lower in &device.below {
                prop_assert!(place[device.name.as_str()] < place[lower.as_str()]);
            }
        }
    }

    #[test]
    fn nothing_that_sysfs_says_makes_it_panic(
        attribute in prop::sample::select(vec!["dev", "dm/name", "dm/uuid", "md/level", "loop/backing_file", "partition"]),
        text: Vec<u8>,
        slaves in prop::collection::vec("dm-[0-9]|nvme1n1|[a-z!.]{1,8}", 0..4),
    ) {
        let host = Host::new("lvm");
        let device = host.root().join("sys/devices/virtual/block/dm-7");
        std::fs::create_dir_all(device.join(attribute).parent().unwrap()).unwrap();
        std::fs::write(device.join(attribute), text).unwrap();
        for slave in slaves {
            let _twice = std::os::unix::fs::symlink("..", device.join("slaves").join(slave));
        }
        if let Ok(stack) = host.under("/srv/secret") {
            prop_assert!(stack.devices.iter().any(|device| device.name == "dm-7"));
            prop_assert!(stack.devices.iter().all(|device| device.kind != DeviceKind::Bcache));
        }
    }
}
