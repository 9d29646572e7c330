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

    /// Everything is about to be thawed: how many sectors were written meanwhile to each filesystem, in their order.
    pub(super) fn end(&mut self) -> Vec<Option<u64>> {
        let Some(before) = self.before.take() else { return Vec::new() };
        let moved = |(before, now): (Option<u64>, Option<u64>)| Some(now?.wrapping_sub(before?));
        before.into_iter().zip(self.read()).map(moved).collect()
    }

    fn read(&self) -> Vec<Option<u64>> {
        self.counters.iter().map(|counter| counter.as_ref()?.sectors().ok()).collect()
    }
}

/// What a write past a frozen filesystem means.
pub(super) fn problem(name: &str, sectors: u64) -> Problem {
    Problem::new(format!(
        "{sectors} sector(s) were written to the device of {name} while it was frozen, past the filesystem"
    ))
    .with_hint(Some(format!("find out who has the device open: fuser -v $(findmnt -no SOURCE {name})")))
}
