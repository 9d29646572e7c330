//! How AWS is reached: region, credentials and instance id from the settings, the environment, or IMDSv2.

use std::time::Duration;

use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig, imds};
use aws_sdk_ssm::config::SharedHttpClient;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use quiesced_core::problem::Problem;

use crate::config::AwsSettings;

const CALL_LIMIT: Duration = Duration::from_secs(15);

fn http() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// What a client is made of. It tries nothing twice: whoever calls knows how much time there is.
pub async fn config(settings: &AwsSettings) -> SdkConfig {
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(CALL_LIMIT).build());
    if let Some(region) = &settings.region {
        config = config.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    config.load().await
}

/// The id of this host.
///
/// # Errors
/// When neither the settings nor the metadata service tell it.
pub async fn instance_id(settings: &AwsSettings) -> Result<String, Problem> {
    if let Some(instance) = &settings.instance_id {
        return Ok(instance.clone());
    }
    let provider = ProviderConfig::without_region().with_http_client(http());
    let imds = imds::Client::builder().configure(&provider).max_attempts(1).build();
    let id = imds.get("/latest/meta-data/instance-id").await.map_err(|error| {
        Problem::from_error(&error)
            .within("this host's instance id cannot be asked from its metadata service")
            .with_hint(Some("name `instance_id` and `region` in the [aws] table"))
    })?;
    Ok(id.as_ref().to_owned())
}
