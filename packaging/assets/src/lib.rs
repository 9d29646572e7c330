//! What a package has beside the binary, from the same sources as the binary.
//!
//! ```text
//! command line (clap) ─▶ man/quiesced*.8, completions/
//! schema of the configuration ─▶ man/quiesced.toml.5
//! Cargo.lock ─▶ THIRD-PARTY-LICENSES
//! ```

mod commands;
mod error;
mod licences;
mod settings;

use std::path::Path;

pub use error::AssetError;

/// Writes manual pages, completions and licences into `directory`, which is made if need be.
///
/// # Errors
/// When a file cannot be written, or cargo cannot say what is linked.
pub fn make(directory: &Path) -> Result<(), AssetError> {
    let man = directory.join("man");
    error::create_dir(&man)?;
    commands::write_pages(&man)?;
    error::write(&man.join("quiesced.toml.5"), settings::page().as_bytes())?;
    let completions = directory.join("completions");
    error::create_dir(&completions)?;
    commands::write_completions(&completions)?;
    error::write(&directory.join("THIRD-PARTY-LICENSES"), licences::collect()?.as_bytes())
}
