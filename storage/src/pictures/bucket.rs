//! A bucket of an object store that speaks S3.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use rustls::RootCertStore;
use rustls::crypto::ring;

use crate::error::StoreError;

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request may take, its answer too.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Connections that wait for a next request.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// How often a request is repeated that failed by the way.
const RETRIES_MAX: usize = 2;

/// Which bucket, and as whom.
#[derive(Clone)]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// Where the store is, as `https://host[:port]`; empty: Amazon's, in the region.
    pub endpoint: String,
    /// The region, such as `eu-central-1`.
    pub region: String,
    /// The name of the access key.
    pub access_key_id: String,
    /// The access key.
    pub secret_key: String,
}

impl fmt::Debug for BucketConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketConfig({} at {:?}, hidden)", self.bucket, self.endpoint)
    }
}

impl BucketConfig {
    pub(super) fn open(&self) -> Result<AmazonS3, StoreError> {
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(1),
                base: 2.,
            },
            max_retries: RETRIES_MAX,
            retry_timeout: REQUEST_TIMEOUT,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(&self.secret_key)
            .with_retry(retry)
            .with_http_connector(Connector);
        if !self.endpoint.is_empty() {
            // Stores of one's own seldom have a name for each bucket.
            builder = builder
                .with_endpoint(&self.endpoint)
                .with_virtual_hosted_style_request(false)
                .with_allow_http(self.endpoint.starts_with("http://"));
        }
        builder.build().map_err(|error| {
            StoreError::Misconfigured(format!("the bucket {} cannot be used for pictures: {error}", self.bucket))
        })
    }
}

/// Connects with the same TLS, and the same authorities, as everything else here.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic { store: "S3", source };
        let authorities = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(error.into()))?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // A store answers itself; whoever sends elsewhere would be given the bytes.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()
            .map_err(|error| failed(error.into()))?;
        Ok(HttpClient::new(client))
    }
}
