//! `[report.webhook]`: posts each report to a lifecycle coordinator of the user's own.
//!
//! | header | what it is |
//! | --- | --- |
//! | `Idempotency-Key` | the same whenever the same report comes again |
//! | `Quiesced-Signature` | `t=SECONDS,v1=HEX`: HMAC-SHA256 with the shared secret over `SECONDS.BODY` |
//!
//! 2xx has taken it. 408, 425, 429 and 5xx, and everything that goes wrong on the way, are tried again; any other answer, a
//! redirect among them, is final: to follow one would hand the report to whoever it names.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hmac::digest::InvalidLength;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;

use quiesced_core::problem::Problem;
use quiesced_hooks::server::{Secret, client_config, client_config_of_system};

use super::{Sink, Undelivered};
use crate::config::WebhookSettings;

/// The header that proves who sent it, and when.
pub const SIGNATURE: &str = "Quiesced-Signature";

/// A client that is ready to post.
#[derive(Debug)]
pub struct Webhook {
    settings: WebhookSettings,
    secret: Secret,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Webhook {
    /// Reads the secret and the authorities' certificates.
    ///
    /// # Errors
    /// When either cannot be read.
    pub async fn open(settings: &WebhookSettings) -> Result<Self, Problem> {
        let secret = settings.secret.read_aside().await;
        let secret = secret.map_err(|error| Problem::from_error(&error).with_hint(Some(error.hint())))?;
        let tls = match settings.ca.as_deref() {
            Some(ca) => client_config(Some(ca)),
            None => client_config_of_system(),
        };
        let tls = tls.map_err(|error| Problem::from_error(&error).with_hint(error.hint()))?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { settings: settings.clone(), secret, client })
    }

    async fn post(&self, key: &str, report: &[u8]) -> Result<(StatusCode, HeaderMap), Problem> {
        let failed = |error: &dyn std::error::Error| self.problem(Problem::from_error(error));
        let request = Request::post(&self.settings.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("quiesced/", env!("CARGO_PKG_VERSION")))
            .header("Idempotency-Key", key)
            .header(SIGNATURE, sign(&self.secret, now(), report).map_err(|error| failed(&error))?)
            .body(Full::new(Bytes::copy_from_slice(report)))
            .map_err(|error| failed(&error))?;
        // The body of the answer tells nothing that its code does not, and may be endless.
        let answer = self.client.request(request).await.map_err(|error| failed(&error))?;
        let (head, _) = answer.into_parts();
        Ok((head.status, head.headers))
    }

    fn problem(&self, cause: Problem) -> Problem {
        let hint = format!("try it by hand: curl -v -X POST {}", self.settings.url);
        cause.within(format!("the webhook {} cannot be called", self.settings.url)).with_hint(Some(hint))
    }
}

#[async_trait]
impl Sink for Webhook {
    async fn deliver(&mut self, key: &str, report: &[u8]) -> Result<(), Undelivered> {
        let limit = self.settings.timeout;
        let late = || {
            let cause = Problem::new(format!("no answer within {}", humantime::format_duration(limit)));
            Undelivered::Later { problem: self.problem(cause), after: None }
        };
        let posted = tokio::time::timeout(limit, self.post(key, report)).await.map_err(|_| late())?;
        let (status, headers) = posted.map_err(|problem| Undelivered::Later { problem, after: None })?;
        if status.is_success() {
            return Ok(());
        }
        let problem = self.problem(Problem::new(format!("it answered {status}")));
        let is_passing = matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error();
        Err(if is_passing {
            Undelivered::Later { problem, after: retry_after(&headers) }
        } else {
            Undelivered::Never(problem)
        })
    }
}

/// RFC 9110, 10.2.3; only the form in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[expect(clippy::disallowed_methods, reason = "whoever checks the signature has no other clock of ours")]
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time is part of what is signed, so that an old message cannot be sent again as a new one.
fn sign(secret: &Secret, seconds: u64, body: &[u8]) -> Result<String, InvalidLength> {
    let mut mac = <Hmac<Sha256>>::new_from_slice(secret.expose().as_bytes())?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let code = mac.finalize().into_bytes();
    let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("t={seconds},v1={hex}"))
}
