//! The configuration as an operator meets it: files in, settings or errors out.

// The lint is off in test functions by clippy.toml, but not in what they share.
#![allow(clippy::unwrap_used)]

mod support;

mod errors;
mod merging;
mod properties;
mod published;
mod rules;
mod trust;
