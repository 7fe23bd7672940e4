//! Certificates and keys.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use thiserror::Error;

/// Why files do not make TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// Which.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A file has something else in it.
    #[error("{path} has no {wanted} in PEM form")]
    Missing {
        /// Which.
        path: String,
        /// What should be in it.
        wanted: &'static str,
    },
    /// The key is not that of the certificate, or neither can be used.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

/// Reads a certificate chain and its key, in PEM form, for TLS 1.2 and 1.3.
///
/// # Errors
/// [`TlsError`]
pub fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|error| TlsError::Read { path: path.display().to_string(), error })
    };
    let missing =
        |path: &Path, wanted| TlsError::Missing { path: path.display().to_string(), wanted };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate)?).flatten().collect();
    if chain.is_empty() {
        return Err(missing(certificate, "certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| missing(key, "private key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
