//! Certificates and TLS for both transports.

use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use panda_access::FleetSecret;
use ring::digest;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ConfigBuilder, ServerConfig, WantsVerifier};

use super::quic::small_keys;
use super::tickets::FleetTickets;

/// Session tickets that a client gets after each handshake: one suffices to come back once, and the
/// next handshake brings the next.
const TICKETS_SENT: usize = 1;

/// The largest file that is read as a certificate chain or key.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

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
    /// [`TlsError::File`], and [`TlsError::Unusable`] if they do not go together.
    pub fn from_pem_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(chain, error))?;
        if certificates.is_empty() {
            return Err(failed(chain, "there is no certificate in this file"));
        }
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
            .map_err(|error| failed(key, format_args!("there is no private key in this file: {error}")))?;
        let identity = Self { chain: certificates, key: secret };
        // Found out now and not by the first client.
        identity.https()?;
        Ok(identity)
    }

    /// The certificate for development in `folder`, made at the first call: self-signed, for
    /// `localhost`, `127.0.0.1` and `::1`, its key readable by its owner only.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn development(folder: &Path) -> Result<Self, TlsError> {
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        // The certificate is written last: where there is one, its key is whole.
        if !chain.try_exists().map_err(|error| failed(&chain, error))? {
            let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&chain, error))?;
            write_whole(&key, &made.signing_key.serialize_pem(), 0o600).map_err(|error| failed(&key, error))?;
            write_whole(&chain, &made.cert.pem(), 0o600).map_err(|error| failed(&chain, error))?;
        }
        Self::from_pem_files(&chain, &key)
    }

    /// SHA-256 of the first certificate's DER bytes in hexadecimal: what clients pin.
    pub fn fingerprint(&self) -> String {
        let first = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        digest::digest(&digest::SHA256, first).as_ref().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String never fails");
            text
        })
    }

    /// The configuration of HTTPS and secure WebSocket.
    ///
    /// # Errors
    /// [`TlsError::Unusable`].
    pub fn https_config(&self, fleet: &FleetSecret) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.https()?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // For `TlsStream`, which takes connections over; nothing else gets at a secret by it.
        config.enable_secret_extraction = true;
        config.ticketer = Arc::new(FleetTickets::new(fleet, b"https", Arc::clone(&config.time_provider)));
        Ok(Arc::new(config))
    }

    fn https(&self) -> Result<ServerConfig, rustls::Error> {
        self.finish(builder(Arc::new(default_provider())).with_safe_default_protocol_versions()?)
    }

    /// The configuration of QUIC: TLS 1.3 and Panda's ALPN.
    pub(super) fn quic_config(&self, fleet: &FleetSecret) -> Result<ServerConfig, rustls::Error> {
        let mut config = self.finish(builder(small_keys()).with_protocol_versions(&[&rustls::version::TLS13])?)?;
        config.alpn_protocols = vec![b"panda/1".to_vec()];
        config.ticketer = Arc::new(FleetTickets::new(fleet, b"quic", Arc::clone(&config.time_provider)));
        // Early data would need a memory of the tickets used; resuming saves the certificate anyway.
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn finish(&self, builder: ConfigBuilder<ServerConfig, WantsVerifier>) -> Result<ServerConfig, rustls::Error> {
        let mut config = builder.with_no_client_auth().with_single_cert(self.chain.clone(), self.key.clone_key())?;
        // Tickets carry all there is to remember.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS_SENT;
        config.ignore_client_order = true;
        Ok(config)
    }
}

/// The suite with SHA-256 comes first, whatever a client would like most: a handshake is some 40 hashes, and with
/// SHA-384, which processors do not help with, they take a tenth of all its time. Who cannot speak it gets another.
fn builder(provider: Arc<CryptoProvider>) -> ConfigBuilder<ServerConfig, rustls::WantsVersions> {
    let mut provider = Arc::unwrap_or_clone(provider);
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    ServerConfig::builder_with_provider(Arc::new(provider))
}

fn failed(path: &Path, reason: impl fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), reason: reason.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let found = fs::metadata(path).map_err(|error| failed(path, error))?;
    if found.len() > FILE_BYTES_MAX {
        return Err(failed(path, "this is too large to be a certificate or a key"));
    }
    fs::read(path).map_err(|error| failed(path, error))
}

/// Writes beside and renames: a crash leaves a whole file or none.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let partial = path.with_extension("partial");
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::File::open(folder)?.sync_all()
}
