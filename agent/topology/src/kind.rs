//! Which types of filesystem can be frozen.

/// What a type of filesystem means for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It lies on a block device and its driver can be frozen.
    Freezable,
    /// It cannot be frozen, or must not be.
    Unfreezable(Unfreezable),
}

/// Why a type of filesystem is never frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfreezable {
    /// Its data is another machine's.
    Network,
    /// Other hosts have it mounted as well, and would stand still with this one.
    Cluster,
    /// A process serves it, which may itself need to write.
    Fuse,
    /// Its files are in memory only.
    Memory,
    /// It has no data of its own, but shows the kernel's.
    Pseudo,
    /// Its files lie on other filesystems.
    Stacked,
    /// It can only be read.
    Image,
    /// Its driver has no freeze; FIFREEZE answers EOPNOTSUPP.
    NoFreeze,
    /// Nobody has shown that it can be frozen.
    Unknown,
}

/// Drivers with `freeze_fs` or `freeze_super` in their `super_operations`, which `ioctl_fsfreeze` (fs/ioctl.c) asks for.
const FREEZABLE: &[&str] = &["btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "reiserfs", "xfs"];

/// The others that are known, by why they are refused.
const REFUSED: &[(Unfreezable, &[&str])] = &[
    (
        Unfreezable::Network,
        &[
            "9p", "afs", "beegfs", "ceph", "cifs", "coda", "lustre", "ncpfs", "nfs", "nfs4", "orangefs",
            "pvfs2", "smb2", "smb3", "smbfs", "virtiofs",
        ],
    ),
    (Unfreezable::Cluster, &["gfs2", "gpfs", "ocfs2"]),
    (Unfreezable::Memory, &["devtmpfs", "hugetlbfs", "ramfs", "rootfs", "tmpfs"]),
    (
        Unfreezable::Pseudo,
        &[
            "autofs",
            "binder",
            "binfmt_misc",
            "bpf",
            "cgroup",
            "cgroup2",
            "configfs",
            "cpuset",
            "debugfs",
            "devpts",
            "efivarfs",
            "fusectl",
            "mqueue",
            "nfsd",
            "nsfs",
            "proc",
            "pstore",
            "resctrl",
            "rpc_pipefs",
            "securityfs",
            "selinuxfs",
            "smackfs",
            "sysfs",
            "tracefs",
            "xenfs",
        ],
    ),
    (Unfreezable::Stacked, &["aufs", "ecryptfs", "overlay", "unionfs"]),
    (Unfreezable::Image, &["cramfs", "erofs", "iso9660", "romfs", "squashfs"]),
    (
        Unfreezable::NoFreeze,
        &["exfat", "hfs", "hfsplus", "minix", "msdos", "ntfs", "ntfs3", "udf", "ufs", "vfat", "zfs"],
    ),
];

impl Kind {
    /// What a type of filesystem means, by its name in mountinfo.
    pub fn of(fs_type: &str) -> Self {
        if FREEZABLE.contains(&fs_type) {
            return Self::Freezable;
        }
        // A subtype is the program that serves it: `fuse.sshfs`, `fuse.glusterfs`.
        if matches!(fs_type.split('.').next(), Some("fuse" | "fuseblk")) {
            return Self::Unfreezable(Unfreezable::Fuse);
        }
        let refused = REFUSED.iter().find(|(_, names)| names.contains(&fs_type));
        Self::Unfreezable(refused.map_or(Unfreezable::Unknown, |(why, _)| *why))
    }
}

impl Unfreezable {
    /// The reason, as the end of a sentence that begins with the mount and its type.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Network => "its data lies on another machine, and is in no snapshot of this one",
            Self::Cluster => "other hosts have it mounted too, and would stand still with this one",
            Self::Fuse => "it is served by a process, which a freeze may block for good",
            Self::Memory => "its files are in memory, and in no snapshot",
            Self::Pseudo => "it has no data of its own, but shows the kernel's",
            Self::Stacked => "its files lie on other filesystems, and the kernel freezes only those",
            Self::Image => "it can only be read, so nothing in it has to be held still",
            Self::NoFreeze => "the kernel cannot freeze this type",
            Self::Unknown => "nobody has shown that this type can be frozen and thawed",
        }
    }

    /// What to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Stacked => {
                "name the filesystem that the data really lies on, or keep the data on a volume of its own"
            }
            Self::Pseudo | Self::Image => "take it out of `filesystems`",
            Self::Network | Self::Cluster | Self::Fuse | Self::Memory | Self::NoFreeze | Self::Unknown => {
                "move the data to ext4, xfs or btrfs on an EBS volume, or take it out of `filesystems`"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_filesystems_of_a_volume_are_freezable() {
        for name in ["ext3", "ext4", "xfs", "btrfs"] {
            assert_eq!(Kind::of(name), Kind::Freezable);
        }
    }

    #[test]
    fn every_fuse_subtype_is_fuse_and_its_control_is_not() {
        for name in ["fuse", "fuseblk", "fuse.glusterfs", "fuse.a.b", "fuseblk.ntfs"] {
            assert_eq!(Kind::of(name), Kind::Unfreezable(Unfreezable::Fuse));
        }
        assert_eq!(Kind::of("fusectl"), Kind::Unfreezable(Unfreezable::Pseudo));
        assert_eq!(Kind::of("fusex"), Kind::Unfreezable(Unfreezable::Unknown));
    }

    #[test]
    fn each_known_type_has_one_kind() {
        let mut names: Vec<&str> = REFUSED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        names.extend(FREEZABLE);
        let known = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), known);
    }

    #[test]
    fn a_name_that_only_resembles_a_known_one_is_unknown() {
        for name in ["", "EXT4", "ext4.x", "ext5", "xfs "] {
            assert_eq!(Kind::of(name), Kind::Unfreezable(Unfreezable::Unknown));
        }
    }
}
