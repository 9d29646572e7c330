//! Tests that need root say so, and never pass silently without it.

use nix::unistd::geteuid;

/// Whether this process is root. A test that needs it returns at once when this is false.
///
/// `QUIESCED_WITHOUT_ROOT=1` is the explicit permission to leave out what needs root; the reason is printed then.
///
/// # Panics
/// Without root and without that permission.
#[must_use]
pub fn require_root(what: &str) -> bool {
    if geteuid().is_root() {
        return true;
    }
    let permitted = std::env::var_os("QUIESCED_WITHOUT_ROOT").is_some_and(|value| value == "1");
    assert!(permitted, "{what} needs root; run it as root, or set QUIESCED_WITHOUT_ROOT=1 to leave it out");
    eprintln!("could not run: {what} needs root");
    false
}
