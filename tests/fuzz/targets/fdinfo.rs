//! What `/proc/PID/fdinfo` says of a fanotify listener.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quiesced::preflight::fanotify;

fuzz_target!(|fdinfo: &[u8]| {
    let _asks = fanotify::asks(&String::from_utf8_lossy(fdinfo));
});
