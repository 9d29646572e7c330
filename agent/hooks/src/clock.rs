//! The boot clock.

use nix::time::{ClockId, clock_gettime};
use quiesced_core::time::BootTime;

/// Reads `CLOCK_BOOTTIME`.
pub fn now() -> BootTime {
    // clock_gettime(2) fails only for a clock that does not exist; this one does since Linux 2.6.39.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(std::time::Duration::ZERO, Into::into);
    BootTime::from_nanos(0) + time
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_runs() {
        let before = super::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(super::now() > before);
    }
}
