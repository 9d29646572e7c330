//! What is mounted at boot, after `/etc/fstab` (fstab(5)).

use std::fs;
use std::path::{Path, PathBuf};

use crate::escape::unescape;

/// The mount points that `<root>/etc/fstab` lists, but for `/` and for those that are not mounted at boot (`noauto`).
/// A host without the file mounts nothing by it, and a line that cannot be understood is left out: mount(8) does not
/// mount it either.
pub fn boot_mounts(root: &Path) -> Vec<PathBuf> {
    parse(&fs::read(root.join("etc/fstab")).unwrap_or_default())
}

fn parse(text: &[u8]) -> Vec<PathBuf> {
    text.split(|&byte| byte == b'\n').filter_map(entry).filter(|point| point != Path::new("/")).collect()
}

/// The mount point of one line.
fn entry(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.next().filter(|device| !device.starts_with(b"#"))?;
    let point = fields.next().filter(|point| point.starts_with(b"/"))?;
    let options = fields.nth(1).unwrap_or_default();
    let is_at_boot = !options.split(|&byte| byte == b',').any(|option| option == b"noauto");
    is_at_boot.then(|| unescape(point).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_boot_mounts_is_listed_without_the_root() {
        let table =
            b"# comment\n/dev/sda1 / ext4 rw 0 1\nUUID=1 /srv/my\\040data\txfs defaults 0 2\n\n/dev/b /b\n\
                      /dev/cd /cd iso9660 ro,noauto\nUUID=2 none swap sw\n";
        assert_eq!(parse(table), [PathBuf::from("/srv/my data"), PathBuf::from("/b")]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: Vec<u8>) {
            let _points = parse(&text);
        }
    }
}
