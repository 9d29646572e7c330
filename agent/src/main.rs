//! The `quiesced` binary.
fn main() {}
