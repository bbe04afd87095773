//! Records of the board.
//!
//! Key: shard, 2 bytes. Value: version (1), epoch, 4 bytes; generation, 8; router, 8; the rest is the
//! address. Numbers are big-endian.

use bytes::{Buf as _, BufMut as _};
use panda_protocol::{Generation, ShardId};

use crate::ownership::{OWNER_ADDRESS_BYTES_MAX, Ownership};

const VERSION: u8 = 1;
/// Bytes before the address.
const FIXED: usize = 1 + 4 + 8 + 8;

pub(super) fn key(shard: ShardId) -> [u8; 2] {
    shard.0.to_be_bytes()
}

pub(super) fn to_record(ownership: &Ownership) -> Vec<u8> {
    let mut value = Vec::with_capacity(FIXED + ownership.address.len());
    value.put_u8(VERSION);
    value.put_u32(ownership.epoch);
    value.put_u64(ownership.generation.0);
    value.put_u64(ownership.router);
    value.put_slice(ownership.address.as_bytes());
    value
}

/// Absent for anything that is no record of this version.
pub(super) fn from_record(key: &[u8], mut value: &[u8]) -> Option<Ownership> {
    let shard = ShardId(u16::from_be_bytes(key.try_into().ok()?));
    if value.len() < FIXED || value.len() > FIXED + OWNER_ADDRESS_BYTES_MAX || value.get_u8() != VERSION {
        return None;
    }
    let (epoch, generation, router) = (value.get_u32(), Generation(value.get_u64()), value.get_u64());
    let address = std::str::from_utf8(value).ok()?.to_owned();
    Some(Ownership { shard, epoch, generation, router, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term() -> Ownership {
        let address = "router-1.panda:9700".to_owned();
        Ownership { shard: ShardId(513), epoch: 3, generation: Generation(70_001), router: 9, address }
    }

    #[test]
    fn a_record_has_these_bytes() {
        let mut bytes = vec![1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 1, 0x11, 0x71, 0, 0, 0, 0, 0, 0, 0, 9];
        bytes.extend_from_slice(b"router-1.panda:9700");
        assert_eq!(to_record(&term()), bytes);
        assert_eq!(key(ShardId(513)), [2, 1]);
        assert_eq!(from_record(&[2, 1], &bytes), Some(term()));
    }

    #[test]
    fn what_is_no_record_is_nobody() {
        let good = to_record(&term());
        let mut newer = good.clone();
        newer[0] = 2;
        let long = [&good[..FIXED], &[b'a'; 256]].concat();
        let garbled = [&good[..FIXED], &[0xff]].concat();
        let cases: [(&[u8], &[u8]); 7] = [
            (&[], &good),
            (&[0, 0, 0], &good),
            (&[0, 0], &[]),
            (&[0, 0], &good[..FIXED - 1]),
            (&[0, 0], &newer),
            (&[0, 0], &long),
            (&[0, 0], &garbled),
        ];
        for (key, value) in cases {
            assert_eq!(from_record(key, value), None, "{key:?} {value:?}");
        }
    }
}
