//! Kernels that are known to misbehave under a freeze. A distribution may have mended its own without another number,
//! so these are warnings.

use std::fs;
use std::path::Path;

use quiesced_core::finding::Finding;
use quiesced_core::plan::Plan;
use quiesced_core::problem::Problem;

type Version = (u32, u32, u32);

/// One defect.
struct Defect {
    /// The first release that has it.
    since: Version,
    /// The first release that has not.
    mended: Version,
    /// Releases of older lines that have not, each for its line.
    mended_too: &'static [Version],
    needs: Needs,
    what: &'static str,
    source: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A target of this type.
    FsType(&'static str),
    /// A process that writes through io_uring.
    IoUring,
}

const DEFECTS: [Defect; 2] = [
    Defect {
        since: (4, 19, 0),
        mended: (5, 7, 0),
        mended_too: &[],
        needs: Needs::FsType("xfs"),
        what: "a freeze of xfs may wait for its own background scan, for ever, and so may the thaw",
        source: "https://bugzilla.kernel.org/show_bug.cgi?id=207053",
    },
    Defect {
        since: (5, 1, 0),
        mended: (6, 12, 0),
        mended_too: &[(5, 10, 229), (5, 15, 171), (6, 1, 116), (6, 6, 60), (6, 11, 7)],
        needs: Needs::IoUring,
        what: "a freeze and a program that writes through io_uring may wait for each other, for ever",
        source: "https://git.kernel.org/linus/1d60d74e8526, https://github.com/flyingcircusio/fc-nixos/pull/586",
    },
];

pub(super) fn look(plan: &Plan, root: &Path) -> Vec<Finding> {
    let release = fs::read_to_string(root.join("proc/sys/kernel/osrelease")).unwrap_or_default();
    let Some(version) = version(release.trim()) else { return Vec::new() };
    let applies = |defect: &&Defect| defect.is_in(version) && is_met(defect.needs, plan, root);
    let finding = |defect: &Defect| {
        let message = format!("Linux {} may have a known defect: {}", release.trim(), defect.what);
        let hint = format!("update the kernel, or make sure that it has the correction: {}", defect.source);
        Finding::warning(Problem::new(message).with_hint(Some(hint)))
    };
    DEFECTS.iter().filter(applies).map(finding).collect()
}

impl Defect {
    fn is_in(&self, version: Version) -> bool {
        let line = |release: &&Version| (release.0, release.1) == (version.0, version.1);
        let is_mended_too = self.mended_too.iter().find(line).is_some_and(|release| version >= *release);
        (self.since..self.mended).contains(&version) && !is_mended_too
    }
}

fn is_met(needs: Needs, plan: &Plan, root: &Path) -> bool {
    match needs {
        Needs::FsType(fs_type) => plan.filesystems.iter().any(|planned| planned.fs_type == fs_type),
        Needs::IoUring => super::holders(root, "anon_inode:[io_uring]").next().is_some(),
    }
}

/// `6.1.119-129.201.amzn2023.x86_64`
fn version(release: &str) -> Option<Version> {
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_in_a_defect_from_its_first_to_before_the_first_that_is_mended() {
        let [xfs, io_uring] = &DEFECTS;
        for (release, in_xfs, in_io_uring) in [
            ("4.14.355-277.643.amzn2.x86_64", false, false),
            ("4.19.0-27-amd64", true, false),
            ("5.4.0-200-generic", true, true),
            ("5.7.0", false, true),
            ("5.15.170", false, true),
            ("5.15.171-111.amzn2", false, false),
            ("6.1.115-126.197.amzn2023.x86_64", false, true),
            ("6.1.119-129.201.amzn2023.x86_64", false, false),
            ("6.12", false, false),
        ] {
            let version = version(release).unwrap();
            assert_eq!((xfs.is_in(version), io_uring.is_in(version)), (in_xfs, in_io_uring), "{release}");
        }
    }

    #[test]
    fn a_defect_is_told_only_where_it_can_be_met() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/sys/kernel/osrelease", "5.15.100\n");
        assert_eq!(look(&Plan::default(), root.path()), []);
        write("proc/812/comm", "mariadbd\n");
        fs::create_dir(root.path().join("proc/812/fd")).unwrap();
        std::os::unix::fs::symlink("anon_inode:[io_uring]", root.path().join("proc/812/fd/7")).unwrap();
        assert_eq!(look(&Plan::default(), root.path()).len(), 1);
    }
}
