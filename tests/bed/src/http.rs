//! Just enough of HTTP/1.1 for servers of our own that look at every byte.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A request that was read to its end.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`
    pub method: String,
    /// `/reports`
    pub path: String,
    /// The headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads one request.
    ///
    /// # Errors
    /// When the client gives up, or speaks something else.
    pub fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let mut lines = stream.by_ref().lines();
        let mut line = move || lines.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let first = line()?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut headers = BTreeMap::new();
        while let Some((name, value)) = line()?.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Self { method, path, headers, body })
    }

    /// A header, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Whether `Quiesced-Signature` is that of this secret over the time that it names and the body.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let signature = self.header("quiesced-signature");
        let Some((time, code)) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")) else {
            return false;
        };
        let signed = [time.as_bytes(), b".", &self.body].concat();
        hex(&hmac_sha256(secret.as_bytes(), &signed)) == code
    }
}

/// RFC 2104
pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    // Keys may have any length.
    let Ok(mut mac) = <Hmac<Sha256>>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
