//! What a client's transport parameters are taken for.

use std::io::Cursor;

use quinn_proto::Side;
use quinn_proto::transport_parameters::{Error, TransportParameters};

/// How many of our connection IDs a client would hold at a time (RFC 9000, section 18.2); who says nothing holds two.
const ACTIVE_CONNECTION_ID_LIMIT: u64 = 0x0e;

/// Reads them, but for a client's wish for more than two connection IDs: one to be spoken to by, and one to change to with
/// the next path, for which it gets another then. Each takes memory in four tables, and QUIC would give out eight.
pub(super) fn read(params: &[u8]) -> Result<TransportParameters, Error> {
    let read = |params: &[u8]| TransportParameters::read(Side::Server, &mut Cursor::new(params));
    // What is wrong is refused as it came.
    let all = read(params)?;
    without(params, ACTIVE_CONNECTION_ID_LIMIT).map_or(Ok(all), |rest| read(&rest))
}

/// All parameters but one; `None` where they are none.
fn without(mut params: &[u8], unwanted: u64) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(params.len());
    while !params.is_empty() {
        let mut rest = params;
        let id = varint(&mut rest)?;
        let len = usize::try_from(varint(&mut rest)?).ok()?;
        let (whole, others) = params.split_at_checked((params.len() - rest.len()).checked_add(len)?)?;
        if id != unwanted {
            kept.extend_from_slice(whole);
        }
        params = others;
    }
    Some(kept)
}

/// An integer as QUIC writes it (RFC 9000, section 16).
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let (whole, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    *bytes = rest;
    let value = whole.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some(value & (u64::MAX >> (66 - 8 * whole.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle time of 100 ms, in two bytes, and two streams.
    const OTHERS: [&[u8]; 2] = [&[0x01, 2, 0x40, 0x64], &[0x08, 1, 2]];

    fn between(limit: &[u8]) -> Vec<u8> {
        [OTHERS[0], limit, OTHERS[1]].concat()
    }

    #[test]
    fn whatever_number_of_connection_ids_a_client_would_hold_it_gets_two() {
        let expected = TransportParameters::read(Side::Server, &mut Cursor::new(between(&[]))).unwrap();
        assert_ne!(read(&[]).unwrap(), expected);
        for limit in [&[][..], &[0x0e, 1, 2], &[0x0e, 1, 8], &[0x40, 0x0e, 0x40, 2, 0x41, 0]] {
            assert_eq!(read(&between(limit)).unwrap(), expected, "{limit:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_as_ever() {
        for wrong in [&[0x0e, 1, 1][..], &[0x0e, 1, 8, 0x0e, 1, 8], &[0x0e, 2, 8], &[0x0e, 9, 8], &[0x0e], &[0xff]] {
            assert!(read(&between(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn integers_are_read_in_each_of_their_lengths() {
        // The examples of RFC 9000, appendix A.1.
        let examples: [(&[u8], u64); 4] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
        ];
        for (mut bytes, value) in examples {
            let mut cut = &bytes[..bytes.len() - 1];
            assert_eq!(varint(&mut cut), None);
            assert_eq!(varint(&mut bytes), Some(value));
            assert!(bytes.is_empty());
        }
    }
}
