//! Certificates and TLS for both transports.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use panda_access::FleetSecret;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain with its key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or made.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("the certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

impl Identity {
    /// Reads a certificate chain and its key from PEM files.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let _ = (chain, key);
        Err(TlsError::Unusable(rustls::Error::NoCertificatesPresented))
    }

    /// The certificate for development in `folder`, made at the first call: self-signed, for
    /// `localhost`, `127.0.0.1` and `::1`, its key readable by its owner only.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn development(folder: &Path) -> Result<Self, TlsError> {
        let _ = folder;
        Err(TlsError::Unusable(rustls::Error::NoCertificatesPresented))
    }

    /// SHA-256 of the first certificate's DER bytes in hexadecimal: what clients pin.
    pub fn fingerprint(&self) -> String {
        String::new()
    }

    /// The configuration of HTTPS and secure WebSocket.
    ///
    /// # Errors
    /// [`TlsError::Unusable`].
    pub fn https_config(&self, fleet: &FleetSecret) -> Result<Arc<ServerConfig>, TlsError> {
        let _ = (fleet, &self.chain, &self.key);
        Err(TlsError::Unusable(rustls::Error::NoCertificatesPresented))
    }
}
