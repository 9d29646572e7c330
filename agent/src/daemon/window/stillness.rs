//! Whether the disks stood still from the last freeze to the first thaw.

use quiesced_core::problem::Problem;
use quiesced_freezer::counter::WriteCounter;

/// The write counters of the filesystems of a window, in their order.
#[derive(Debug)]
pub struct Stillness {
    counters: Vec<Option<WriteCounter>>,
    /// What they showed when everything was frozen; none before, and none after they were compared.
    before: Option<Vec<Option<u64>>>,
}

impl Stillness {
    /// Of filesystems without a counter nothing is known.
    pub const fn new(counters: Vec<Option<WriteCounter>>) -> Self {
        Self { counters, before: None }
    }

    /// Everything is frozen.
    pub(super) fn begin(&mut self) {
        self.before = Some(self.read());
    }

    /// Everything is about to be thawed: what was written meanwhile to the filesystem of each name, in their order.
    pub(super) fn end<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Vec<Option<Problem>> {
        let Some(before) = self.before.take() else { return Vec::new() };
        let moved = |((before, now), name): ((Option<u64>, Option<u64>), &str)| {
            let sectors = now?.wrapping_sub(before?);
            (sectors != 0).then(|| problem(name, sectors))
        };
        before.into_iter().zip(self.read()).zip(names).map(moved).collect()
    }

    fn read(&self) -> Vec<Option<u64>> {
        self.counters.iter().map(|counter| counter.as_ref()?.sectors().ok()).collect()
    }
}

fn problem(name: &str, sectors: u64) -> Problem {
    Problem::new(format!(
        "{sectors} sector(s) were written to the device of {name} while it was frozen, past the filesystem"
    ))
    .with_hint(Some(format!("find out who has the device open: fuser -v $(findmnt -no SOURCE {name})")))
}
