//! Certificates: made, read, refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use panda_edge::transport::tls::{Identity, TlsError};

#[test]
fn a_development_certificate_is_made_once_with_a_private_key() {
    let folder = tempfile::tempdir().unwrap();
    let first = Identity::development(folder.path()).unwrap().fingerprint();
    assert_eq!(first.len(), 64);
    assert_eq!(Identity::development(folder.path()).unwrap().fingerprint(), first);
    let mode = fs::metadata(folder.path().join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
}

#[test]
fn a_crash_before_the_certificate_was_written_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("key.pem"), "half").unwrap();
    fs::write(folder.path().join("cert.partial"), "half").unwrap();
    Identity::development(folder.path()).unwrap();
}

#[test]
fn what_cannot_be_used_is_refused_with_its_file() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Identity::development(ours.path()).unwrap();
    Identity::development(other.path()).unwrap();
    let (chain, key) = (ours.path().join("cert.pem"), ours.path().join("key.pem"));
    Identity::from_pem_files(&chain, &key).unwrap();

    let error = Identity::from_pem_files(&ours.path().join("none.pem"), &key).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
    let error = Identity::from_pem_files(&key, &key).unwrap_err();
    assert!(error.to_string().contains("no certificate"), "{error}");
    let error = Identity::from_pem_files(&chain, &chain).unwrap_err();
    assert!(error.to_string().contains("no private key"), "{error}");
    let error = Identity::from_pem_files(&chain, &other.path().join("key.pem")).unwrap_err();
    assert!(matches!(error, TlsError::Unusable(_)), "{error}");
}
