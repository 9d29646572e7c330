//! TLS to a database server: rustls, and a certificate authority that is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities' certificates cannot be read.
    #[error("the certificates in {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A certificate cannot be used.
    #[error("a certificate in {path} cannot be used")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The library refuses its own defaults.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { path, .. } | Self::Certificate { path, .. } => {
                Some(format!("openssl x509 -in {} -noout -text", path.display()))
            }
            Self::Setup(_) => None,
        }
    }
}

/// A client that trusts the authorities in a PEM file, and nobody when there is none.
///
/// # Errors
/// When the file is none of certificates.
pub fn client_config(authorities: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = authorities {
        let read = |source| TlsError::Read { path: path.to_owned(), source };
        for certificate in CertificateDer::pem_file_iter(path).map_err(read)? {
            let unfit = |source| TlsError::Certificate { path: path.to_owned(), source };
            roots.add(certificate.map_err(read)?).map_err(unfit)?;
        }
    }
    trusting(roots)
}

/// A client that trusts the authorities that the system does. A certificate of theirs that cannot be read is passed over, as
/// everywhere else on the host.
///
/// # Errors
/// When TLS cannot be set up at all.
pub fn client_config_of_system() -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    // Named, because a process that links two providers has no default one.
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let versions = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").unwrap();
        let error = client_config(Some(&path)).unwrap_err();
        assert!(error.to_string().contains("ca.pem"), "{error}");
        client_config(None).unwrap();
    }
}
