use rustls::version::TLS13;

use super::super::state::Session;
use super::super::tests::pair;
use super::*;

/// An established connection, and the keys that its client seals with.
async fn established() -> (Records, Keys) {
    let (server, client) = pair(&TLS13, 1 << 16).await;
    let (_, client) = client.into_inner();
    let Session::Records(records) = server.tls.session else { panic!("it was taken over") };
    #[expect(clippy::disallowed_methods, reason = "a test seals what no client would")]
    let secrets = client.dangerous_extract_secrets().unwrap();
    (records, Keys::new(secrets.tx))
}

/// A record of the client that holds these bytes, type and padding among them.
fn sealed(keys: &mut Keys, inner: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(inner.len() + TAG_BYTES).unwrap().to_be_bytes();
    let (key, nonce) = keys.next().unwrap();
    let header = [DATA, 3, 3, high, low];
    let mut bytes = inner.to_vec();
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut bytes).unwrap();
    [&header[..], &bytes].concat()
}

#[tokio::test]
async fn data_are_found_before_any_padding_and_a_record_in_part_is_waited_for() {
    let (mut records, mut keys) = established().await;
    for (inner, content) in [
        (&[1, 2, 3, DATA][..], Content::Data(&[1, 2, 3])),
        (&[1, 0, DATA, 0, 0, 0], Content::Data(&[1, 0])),
        (&[DATA, 0], Content::Data(&[])),
        (&[1, USER_CANCELED, ALERT], Content::Nothing),
        (&[1, CLOSE_NOTIFY, ALERT], Content::Goodbye),
    ] {
        let mut record = sealed(&mut keys, inner);
        let len = record.len();
        for part in 0..len {
            assert_eq!(records.open(&mut record[..part]), Ok(None), "{part} of {len} bytes");
        }
        record.push(0x17);
        assert_eq!(records.open(&mut record), Ok(Some((content, len))));
    }
}

#[tokio::test]
async fn what_no_client_sends_is_a_fault() {
    let long = [&[7; PLAIN_BYTES_MAX + 1][..], &[DATA]].concat();
    let padded = [&[7, DATA][..], &[0; PLAIN_BYTES_MAX]].concat();
    for (inner, fault) in [
        (&[0, 0, 0][..], Fault::Unexpected),
        (&[1, 20], Fault::Unexpected),
        (&[1, 0, 0, 0, HANDSHAKE], Fault::Unexpected),
        (&[24, 0, 0, 1, HANDSHAKE], Fault::Malformed),
        (&[24, 0, 0, 1, 2, HANDSHAKE], Fault::Illegal),
        (&[24, 0, 0, 1, 0, 0, HANDSHAKE], Fault::Malformed),
        // A session ticket, which is a server's to send; a certificate that nobody asked for; half a change of keys.
        (&[4, 0, 0, 0, HANDSHAKE], Fault::Unexpected),
        (&[11, 0, 0, 4, 0, 0, 0, 0, HANDSHAKE], Fault::Unexpected),
        (&[24, 0, 0, HANDSHAKE], Fault::Unexpected),
        (&[ALERT], Fault::Unexpected),
        (&[1, ALERT], Fault::Malformed),
        (&[1, CLOSE_NOTIFY, 1, CLOSE_NOTIFY, ALERT], Fault::Malformed),
        (&[FATAL, 40, ALERT], Fault::Alert),
        (&[HANDSHAKE], Fault::Unexpected),
        (&long, Fault::TooLong),
        (&padded, Fault::TooLong),
    ] {
        let (mut records, mut keys) = established().await;
        assert_eq!(records.open(&mut sealed(&mut keys, inner)), Err(fault), "{:?}", &inner[..inner.len().min(8)]);
    }
    let (mut records, mut keys) = established().await;
    for (header, fault) in [([HANDSHAKE, 3, 3, 0, 40], Fault::Unexpected), ([DATA, 3, 3, 0x41, 1], Fault::TooLong)] {
        assert_eq!(records.open(&mut header.to_vec()), Err(fault), "{header:?}");
    }
    let mut record = sealed(&mut keys, &[1, 2, DATA]);
    *record.last_mut().unwrap() ^= 1;
    assert_eq!(records.open(&mut record), Err(Fault::Altered));
    // Nor is one that comes a second time.
    let (mut records, mut keys) = established().await;
    let record = sealed(&mut keys, &[1, 2, DATA]);
    assert!(records.open(&mut record.clone()).is_ok());
    assert_eq!(records.open(&mut record.clone()), Err(Fault::Altered));
}

#[tokio::test]
async fn records_that_bring_nothing_are_taken_up_to_a_bound() {
    let (mut records, mut keys) = established().await;
    for _ in 0..3 {
        for _ in 0..IDLE_RECORDS_MAX {
            assert!(records.open(&mut sealed(&mut keys, &[DATA])).is_ok());
        }
        assert!(records.open(&mut sealed(&mut keys, &[1, DATA])).is_ok());
    }
    for _ in 0..IDLE_RECORDS_MAX {
        assert!(records.open(&mut sealed(&mut keys, &[1, USER_CANCELED, ALERT])).is_ok());
    }
    assert_eq!(records.open(&mut sealed(&mut keys, &[DATA])), Err(Fault::Unexpected));
}

#[tokio::test]
async fn our_keys_change_when_the_peer_asks_or_they_were_used_enough_and_once_for_all_who_asked() {
    let mut change = [0; KEY_UPDATE_BYTES];
    let (mut records, mut keys) = established().await;
    assert_eq!(records.change_keys(&mut change), Ok(0));
    assert!(records.open(&mut sealed(&mut keys, &[24, 0, 0, 1, 1, HANDSHAKE])).is_ok());
    assert_eq!(records.receives.number, 0, "the peer's next record is the first under its next keys");
    assert_eq!(records.open(&mut sealed(&mut keys, &[1, DATA])), Err(Fault::Altered), "its old ones are no more");
    records.change_owed = true;
    assert_eq!(records.change_keys(&mut change), Ok(KEY_UPDATE_BYTES));
    assert_eq!((records.change_keys(&mut change), records.sends.number), (Ok(0), 0));
    records.sends.number = RECORDS_A_KEY_MAX;
    assert_eq!(records.change_keys(&mut change), Ok(KEY_UPDATE_BYTES));
    assert_eq!((records.change_keys(&mut change), records.sends.number), (Ok(0), 0));
}
