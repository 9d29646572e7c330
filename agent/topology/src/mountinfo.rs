//! One line of `/proc/self/mountinfo`, after `proc_pid_mountinfo(5)`:
//!
//! ```text
//! 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//! │  │  │    │     │     │          │          │    │         └ options of the superblock
//! │  │  │    │     │     │          │          │    └ source, may be empty
//! │  │  │    │     │     │          │          └ type of the filesystem
//! │  │  │    │     │     │          └ any number of optional fields, then the separator
//! │  │  │    │     │     └ options of the mount
//! │  │  │    │     └ mount point
//! │  │  │    └ what of the filesystem is mounted
//! │  │  └ device number of the superblock
//! │  └ id of the mount that this one is mounted on
//! └ id of the mount
//! ```

use std::ffi::OsString;
use std::path::PathBuf;

use quiesced_core::superblock::Superblock;

use crate::error::LineProblem;
use crate::escape::unescape;

/// One mount of one filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its id, which `statx(2)` also gives for an opened file.
    pub id: u32,
    /// The id of the mount that it is mounted on.
    pub parent: u32,
    /// The filesystem.
    pub superblock: Superblock,
    /// What of the filesystem is mounted: `/` for all of it, else a directory, a subvolume or a file in it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Whether this mount cannot be written through; others of the same filesystem may be writable.
    pub read_only: bool,
    /// Whether the filesystem cannot be written at all.
    pub superblock_read_only: bool,
    /// Its type, as the kernel names it.
    pub fs_type: String,
    /// What was mounted: mostly a device.
    pub source: OsString,
}

impl Mount {
    /// Reads one line, without its newline.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, LineProblem> {
        let mut fields = Fields(Some(line));
        let id = number("mount id", fields.next("mount id")?)?;
        let parent = number("parent id", fields.next("parent id")?)?;
        let superblock = device_number(fields.next("device number")?)?;
        let root = fields.next("root of the mount")?;
        let mount_point = fields.next("mount point")?;
        if mount_point.first() != Some(&b'/') {
            return Err(LineProblem::field("mount point", mount_point, "an absolute path"));
        }
        let read_only = read_only("list of mount options", fields.next("list of mount options")?)?;
        while fields.next("separator")? != b"-" {}
        let fs_type = unescape(fields.next("filesystem type")?);
        let source = fields.next("mount source")?;
        // The rest of the line, whatever is in it: drivers print their own options here.
        let superblock_read_only =
            self::read_only("list of superblock options", fields.rest("list of superblock options")?)?;
        Ok(Self {
            id,
            parent,
            superblock,
            root: unescape(root).into(),
            mount_point: unescape(mount_point).into(),
            read_only,
            superblock_read_only,
            fs_type: fs_type.to_string_lossy().into_owned(),
            source: unescape(source),
        })
    }

    /// Whether the whole filesystem is mounted here, not only a part of it.
    pub fn is_whole(&self) -> bool {
        self.root.as_os_str() == "/"
    }
}

/// What is left of a line. Fields are parted by exactly one space, since an empty source leaves two in a row.
struct Fields<'a>(Option<&'a [u8]>);

impl<'a> Fields<'a> {
    fn next(&mut self, field: &'static str) -> Result<&'a [u8], LineProblem> {
        let rest = self.rest(field)?;
        match rest.iter().position(|&byte| byte == b' ') {
            Some(space) => {
                self.0 = Some(&rest[space + 1..]);
                Ok(&rest[..space])
            }
            None => {
                self.0 = None;
                Ok(rest)
            }
        }
    }

    fn rest(&self, field: &'static str) -> Result<&'a [u8], LineProblem> {
        self.0.ok_or(LineProblem::Missing { field })
    }
}

/// A number of the kernel's.
fn number(field: &'static str, text: &[u8]) -> Result<u32, LineProblem> {
    decimal(text).ok_or_else(|| LineProblem::field(field, text, "a number"))
}

/// `MAJOR:MINOR`
pub(crate) fn device_number(text: &[u8]) -> Result<Superblock, LineProblem> {
    let mut halves = text.splitn(2, |&byte| byte == b':').map(decimal);
    match (halves.next().flatten(), halves.next().flatten()) {
        (Some(major), Some(minor)) => Ok(Superblock { major, minor }),
        _ => Err(LineProblem::field("device number", text, "MAJOR:MINOR")),
    }
}

/// Digits only: `u32::from_str` would take a sign as well.
fn decimal(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Both lists of options begin with `ro` or `rw` (`show_mountinfo` in fs/proc_namespace.c); what follows is the
/// driver's, and says nothing certain.
fn read_only(field: &'static str, options: &[u8]) -> Result<bool, LineProblem> {
    match options.split(|&byte| byte == b',').next() {
        Some(b"ro") => Ok(true),
        Some(b"rw") => Ok(false),
        _ => Err(LineProblem::field(field, options, "one that begins with ro or rw")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    use proptest::prelude::*;

    use super::*;
    use crate::escape::tests::escape;

    const LINE: &str =
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root ro,errors=continue";

    /// Writes a line as the kernel does.
    fn encode(mount: &Mount, optional: &[String]) -> Vec<u8> {
        let mode = |read_only| if read_only { "ro" } else { "rw" };
        let head = format!("{} {} {}", mount.id, mount.parent, mount.superblock);
        let options = format!("{},relatime", mode(mount.read_only));
        let mut fields = vec![
            head.into_bytes(),
            escape(mount.root.as_os_str().as_bytes()),
            escape(mount.mount_point.as_os_str().as_bytes()),
            options.into_bytes(),
        ];
        fields.extend(optional.iter().map(|field| field.clone().into_bytes()));
        fields.push(b"-".to_vec());
        fields.push(escape(mount.fs_type.as_bytes()));
        fields.push(escape(mount.source.as_bytes()));
        fields.push(format!("{},data=ordered", mode(mount.superblock_read_only)).into_bytes());
        fields.join(&b' ')
    }

    fn problem(line: &str) -> String {
        Mount::parse(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn every_field_of_the_man_pages_example_is_read() {
        let mount = Mount::parse(LINE.as_bytes()).unwrap();
        let expected = Mount {
            id: 36,
            parent: 35,
            superblock: Superblock { major: 98, minor: 0 },
            root: "/mnt1".into(),
            mount_point: "/mnt2".into(),
            read_only: false,
            superblock_read_only: true,
            fs_type: "ext3".into(),
            source: "/dev/root".into(),
        };
        assert_eq!(mount, expected);
        assert!(!mount.is_whole());
    }

    #[test]
    fn an_empty_source_is_a_field_of_its_own() {
        let mount = Mount::parse(b"36 35 0:50 / /x rw - tmpfs  rw,size=4k").unwrap();
        assert_eq!((mount.source.as_bytes(), mount.superblock_read_only), (&b""[..], false));
    }

    #[test]
    fn the_options_of_a_driver_may_contain_anything() {
        let mount = Mount::parse(b"36 35 0:50 / /x rw - cifs //h/s rw,user=a - b,ro").unwrap();
        assert!(!mount.superblock_read_only);
    }

    #[test]
    fn a_line_that_ends_early_names_the_field_that_is_missing() {
        let fields: Vec<&str> = LINE.split(' ').collect();
        for length in 1..fields.len() {
            let text = problem(&fields[..length].join(" "));
            assert!(text.ends_with(" is missing"), "{length} fields: {text}");
        }
        assert_eq!(problem(&fields[..7].join(" ")), "the separator is missing");
    }

    #[test]
    fn a_field_that_is_wrong_is_quoted() {
        assert_eq!(problem(""), "the mount id is \"\", not a number");
        assert_eq!(problem("+6 35 98:0 / / rw - a b rw"), "the mount id is \"+6\", not a number");
        assert_eq!(problem("6 35 98 / / rw - a b rw"), "the device number is \"98\", not MAJOR:MINOR");
        assert_eq!(problem("6 35 9:8:7 / / rw - a b rw"), "the device number is \"9:8:7\", not MAJOR:MINOR");
        assert_eq!(problem("6 35 9:8 / x rw - a b rw"), "the mount point is \"x\", not an absolute path");
        let options = "the list of superblock options is \"nodev\", not one that begins with ro or rw";
        assert_eq!(problem("6 35 9:8 / / rw - a b nodev"), options);
    }

    fn mounts() -> impl Strategy<Value = Mount> {
        let path = prop::collection::vec(any::<u8>(), 0..40);
        (any::<[u32; 4]>(), any::<[bool; 2]>(), "[a-z0-9.#]{1,12}", [path.clone(), path.clone(), path])
            .prop_map(
                |(
                    [id, parent, major, minor],
                    [read_only, superblock_read_only],
                    fs_type,
                    [root, point, source],
                )| {
                    let absolute = |path: Vec<u8>| OsString::from_vec([b"/", &path[..]].concat()).into();
                    Mount {
                        id,
                        parent,
                        superblock: Superblock { major, minor },
                        root: absolute(root),
                        mount_point: absolute(point),
                        read_only,
                        superblock_read_only,
                        fs_type,
                        source: OsString::from_vec(source),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            mount in mounts(),
            optional in prop::collection::vec("(shared|master|propagate_from|unbindable):[0-9]{1,3}", 0..3),
        ) {
            prop_assert_eq!(Mount::parse(&encode(&mount, &optional)), Ok(mount));
        }

        #[test]
        fn no_line_makes_it_panic(line: Vec<u8>) {
            let _unpanicked = Mount::parse(&line);
        }

        #[test]
        fn no_damaged_line_makes_it_panic(at in 0..LINE.len(), byte: u8, cut in 0..LINE.len()) {
            let mut line = LINE.as_bytes().to_vec();
            line[at] = byte;
            line.truncate(cut);
            let _unpanicked = Mount::parse(&line);
        }
    }
}
