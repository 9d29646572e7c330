//! What can go wrong while the kernel's tables are read.

use std::io;
use std::path::PathBuf;

/// Why the topology of this host is not known.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A table cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The table.
        path: PathBuf,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// A table was different each time it was read.
    #[error("{} changed every time it was read ({reads} times in a row)", path.display())]
    Unsettled {
        /// The table.
        path: PathBuf,
        /// How often it was read.
        reads: usize,
    },
    /// A line of a table is not what its man page describes.
    #[error("cannot understand line {} of {}", bad.number, path.display())]
    Malformed {
        /// The table.
        path: PathBuf,
        /// The line, and what is wrong with it.
        #[source]
        bad: BadLine,
    },
}

impl TopologyError {
    /// What to run or to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("look at it with `cat {}`, as root", path.display()),
            Self::Unsettled { .. } => {
                "something mounts and unmounts without pause; find it with `findmnt --poll`".to_owned()
            }
            Self::Malformed { path, bad } => {
                format!("show the line with `sed -n {}p {}`", bad.number, path.display())
            }
        }
    }
}

/// A line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadLine {
    /// Its number, from 1.
    pub number: usize,
    /// What is wrong with it.
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// The line ends too early.
    #[error("the {field} is missing")]
    Missing {
        /// The field that should come next.
        field: &'static str,
    },
    /// A field is not what it should be.
    #[error("the {field} is {found:?}, not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stands there, shortened.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// Two mounts claim the same id.
    #[error("the mount id {id} stands on an earlier line already")]
    DuplicateId {
        /// The id.
        id: u32,
    },
}

impl LineProblem {
    /// A field that is not what it should be; what stands there may be long, or no text at all.
    pub(crate) fn field(field: &'static str, found: &[u8], expected: &'static str) -> Self {
        let found = String::from_utf8_lossy(found).chars().take(80).collect();
        Self::Field { field, found, expected }
    }
}
