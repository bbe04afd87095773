//! Packet keys that rest small.
//!
//! ring's keys hold everything that is computed from a key, some 560 bytes each, and a connection has six: two
//! for headers, and two each for the present and the next packets. Most connections are idle, so ours hold the
//! key alone, and what is computed from it lives as long as one packet takes: some 200 nanoseconds beside
//! the microseconds of a packet.

use std::sync::{Arc, LazyLock};

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{AeadKey, Iv, Nonce as PacketNonce};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{CipherSuite, Error, SupportedCipherSuite, Tls13CipherSuite};

/// How packets of one cipher suite are protected.
struct Protection {
    packet: &'static aead::Algorithm,
    header: &'static aead::quic::Algorithm,
    /// Packets that one key may encrypt (RFC 9001, section 6.6).
    confidentiality_limit: u64,
    /// Packets that may fail to decrypt under one key (the same).
    integrity_limit: u64,
}

/// Makes keys that rest small.
struct Small(&'static Protection);

static AES_128: Small = Small(&Protection {
    packet: &aead::AES_128_GCM,
    header: &aead::quic::AES_128,
    confidentiality_limit: 1 << 23,
    integrity_limit: 1 << 52,
});
static AES_256: Small = Small(&Protection {
    packet: &aead::AES_256_GCM,
    header: &aead::quic::AES_256,
    confidentiality_limit: 1 << 23,
    integrity_limit: 1 << 52,
});
static CHACHA20: Small = Small(&Protection {
    packet: &aead::CHACHA20_POLY1305,
    header: &aead::quic::CHACHA20,
    confidentiality_limit: u64::MAX,
    integrity_limit: 1 << 36,
});

/// ring's suites of TLS 1.3, with our keys for QUIC.
static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let ours = |suite: SupportedCipherSuite| {
        let quic: &'static Small = match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => &AES_128,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => &AES_256,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &CHACHA20,
            _ => return None,
        };
        let SupportedCipherSuite::Tls13(suite) = suite else { return None };
        Some(Tls13CipherSuite {
            common: rustls::crypto::CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: suite.common.confidentiality_limit,
            },
            hkdf_provider: suite.hkdf_provider,
            aead_alg: suite.aead_alg,
            quic: Some(quic),
        })
    };
    rustls::crypto::ring::ALL_CIPHER_SUITES.iter().copied().filter_map(ours).collect()
});

/// ring as rustls has it, but for the keys of QUIC.
pub(in crate::transport) fn small_keys() -> Arc<CryptoProvider> {
    let cipher_suites = SUITES.iter().map(SupportedCipherSuite::Tls13).collect();
    Arc::new(CryptoProvider { cipher_suites, ..rustls::crypto::ring::default_provider() })
}

impl Algorithm for Small {
    fn packet_key(&self, key: AeadKey, iv: Iv) -> Box<dyn PacketKey> {
        Box::new(SmallPacketKey { key, iv, protection: self.0 })
    }

    fn header_protection_key(&self, key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        Box::new(SmallHeaderKey { key, algorithm: self.0.header })
    }

    fn aead_key_len(&self) -> usize {
        self.0.packet.key_len()
    }
}

struct SmallPacketKey {
    key: AeadKey,
    iv: Iv,
    protection: &'static Protection,
}

/// The allocation that holds one is as large.
const _: () = assert!(size_of::<SmallPacketKey>() <= 64 && size_of::<SmallHeaderKey>() <= 64);

impl SmallPacketKey {
    fn whole(&self) -> Result<LessSafeKey, Error> {
        let key = UnboundKey::new(self.protection.packet, self.key.as_ref());
        key.map(LessSafeKey::new).map_err(|_| Error::General("a packet key of the wrong length".to_owned()))
    }

    fn seal(&self, nonce: PacketNonce, header: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let sealed = self.whole()?.seal_in_place_separate_tag(nonce, Aad::from(header), payload);
        sealed.map(|tag| Tag::from(tag.as_ref())).map_err(|_| Error::EncryptError)
    }

    fn open<'a>(&self, nonce: PacketNonce, header: &[u8], payload: &'a mut [u8]) -> Result<&'a [u8], Error> {
        let nonce = Nonce::assume_unique_for_key(nonce.0);
        let opened = self.whole()?.open_in_place(nonce, Aad::from(header), payload);
        opened.map(|plain| &*plain).map_err(|_| Error::DecryptError)
    }
}

impl PacketKey for SmallPacketKey {
    fn encrypt_in_place(&self, packet: u64, header: &[u8], payload: &mut [u8]) -> Result<Tag, Error> {
        self.seal(PacketNonce::new(&self.iv, packet), header, payload)
    }

    fn encrypt_in_place_for_path(
        &self,
        path: u32,
        packet: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<Tag, Error> {
        self.seal(PacketNonce::for_path(path, &self.iv, packet), header, payload)
    }

    fn decrypt_in_place<'a>(&self, packet: u64, header: &[u8], payload: &'a mut [u8]) -> Result<&'a [u8], Error> {
        self.open(PacketNonce::new(&self.iv, packet), header, payload)
    }

    fn decrypt_in_place_for_path<'a>(
        &self,
        path: u32,
        packet: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        self.open(PacketNonce::for_path(path, &self.iv, packet), header, payload)
    }

    fn tag_len(&self) -> usize {
        self.protection.packet.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.protection.confidentiality_limit
    }

    fn integrity_limit(&self) -> u64 {
        self.protection.integrity_limit
    }
}

struct SmallHeaderKey {
    key: AeadKey,
    algorithm: &'static aead::quic::Algorithm,
}

/// The bit of a long header, and what is masked of the first byte of a long and of a short one (RFC 9001,
/// section 5.4.1).
const LONG_HEADER: u8 = 0x80;
const LONG_MASKED: u8 = 0x0f;
const SHORT_MASKED: u8 = 0x1f;

impl SmallHeaderKey {
    fn mask(&self, sample: &[u8]) -> Result<[u8; 5], Error> {
        let key = aead::quic::HeaderProtectionKey::new(self.algorithm, self.key.as_ref())
            .map_err(|_| Error::General("a header key of the wrong length".to_owned()))?;
        key.new_mask(sample).map_err(|_| Error::General("a sample of the wrong length".to_owned()))
    }
}

/// Masks or unmasks `len` bytes of a packet number.
fn apply(mask: &[u8], number: &mut [u8], len: usize) {
    for (byte, mask) in number.iter_mut().zip(mask).take(len) {
        *byte ^= mask;
    }
}

/// Bytes of the packet number that an unmasked first byte announces.
fn number_len(first: u8) -> usize {
    usize::from(first & 0x03) + 1
}

const fn masked(first: u8) -> u8 {
    if first & LONG_HEADER == 0 { SHORT_MASKED } else { LONG_MASKED }
}

impl HeaderProtectionKey for SmallHeaderKey {
    fn encrypt_in_place(&self, sample: &[u8], first: &mut u8, number: &mut [u8]) -> Result<(), Error> {
        let [first_mask, mask @ ..] = self.mask(sample)?;
        let len = number_len(*first);
        *first ^= first_mask & masked(*first);
        apply(&mask, number, len);
        Ok(())
    }

    fn decrypt_in_place(&self, sample: &[u8], first: &mut u8, number: &mut [u8]) -> Result<(), Error> {
        let [first_mask, mask @ ..] = self.mask(sample)?;
        *first ^= first_mask & masked(*first);
        apply(&mask, number, number_len(*first));
        Ok(())
    }

    fn sample_len(&self) -> usize {
        self.algorithm.sample_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same key as ring's whole one and as ours.
    fn pairs(number: usize) -> (&'static Small, &'static dyn Algorithm) {
        let suite = &SUITES[number];
        let theirs = rustls::crypto::ring::ALL_CIPHER_SUITES.iter().find(|theirs| theirs.suite() == suite.common.suite);
        let theirs = theirs.and_then(|theirs| theirs.tls13()).and_then(|theirs| theirs.quic).unwrap();
        let ours = match suite.common.suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 => &AES_128,
            CipherSuite::TLS13_AES_256_GCM_SHA384 => &AES_256,
            _ => &CHACHA20,
        };
        (ours, theirs)
    }

    #[test]
    fn a_small_key_does_what_a_whole_one_does() {
        assert_eq!(SUITES.len(), 3);
        for number in 0..SUITES.len() {
            let (ours, theirs) = pairs(number);
            assert_eq!(ours.aead_key_len(), theirs.aead_key_len());
            if ours.aead_key_len() < 32 {
                // A key that is not of the longest length is made inside rustls only: the handshakes of the tests of
                // the transport use it.
                continue;
            }
            let key = || AeadKey::from([7; 32]);
            let (small, whole) = (ours.packet_key(key(), Iv::new([9; 12])), theirs.packet_key(key(), Iv::new([9; 12])));
            assert_eq!(small.tag_len(), whole.tag_len());
            assert_eq!(small.confidentiality_limit(), whole.confidentiality_limit());
            assert_eq!(small.integrity_limit(), whole.integrity_limit());
            let (mut ours_sealed, mut theirs_sealed) = (*b"a payload", *b"a payload");
            let tags = (
                small.encrypt_in_place(77, b"header", &mut ours_sealed).unwrap(),
                whole.encrypt_in_place(77, b"header", &mut theirs_sealed).unwrap(),
            );
            assert_eq!((ours_sealed, tags.0.as_ref()), (theirs_sealed, tags.1.as_ref()));
            let mut sealed = [&ours_sealed[..], tags.0.as_ref()].concat();
            assert!(small.decrypt_in_place(78, b"header", &mut sealed.clone()).is_err());
            assert!(small.decrypt_in_place(77, b"Header", &mut sealed.clone()).is_err());
            assert_eq!(small.decrypt_in_place(77, b"header", &mut sealed).unwrap(), b"a payload");

            let (small, whole) = (ours.header_protection_key(key()), theirs.header_protection_key(key()));
            assert_eq!(small.sample_len(), whole.sample_len());
            for plain in [0x40_u8, 0x41, 0x42, 0x43, 0xc0, 0xc3] {
                let sample = [plain; 16];
                let (mut first, mut number) = (plain, [1, 2, 3, 4]);
                small.encrypt_in_place(&sample, &mut first, &mut number).unwrap();
                let (mut their_first, mut their_number) = (plain, [1, 2, 3, 4]);
                whole.encrypt_in_place(&sample, &mut their_first, &mut their_number).unwrap();
                assert_eq!((first, number), (their_first, their_number));
                small.decrypt_in_place(&sample, &mut first, &mut number).unwrap();
                assert_eq!((first, number), (plain, [1, 2, 3, 4]));
            }
            assert!(small.encrypt_in_place(&[0; 15], &mut 0x40, &mut [0; 4]).is_err());
        }
    }
}
