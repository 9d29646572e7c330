//! Passwords that are kept in a store of parameters. Which store that is, and how it is asked, is not the hooks' to know.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

/// A store of named secrets.
#[async_trait]
pub trait ParameterStore: Debug + Send + Sync {
    /// The value of a parameter, decrypted. Asked while a session is prepared; what is asked for again inside the window
    /// must come from memory.
    ///
    /// # Errors
    /// When it cannot be had.
    async fn get(&self, name: &str) -> Result<String, ParameterError>;
}

/// Why a parameter cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ParameterError {
    /// One sentence.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

static STORE: OnceLock<Arc<dyn ParameterStore>> = OnceLock::new();

/// Sets the store of this process. The first one stays.
pub fn set_parameter_store(store: Arc<dyn ParameterStore>) {
    // Only tests come a second time, with the same one.
    drop(STORE.set(store));
}

pub(super) async fn get(name: &str) -> Result<String, ParameterError> {
    match STORE.get() {
        Some(store) => store.get(name).await,
        None => Err(ParameterError {
            why: "this process has no store of parameters".to_owned(),
            hint: "name a `file` or a `credential` instead".to_owned(),
        }),
    }
}
