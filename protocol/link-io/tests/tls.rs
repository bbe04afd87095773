//! Links under mutual TLS over a stream in memory.

#[path = "support/certificates.rs"]
mod certificates;

use std::sync::Arc;

use panda_link_io::tls::{LinkTls, LinkTlsError};
use panda_link_io::{LinkEnd, OpenLink, accept, open};
use panda_protocol::link::{LinkId, LinkKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::time::Instant;

use self::certificates::Authority;

const LINK: LinkId = LinkId(7);
const KEY: LinkKey = LinkKey([1; 32]);
const HOST: &str = "router-1.example";
const ADDRESS: &str = "router-1.example:9700";

/// What both ends come to.
async fn both(edge: &LinkTls, router: &LinkTls) -> (Result<u64, LinkEnd>, Result<LinkId, LinkEnd>) {
    let (near, far) = duplex(16_384);
    let edge = async { open(edge.connect(ADDRESS, near).await?, &KEY, LINK).await };
    let router = async { accept(router.accept(far).await?, &[KEY], 9).await };
    let (edge, router) = tokio::join!(edge, router);
    (edge.map(|link: OpenLink<_>| link.router()), router.map(|(link, _)| link))
}

fn is_tls(end: &LinkEnd, what: &str) {
    let said = end.to_string();
    assert!(matches!(end, LinkEnd::Tls(_)) && said.contains(what) && said.contains("links.authorities"), "{end:?}");
}

#[tokio::test]
async fn ends_of_one_authority_open_a_link() {
    let authority = Authority::new();
    let (edge, router) = both(&authority.tls("edge-1.example"), &authority.tls(HOST)).await;
    assert_eq!((edge.expect("it opens"), router.expect("it opens")), (9, LINK));
}

#[tokio::test]
async fn an_end_of_another_authority_is_refused_by_whichever_does_not_know_it() {
    let (ours, other) = (Authority::new(), Authority::new());
    // The router is another's.
    let (edge, router) = both(&ours.tls("edge-1.example"), &other.tls(HOST)).await;
    is_tls(&edge.expect_err("the router is a stranger"), "invalid peer certificate");
    is_tls(&router.expect_err("the edge went away"), "alert");
    // The edge is another's, though it believes the router.
    let (edge, router) = both(&other.tls_that_believes(&ours, "edge-1.example"), &ours.tls(HOST)).await;
    is_tls(&edge.expect_err("it is told"), "alert");
    is_tls(&router.expect_err("the edge is a stranger"), "invalid peer certificate");
}

#[tokio::test]
async fn a_router_whose_certificate_names_another_host_is_refused() {
    let authority = Authority::new();
    let (edge, router) = both(&authority.tls("edge-1.example"), &authority.tls("router-2.example")).await;
    is_tls(&edge.expect_err("it is another host"), "certificate");
    assert!(router.is_err());
}

#[tokio::test]
async fn an_edge_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate")).expect("it is one");
    let nobody = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("there are versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = duplex(16_384);
    let router = authority.tls(HOST);
    let edge = async {
        let host = HOST.try_into().expect("a host");
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(nobody)).connect(host, near).await?;
        stream.read_u8().await
    };
    let (edge, router) = tokio::join!(edge, router.accept(far));
    assert!(edge.is_err());
    is_tls(&router.map(drop).expect_err("nobody came"), "no certificates");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_speaks_in_the_open_is_noticed() {
    let authority = Authority::new();
    let (router, edge) = (authority.tls(HOST), authority.tls("edge-1.example"));
    // A router without TLS speaks first.
    let (near, far) = duplex(16_384);
    let (secure, open_end) = tokio::join!(edge.connect(ADDRESS, near), accept(far, &[KEY], 9));
    is_tls(&secure.map(drop).expect_err("that is no TLS"), "corrupt message");
    assert!(open_end.is_err());
    // An edge without TLS waits for the router, which waits no longer than an opening may take.
    let (near, far) = duplex(16_384);
    let started = Instant::now();
    let (open_end, secure) = tokio::join!(open(near, &KEY, LINK), router.accept(far));
    assert!(matches!(secure.map(drop), Err(LinkEnd::Slow)));
    assert!(open_end.is_err() && started.elapsed().as_secs() == 5);
    // One that sends what is no TLS.
    let (mut near, far) = duplex(16_384);
    near.write_all(&[0; 64]).await.expect("there is room");
    is_tls(&router.accept(far).await.map(drop).expect_err("that is no TLS"), "corrupt message");
}

#[tokio::test]
async fn an_address_that_names_no_host_is_refused() {
    let (near, _far) = duplex(64);
    let refused = Authority::new().tls("edge-1.example").connect("no host:9700", near).await.map(drop);
    is_tls(&refused.expect_err("it is none"), "no host");
}

#[test]
fn files_that_do_not_go_together_are_refused_with_what_is_wrong() {
    let authority = Authority::new();
    let (certificate, key) = authority.sign(HOST);
    let (_, other_key) = authority.sign(HOST);
    let pem = authority.pem();
    let refused = |authorities: &str, certificate: &str, key: &str| {
        LinkTls::from_pem(authorities.as_bytes(), certificate.as_bytes(), key.as_bytes()).expect_err("it is refused")
    };
    assert!(matches!(refused("", &certificate, &key), LinkTlsError::Pem { what: "certificate of an authority" }));
    assert!(matches!(refused(&pem, &key, &key), LinkTlsError::Pem { what: "certificate" }));
    assert!(matches!(refused(&pem, &certificate, &certificate), LinkTlsError::Pem { what: "private key" }));
    let mixed = refused(&pem, &certificate, &other_key);
    assert!(matches!(mixed, LinkTlsError::Unusable(_)), "{mixed}");
}
