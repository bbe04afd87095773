//! What bytes of a peer may cost: decoding, splitting and a server session allocate no more than a bound that
//! follows from the bytes that are there, whatever they claim. A binary of its own, for its counting allocator.
#![expect(unsafe_code, reason = "a global allocator is unsafe to write; this one hands on to the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use panda_protocol::event::Event;
use panda_protocol::frame::Frame;
use panda_protocol::framing::{RawFrame, next_frame, split_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::link::{Down, Record, Up};
use panda_protocol::session::server::{ServerLimits, ServerSession};
use proptest::prelude::*;

thread_local! {
    /// Bytes that this thread allocated; tests of other threads do not count.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged. The counter is a thread-local of a
// plain number with a constant start, which neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.with(Cell::get);
    work();
    ALLOCATED.with(Cell::get) - before
}

/// A decoded list has at most 256 items of at most 144 bytes; texts and byte strings share the frame's buffer.
/// The rest is for the buffer's own count of references.
const DECODE_BYTES_MAX: usize = 256 * 144 + 1_024;

/// Bodies of any kind that begin like one: claims of lengths are more likely than in bytes of chance.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => any::<u8>(), 2 => 0u8..8, 1 => Just(0xffu8), 1 => Just(0x31u8), 1 => Just(0x41u8)];
    proptest::collection::vec(byte, 0..600)
}

const KINDS: &[u8] = &[
    0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
    0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x80, 0x81, 0x00, 0x7f, 0xff,
];

fn raw() -> impl Strategy<Value = RawFrame> {
    (proptest::sample::select(KINDS), body()).prop_map(|(kind, body)| RawFrame { kind, body: body.into() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoding_a_frame_allocates_within_its_bound(raw in raw()) {
        let bytes = allocated(|| drop(Frame::decode(raw.clone())));
        prop_assert!(bytes <= DECODE_BYTES_MAX, "{bytes} bytes for {raw:?}");
    }

    #[test]
    fn decoding_events_and_records_allocates_next_to_nothing(body in body(), kind in 0u8..6) {
        let event = Bytes::from([&[1, kind, 0][..], &body].concat());
        let record = Bytes::from([&[1, kind][..], &body].concat());
        let bytes = allocated(|| drop((Event::from_bytes(&event), Record::from_bytes(record))));
        prop_assert!(bytes <= 1_024, "{bytes} bytes");
    }

    #[test]
    fn decoding_a_links_frame_allocates_within_its_bound(raw in raw()) {
        let bytes = allocated(|| drop((Up::decode(raw.clone()), Down::decode(raw.clone()))));
        prop_assert!(bytes <= DECODE_BYTES_MAX, "{bytes} bytes for {raw:?}");
    }

    /// What was fed in pieces splits as it does at once, and costs no more than the bytes that came.
    #[test]
    fn splitting_pieces_is_splitting_the_whole(
        frames in proptest::collection::vec(raw(), 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..12),
        pieces in proptest::collection::vec(1usize..80, 1..40),
    ) {
        let mut stream = Vec::new();
        for RawFrame { kind, body } in &frames {
            stream.extend_from_slice(&panda_protocol::framing::frame_bytes(*kind, body.len(), |out| out.raw(body)));
        }
        stream.extend_from_slice(&tail);
        let split = |buffer: &mut BytesMut, into: &mut Vec<RawFrame>| loop {
            match split_frame(buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => into.push(frame),
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        };
        let mut at_once = Vec::with_capacity(32);
        let end = split(&mut BytesMut::from(&stream[..]), &mut at_once);
        prop_assert!(at_once.starts_with(&frames));
        let (mut in_pieces, mut refused) = (Vec::with_capacity(32), None);
        let mut sizes = pieces.iter().cycle();
        let bytes = allocated(|| {
            let (mut buffer, mut rest) = (BytesMut::new(), &stream[..]);
            while !rest.is_empty() && refused.is_none() {
                let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                rest = behind;
                buffer.extend_from_slice(piece);
                refused = split(&mut buffer, &mut in_pieces);
            }
        });
        prop_assert_eq!(in_pieces, at_once);
        prop_assert_eq!(refused, end);
        // The buffer doubles as it grows, and a frame that is held keeps its own part of it.
        prop_assert!(bytes <= 8 * stream.len() + 4_096, "{} bytes for {}", bytes, stream.len());
    }

    #[test]
    fn a_server_session_takes_any_frames(frames in proptest::collection::vec(raw(), 0..24), opens in any::<bool>()) {
        let limits = ServerLimits { requests_in_flight_max: 4, ..ServerLimits::default() };
        let mut session = ServerSession::new(&limits, 0);
        if opens {
            let hello = hello();
            session.hear(&limits, hello, 1).expect("a good Hello");
            session.open(1_000_000);
        }
        for (now_ms, frame) in (2..).zip(frames) {
            let bytes = allocated(|| drop(session.hear(&limits, frame, now_ms)));
            prop_assert!(bytes <= DECODE_BYTES_MAX, "{bytes} bytes");
            prop_assert!(session.in_flight() <= 4);
        }
    }

    #[test]
    fn a_message_of_any_bytes_is_taken_apart_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let mut message = Bytes::from(bytes);
        while let Ok(Some(raw)) = next_frame(&mut message, FRAME_BYTES_MAX) {
            drop(Frame::decode(raw));
        }
    }
}

fn hello() -> RawFrame {
    let bytes: &[u8] = b"\x01\x01\x00\x00\x01t\x21aaaaaaaaaaaaaaa\x00\x01c";
    RawFrame { kind: 0x01, body: Bytes::from_static(bytes) }
}

/// A length that is merely claimed costs nothing: the splitter waits with what it has.
#[test]
fn a_claimed_length_reserves_no_memory() {
    let mut buffer = BytesMut::from(&[0x80, 0x01, 0x00, 0x00, 0x10][..]);
    let bytes = allocated(|| assert_eq!(split_frame(&mut buffer, FRAME_BYTES_MAX), Ok(None)));
    assert_eq!(bytes, 0);
}

/// The most that one frame can make: every list full.
#[test]
fn the_fullest_frames_stay_within_the_bound() {
    let count = [0x41, 0x00];
    let sync = [&[0x01][..], &count, &[[&[0x31][..], &[0; 15], &[0, 0]].concat(); 1].concat().repeat(256)].concat();
    let chunk = [&[0x01, 0x01][..], &[0; 8], &[1, 1], &count, &[0; 256]].concat();
    for (kind, body) in [(0x03, sync), (0x21, chunk)] {
        let raw = RawFrame { kind, body: body.into() };
        let bytes = allocated(|| assert!(Frame::decode(raw.clone()).is_ok()));
        assert!((256 * 32..=DECODE_BYTES_MAX).contains(&bytes), "{bytes} bytes for type {kind}");
    }
}
