//! Parameter Store: passwords for hooks and sinks, read over the network while a session is prepared, and kept in memory for
//! as long as it lasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata;

use quiesced_core::problem::Problem;
use quiesced_hooks::server::{ParameterError, ParameterStore, set_parameter_store};

use crate::aws;
use crate::config::AwsSettings;

#[derive(Debug, Default)]
struct Parameters {
    settings: Mutex<AwsSettings>,
    known: Mutex<Known>,
}

/// Values that were read.
#[derive(Default)]
struct Known(HashMap<String, String>);

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({} parameters)", self.0.len())
    }
}

static PARAMETERS: OnceLock<Arc<Parameters>> = OnceLock::new();

fn parameters() -> &'static Arc<Parameters> {
    PARAMETERS.get_or_init(|| {
        let parameters = Arc::new(Parameters::default());
        set_parameter_store(Arc::clone(&parameters) as Arc<dyn ParameterStore>);
        parameters
    })
}

/// From now on parameters are asked for as these settings say, and hooks can have them.
pub fn configure(settings: &AwsSettings) {
    settings.clone_into(&mut parameters().settings.lock().unwrap_or_else(PoisonError::into_inner));
    forget();
}

/// Forgets what was read: a session begins, and somebody may have changed a password since.
pub fn forget() {
    parameters().known.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
}

#[async_trait]
impl ParameterStore for Parameters {
    async fn get(&self, name: &str) -> Result<String, ParameterError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known().0.get(name) {
            return Ok(value.clone());
        }
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = Client::new(&aws::config(&settings).await);
        let answer = client.get_parameter().name(name).with_decryption(true).send().await;
        // Not the SDK's own `DisplayErrorContext`, which shows the whole answer, and with it the secret.
        let answer =
            answer.map_err(|error| refused(name, error.code(), &Problem::from_error(&error).to_string()))?;
        let value = answer.parameter.and_then(|parameter| parameter.value);
        let value = value.ok_or_else(|| refused(name, None, "it has no value"))?;
        known().0.insert(name.to_owned(), value.clone());
        Ok(value)
    }
}

fn refused(name: &str, code: Option<&str>, why: &str) -> ParameterError {
    let hint = match code {
        Some("ParameterNotFound") => {
            format!("aws ssm put-parameter --type SecureString --name {name} --value …")
        }
        Some("AccessDeniedException") => {
            format!(
                "allow ssm:GetParameter for {name}, and kms:Decrypt for its key, to the role of this host"
            )
        }
        _ => "look at `aws sts get-caller-identity` on this host, or set `region` in the [aws] table"
            .to_owned(),
    };
    ParameterError { why: why.to_owned(), hint }
}
