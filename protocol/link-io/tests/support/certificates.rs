//! Authorities of a deployment, and what they sign; the tests of both ends read this file.

use panda_link_io::tls::LinkTls;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is a random number");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    /// What edges and routers believe.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a host, and its key.
    pub(crate) fn sign(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("there is a random number");
        let params = CertificateParams::new([host.to_owned()]).expect("a name of a host");
        (params.signed_by(&key, &self.0).expect("it signs").pem(), key.serialize_pem())
    }

    /// A process that this authority knows as `host`, and that believes the same one.
    pub(crate) fn tls(&self, host: &str) -> LinkTls {
        self.tls_that_believes(self, host)
    }

    /// A process that this authority knows, and that believes another one.
    pub(crate) fn tls_that_believes(&self, other: &Self, host: &str) -> LinkTls {
        let (certificate, key) = self.sign(host);
        LinkTls::from_pem(other.pem().as_bytes(), certificate.as_bytes(), key.as_bytes()).expect("they go together")
    }
}
