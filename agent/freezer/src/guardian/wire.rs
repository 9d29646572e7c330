//! The messages between the agent and the guardian: 24 bytes each, one to a packet, encoded without allocating.
//!
//! ```text
//! 0      kind      1..2  target (little endian)      3  outcome class
//! 4..8   errno or rank                               8..16  a, 16..24  b (nanoseconds, or st_dev)
//! ```

use nix::errno::Errno;

use quiesced_core::time::BootTime;

/// The size of every message.
pub(super) const LENGTH: usize = 24;

/// What the agent tells the guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// One target; its descriptor travels with the message.
    Target { rank: u16, st_dev: u64 },
    /// All targets were sent; the lease ends then.
    Arm { lease_ends: BootTime },
    /// Freeze everything.
    Freeze,
    /// Thaw everything.
    Thaw,
}

/// What the guardian tells the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is ready: memory locked, timer set, a thread waiting for each target.
    Armed,
    /// It could not get ready.
    NotArmed(Errno),
    /// A target's dirty data was written out.
    Synced(Took, Result<(), Errno>),
    /// A target's freeze ended.
    Frozen(Took, Result<(), FreezeFailure>),
    /// Nothing more will come of a target.
    Thawed(Took, ThawEnd),
    /// The lease has ended, and everything is being thawed.
    LeaseEnded,
}

/// Which target a report is about, and when it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Took {
    /// The position of the target among those that were armed.
    pub target: u16,
    /// When the call was made.
    pub began: BootTime,
    /// When it returned.
    pub ended: BootTime,
}

/// Why a target is not frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FreezeFailure {
    /// Somebody else has frozen it; it is not ours to thaw.
    #[error("it is already frozen by somebody else")]
    HeldByOther,
    /// The descriptor leads to another filesystem than when it was opened.
    #[error("another filesystem has taken its place")]
    Changed,
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Refused(Errno),
}

/// How the guardian is done with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThawEnd {
    /// It was thawed.
    Thawed,
    /// It was never frozen by us.
    NeverFrozen,
    /// We had frozen it, and somebody else has thawed it.
    ThawedByOther,
    /// It could not be thawed.
    Failed(Errno),
}

const NONE: u8 = 0;
const DONE: u8 = 1;
const FAILED: u8 = 2;
const CHANGED: u8 = 3;
const BY_OTHER: u8 = 4;

fn pack(kind: u8, target: u16, class: u8, number: i32, a: u64, b: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = kind;
    bytes[1..3].copy_from_slice(&target.to_le_bytes());
    bytes[3] = class;
    bytes[4..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..16].copy_from_slice(&a.to_le_bytes());
    bytes[16..24].copy_from_slice(&b.to_le_bytes());
    bytes
}

struct Unpacked {
    kind: u8,
    target: u16,
    class: u8,
    number: i32,
    a: u64,
    b: u64,
}

fn unpack(bytes: &[u8]) -> Option<Unpacked> {
    let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
    let word = |from: usize| Some(u64::from_le_bytes(bytes[from..from + 8].try_into().ok()?));
    Some(Unpacked {
        kind: bytes[0],
        target: u16::from_le_bytes([bytes[1], bytes[2]]),
        class: bytes[3],
        number: i32::from_le_bytes(bytes[4..8].try_into().ok()?),
        a: word(8)?,
        b: word(16)?,
    })
}

impl Command {
    pub(super) fn encode(self) -> [u8; LENGTH] {
        match self {
            Self::Target { rank, st_dev } => pack(1, 0, NONE, i32::from(rank), st_dev, 0),
            Self::Arm { lease_ends } => pack(2, 0, NONE, 0, lease_ends.as_nanos(), 0),
            Self::Freeze => pack(3, 0, NONE, 0, 0, 0),
            Self::Thaw => pack(4, 0, NONE, 0, 0, 0),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let message = unpack(bytes)?;
        match message.kind {
            1 => Some(Self::Target { rank: u16::try_from(message.number).ok()?, st_dev: message.a }),
            2 => Some(Self::Arm { lease_ends: BootTime::from_nanos(message.a) }),
            3 => Some(Self::Freeze),
            4 => Some(Self::Thaw),
            _ => None,
        }
    }
}

impl Report {
    pub(super) fn encode(self) -> [u8; LENGTH] {
        let about = |kind, took: Took, class, number| {
            pack(kind, took.target, class, number, took.began.as_nanos(), took.ended.as_nanos())
        };
        match self {
            Self::Armed => pack(16, 0, NONE, 0, 0, 0),
            Self::NotArmed(errno) => pack(17, 0, FAILED, errno as i32, 0, 0),
            Self::Synced(took, Ok(())) => about(18, took, DONE, 0),
            Self::Synced(took, Err(errno)) => about(18, took, FAILED, errno as i32),
            Self::Frozen(took, Ok(())) => about(19, took, DONE, 0),
            Self::Frozen(took, Err(FreezeFailure::HeldByOther)) => about(19, took, BY_OTHER, 0),
            Self::Frozen(took, Err(FreezeFailure::Changed)) => about(19, took, CHANGED, 0),
            Self::Frozen(took, Err(FreezeFailure::Refused(errno))) => about(19, took, FAILED, errno as i32),
            Self::Thawed(took, ThawEnd::Thawed) => about(20, took, DONE, 0),
            Self::Thawed(took, ThawEnd::NeverFrozen) => about(20, took, NONE, 0),
            Self::Thawed(took, ThawEnd::ThawedByOther) => about(20, took, BY_OTHER, 0),
            Self::Thawed(took, ThawEnd::Failed(errno)) => about(20, took, FAILED, errno as i32),
            Self::LeaseEnded => pack(21, 0, NONE, 0, 0, 0),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let message = unpack(bytes)?;
        let errno = Errno::from_raw(message.number);
        let took = Took {
            target: message.target,
            began: BootTime::from_nanos(message.a),
            ended: BootTime::from_nanos(message.b),
        };
        Some(match (message.kind, message.class) {
            (16, NONE) => Self::Armed,
            (17, FAILED) => Self::NotArmed(errno),
            (18, DONE) => Self::Synced(took, Ok(())),
            (18, FAILED) => Self::Synced(took, Err(errno)),
            (19, DONE) => Self::Frozen(took, Ok(())),
            (19, BY_OTHER) => Self::Frozen(took, Err(FreezeFailure::HeldByOther)),
            (19, CHANGED) => Self::Frozen(took, Err(FreezeFailure::Changed)),
            (19, FAILED) => Self::Frozen(took, Err(FreezeFailure::Refused(errno))),
            (20, DONE) => Self::Thawed(took, ThawEnd::Thawed),
            (20, NONE) => Self::Thawed(took, ThawEnd::NeverFrozen),
            (20, BY_OTHER) => Self::Thawed(took, ThawEnd::ThawedByOther),
            (20, FAILED) => Self::Thawed(took, ThawEnd::Failed(errno)),
            (21, NONE) => Self::LeaseEnded,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn took() -> impl Strategy<Value = Took> {
        (any::<u16>(), any::<u64>(), any::<u64>()).prop_map(|(target, began, ended)| Took {
            target,
            began: BootTime::from_nanos(began),
            ended: BootTime::from_nanos(ended),
        })
    }

    fn errno() -> impl Strategy<Value = Errno> {
        prop::sample::select(vec![Errno::EIO, Errno::EPERM, Errno::EOPNOTSUPP])
    }

    fn reports() -> impl Strategy<Value = Report> {
        let failures = prop_oneof![
            Just(FreezeFailure::HeldByOther),
            Just(FreezeFailure::Changed),
            errno().prop_map(FreezeFailure::Refused)
        ];
        let ends = prop_oneof![
            Just(ThawEnd::Thawed),
            Just(ThawEnd::NeverFrozen),
            Just(ThawEnd::ThawedByOther),
            errno().prop_map(ThawEnd::Failed)
        ];
        prop_oneof![
            Just(Report::Armed),
            Just(Report::LeaseEnded),
            errno().prop_map(Report::NotArmed),
            (took(), prop::result::maybe_err(Just(()), errno()))
                .prop_map(|(took, end)| Report::Synced(took, end)),
            (took(), prop::result::maybe_err(Just(()), failures))
                .prop_map(|(took, end)| Report::Frozen(took, end)),
            (took(), ends).prop_map(|(took, end)| Report::Thawed(took, end)),
        ]
    }

    fn commands() -> impl Strategy<Value = Command> {
        prop_oneof![
            (any::<u16>(), any::<u64>()).prop_map(|(rank, st_dev)| Command::Target { rank, st_dev }),
            any::<u64>().prop_map(|nanos| Command::Arm { lease_ends: BootTime::from_nanos(nanos) }),
            Just(Command::Freeze),
            Just(Command::Thaw),
        ]
    }

    proptest! {
        #[test]
        fn every_report_arrives_as_it_was_sent(report in reports()) {
            prop_assert_eq!(Report::decode(&report.encode()), Some(report));
        }

        #[test]
        fn every_command_arrives_as_it_was_sent(command in commands()) {
            prop_assert_eq!(Command::decode(&command.encode()), Some(command));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Report::decode(&bytes), Command::decode(&bytes));
        }
    }
}
