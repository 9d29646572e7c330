//! The boot clock and the boot's identity.

use std::io;

use nix::time::{ClockId, clock_gettime};

use quiesced_core::time::BootTime;

/// The present, on the boot clock.
pub fn now() -> BootTime {
    // clock_gettime(2) fails only for an unknown clock or a bad pointer; the epoch then makes every deadline look
    // far away, so the guardian's timer, which the kernel keeps, still ends the lease.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec()).unwrap_or_default();
    BootTime::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The id of this boot, which tells journals of earlier boots apart.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
