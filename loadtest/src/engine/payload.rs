//! What is published: 128 printable bytes that begin with the time at which they were due.
//!
//! Printable, because some peers carry text only; hexadecimal, because parsing it costs next to nothing.

/// Bytes of a payload: a chat message of a sentence or two.
pub const LENGTH: usize = 128;
/// Bytes of the time.
const TIME: usize = 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Writes a payload that is due at `time`, in nanoseconds.
pub fn write(time: u64) -> [u8; LENGTH] {
    let mut payload = [b'x'; LENGTH];
    for (place, digit) in payload[..TIME].iter_mut().enumerate() {
        *digit = DIGITS[(time >> (60 - 4 * place) & 15) as usize];
    }
    payload
}

/// Reads the time of a payload that arrived; `None` for what [`write()`] did not make. Bytes behind the time may be cut.
pub fn time(payload: &[u8]) -> Option<u64> {
    let digits = payload.first_chunk::<TIME>()?;
    let mut time = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        time = time << 4 | u64::from(value);
    }
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_comes_back_as_it_was_written() {
        for moment in [0, 1, 0x1234_5678_9abc_def0, u64::MAX] {
            let payload = write(moment);
            assert!(payload.iter().all(u8::is_ascii_graphic));
            assert_eq!(time(&payload), Some(moment));
            assert_eq!(time(&payload[..TIME]), Some(moment));
        }
    }

    #[test]
    fn what_is_no_payload_has_no_time() {
        for bytes in [&b""[..], b"0123", b"0123456789abcdeF", b"{\"error\":{\"code\":1}}"] {
            assert_eq!(time(bytes), None, "{bytes:?}");
        }
    }
}
