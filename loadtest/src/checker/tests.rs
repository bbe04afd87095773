//! A run that holds, and runs with one injected violation each: it must be found, with its evidence.

mod losses;

use std::time::Duration;

use bytes::Bytes;
use panda_protocol::event::{Digest, Event, EventBody, MessageFormat};
use panda_protocol::session::client::Unexpected;
use panda_protocol::{ChatId, Counter, DeviceId, Seq, Text, Time, UserId};

use super::*;

const DUE: Duration = Duration::from_millis(10);
const AT: Duration = Duration::from_millis(13);
const ACKED: Duration = Duration::from_millis(12);

fn chat() -> ChatId {
    ChatId::direct(user(1), user(2))
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn device(byte: u8) -> DeviceId {
    DeviceId::from_random([byte; 16])
}

/// What the server makes of send `counter` of device `from`.
fn message(seq: u64, from: u8, counter: u64, text: &str) -> Bytes {
    let event = Event {
        seq: Seq(seq),
        time: Time(seq),
        actor: user(from),
        device: device(from),
        counter: Counter(counter),
        digest: Digest::default(),
        target: None,
        body: EventBody::MessageSent { format: MessageFormat::Text, text: Text::from(text) },
    };
    event.to_bytes()
}

/// Sessions 1 and 2 (devices 1 and 2) listen from seq 5; each has sent twice, all acked.
struct Run {
    check: ChatCheck,
    events: Vec<Bytes>,
    sends: Vec<SendId>,
}

const FROM: u64 = 5;

impl Run {
    fn new() -> Self {
        let mut check = ChatCheck::new(chat());
        for session in [1, 2] {
            check.listening(u32::from(session), device(session));
            check.admitted(u32::from(session), FROM);
        }
        let events = vec![message(5, 1, 1, "a"), message(6, 2, 1, "b"), message(7, 1, 2, "c"), message(8, 2, 2, "d")];
        let mut sends = Vec::new();
        for (from, counter, text) in [(1, 1, "a"), (2, 1, "b"), (1, 2, "c"), (2, 2, "d")] {
            let user = u32::from(from);
            sends.push(check.submitted(user, device(from), Counter(counter), text.as_bytes(), DUE).0);
        }
        for (seq, send) in (FROM..).zip(&sends) {
            check.answered(*send, Outcome::Acked(seq), ACKED);
        }
        Self { check, events, sends }
    }

    fn deliver(&mut self, session: u32, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            let event = self.event(seq);
            self.check.delivered(session, seq, &event, AT);
        }
    }

    fn event(&self, seq: u64) -> Bytes {
        self.events[usize::try_from(seq - FROM).unwrap()].clone()
    }

    fn store(&mut self) {
        for (seq, event) in (FROM..).zip(self.events.clone()) {
            self.check.stored(seq, &event);
        }
        let head = FROM + self.events.len() as u64 - 1;
        self.check.history_read(1, head);
    }

    fn verdict(self) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add(chat(), self.check.finish());
        verdict
    }

    fn only(self) -> Violation {
        let verdict = self.verdict();
        assert_eq!(verdict.violations, 1, "{:?}", verdict.kept);
        verdict.kept[0].violation.clone()
    }
}

#[test]
fn a_run_without_fault_holds() {
    let mut run = Run::new();
    assert_eq!(run.check.behind(), 2);
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    assert_eq!(run.check.behind(), 0);
    run.store();
    let verdict = run.verdict();
    assert!(verdict.held(), "{:?}", verdict.kept);
    assert_eq!((verdict.events, verdict.deliveries, verdict.streams, verdict.acked), (4, 8, 2, 4));
}

#[test]
fn a_delivery_tells_how_long_after_due_it_came() {
    let mut run = Run::new();
    let event = run.event(5);
    assert_eq!(run.check.delivered(1, 5, &event, AT), Delivered::After(Duration::from_millis(3)));
    let early = message(6, 2, 9, "e");
    assert_eq!(run.check.delivered(1, 6, &early, AT), Delivered::Early);
    let (_, waits) = run.check.submitted(2, device(2), Counter(9), b"e", DUE);
    assert_eq!(waits, [Duration::from_millis(3)]);
    let foreign = message(7, 77, 1, "f");
    assert_eq!(run.check.delivered(1, 7, &foreign, AT), Delivered::Other);
}

#[test]
fn a_lost_ack_is_found() {
    let mut run = Run::new();
    run.events.pop();
    run.deliver(1, 5..=7);
    run.deliver(2, 5..=7);
    run.store();
    let verdict = run.verdict();
    let lost = Violation::LostAck { device: device(2), counter: Counter(2), acked: 8, there: "nothing".into() };
    assert!(verdict.kept.iter().any(|found| found.violation == lost), "{:?}", verdict.kept);
    let missing = verdict.kept.iter().filter(|found| matches!(found.violation, Violation::Behind { head: 8, .. }));
    assert_eq!(missing.count(), 2);
}

#[test]
fn an_ack_that_names_another_seq_is_found() {
    let mut run = Run::new();
    run.check.answered(run.sends[0], Outcome::Acked(6), ACKED);
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.store();
    assert!(matches!(run.only(), Violation::LostAck { counter: Counter(1), acked: 6, .. }));
}

#[test]
fn a_message_made_twice_is_found() {
    let mut run = Run::new();
    run.events.push(message(9, 1, 2, "c"));
    run.deliver(1, 5..=9);
    run.deliver(2, 5..=9);
    run.store();
    let twice = Violation::Duplicate { device: device(1), counter: Counter(2), first: 7, second: 9 };
    assert_eq!(run.only(), twice);
}

#[test]
fn a_message_made_twice_under_a_new_counter_is_found() {
    let mut run = Run::new();
    run.events.push(message(9, 1, 3, "c"));
    run.deliver(1, 5..=9);
    run.deliver(2, 5..=9);
    run.store();
    assert_eq!(run.only(), Violation::NeverSent { device: device(1), counter: Counter(3), seq: 9 });
}

#[test]
fn a_message_of_a_device_that_nobody_knows_is_found_where_only_we_send_and_an_earlier_runs_is_not() {
    for only_ours in [false, true] {
        let mut run = Run::new();
        run.events.push(message(9, 7, 1, "whose"));
        run.deliver(1, 5..=9);
        run.deliver(2, 5..=9);
        if only_ours {
            run.check.only_ours();
        }
        // Before the sessions of this run began.
        run.check.stored(4, &message(4, 8, 1, "earlier"));
        run.store();
        let strange = Violation::NeverSent { device: device(7), counter: Counter(1), seq: 9 };
        let verdict = run.check.finish();
        assert_eq!(verdict.kept, if only_ours { vec![strange] } else { Vec::new() });
    }
}

#[test]
fn a_gap_in_a_stream_is_found() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    run.deliver(2, [5, 6, 8]);
    run.store();
    assert_eq!(run.only(), Violation::Gap { source: Source::Session(2), expected: 7, got: 8 });
}

#[test]
fn a_repetition_is_found() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    run.deliver(2, [5, 6, 6, 7, 8]);
    run.store();
    assert_eq!(run.only(), Violation::Repeated { source: Source::Session(2), seq: 6 });
}

#[test]
fn a_stream_out_of_order_is_found() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    run.deliver(2, [5, 7, 6, 8]);
    run.store();
    let verdict = run.verdict();
    let found: Vec<_> = verdict.kept.iter().map(|found| found.violation.clone()).collect();
    let source = Source::Session(2);
    assert_eq!(found[0], Violation::Gap { source, expected: 6, got: 7 });
    assert_eq!(found[1], Violation::Reordered { source, expected: 8, got: 6 });
    assert_eq!(found.len(), 2);
}

#[test]
fn sessions_that_see_other_bytes_are_found() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    let (good, other) = (run.event(6), message(6, 2, 1, "B"));
    run.deliver(2, [5]);
    run.check.delivered(2, 6, &other, AT);
    run.deliver(2, 7..=8);
    run.store();
    let diverged = Violation::Divergence {
        seq: 6,
        one: Source::Session(1),
        one_digest: digest(&good),
        other: Source::Session(2),
        other_digest: digest(&other),
    };
    assert_eq!(run.only(), diverged);
}

#[test]
fn an_altered_text_is_found_though_all_sessions_agree() {
    let mut run = Run::new();
    run.events[1] = message(6, 2, 1, "b ");
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.store();
    assert!(matches!(run.only(), Violation::Altered { counter: Counter(1), seq: 6, .. }));
}

#[test]
fn a_sender_out_of_order_is_found() {
    let mut run = Run::new();
    run.events[0] = message(5, 1, 2, "c");
    run.events[2] = message(7, 1, 1, "a");
    run.check.answered(run.sends[0], Outcome::Acked(7), ACKED);
    run.check.answered(run.sends[2], Outcome::Acked(5), ACKED);
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.store();
    let Violation::SenderOrder { counter, seq, later_counter, .. } = run.only() else { panic!("another violation") };
    assert_eq!((counter, seq, later_counter), (Counter(1), 7, Counter(2)));
}

#[test]
fn an_unknown_outcome_is_at_most_once() {
    for stored in [true, false] {
        let mut run = Run::new();
        run.check.answered(run.sends[3], Outcome::Unknown, ACKED);
        if !stored {
            run.events.pop();
        }
        let head = if stored { 8 } else { 7 };
        run.deliver(1, 5..=head);
        run.deliver(2, 5..=head);
        run.store();
        let verdict = run.verdict();
        assert!(verdict.held(), "{:?}", verdict.kept);
        assert_eq!(verdict.unknown, 1);
    }
    let mut run = Run::new();
    run.check.answered(run.sends[3], Outcome::Unknown, ACKED);
    run.events.push(message(9, 2, 2, "d"));
    run.deliver(1, 5..=9);
    run.deliver(2, 5..=9);
    run.store();
    assert!(matches!(run.only(), Violation::Duplicate { first: 8, second: 9, .. }));
}

#[test]
fn a_refused_send_that_happened_is_found() {
    let mut run = Run::new();
    run.check.answered(run.sends[3], Outcome::Refused(2000), ACKED);
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.store();
    assert!(matches!(run.only(), Violation::RefusedButThere { code: 2000, seq: 8, .. }));
}

#[test]
fn a_store_without_a_delivered_event_is_found() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    for seq in [5, 6, 7] {
        let event = run.event(seq);
        run.check.stored(seq, &event);
    }
    run.check.history_read(1, 7);
    assert_eq!(run.only(), Violation::NotStored { seq: 8, begins_at: 1, head: 7 });
}

#[test]
fn a_hole_in_the_store_and_a_page_that_ends_early_are_found() {
    let mut run = Run::new();
    for seq in [5, 7] {
        let event = run.event(seq);
        run.check.stored(seq, &event);
    }
    run.check.history_read(1, 8);
    let kept = run.verdict().kept;
    let source = Source::Store;
    assert_eq!(kept[0].violation, Violation::Gap { source, expected: 6, got: 7 });
    assert_eq!(kept[1].violation, Violation::Gap { source, expected: 8, got: 9 });
}

#[test]
fn a_resume_must_go_on_where_the_stream_stood() {
    for (from, fits) in [(7, true), (8, false), (6, false)] {
        let mut run = Run::new();
        run.deliver(1, 5..=8);
        run.deliver(2, 5..=6);
        run.check.resumed(2, from);
        run.deliver(2, from..=8);
        run.store();
        assert_eq!(run.verdict().held(), fits, "{from}");
    }
}

#[test]
fn a_stream_begins_where_the_admission_said() {
    let mut run = Run::new();
    run.check.listening(3, device(3));
    run.deliver(3, [6]);
    run.check.admitted(3, 5);
    run.deliver(3, 7..=8);
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.store();
    assert_eq!(run.only(), Violation::WrongStart { session: 3, said: 5, got: 6 });
}

#[test]
fn who_left_is_not_behind_and_gets_nothing_more() {
    let mut run = Run::new();
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=6);
    run.check.left(2);
    assert_eq!(run.check.behind(), 0);
    run.deliver(2, [7]);
    run.store();
    assert_eq!(run.only(), Violation::NotListening { session: 2, seq: 7 });
}

#[test]
fn bytes_that_are_no_event_or_another_seqs_are_found() {
    let mut run = Run::new();
    run.check.delivered(1, 5, &Bytes::from_static(b"\x01nonsense"), AT);
    run.check.delivered(1, 6, &message(60, 2, 1, "b"), AT);
    let kept = run.verdict().kept;
    let unreadable = kept.iter().filter(|found| matches!(found.violation, Violation::Unreadable { .. }));
    assert_eq!(unreadable.count(), 2);
}

#[test]
fn all_violations_count_but_few_are_kept() {
    let mut run = Run::new();
    for seq in 0..1_000 {
        run.check.delivered(9, seq, &Bytes::new(), AT);
    }
    let verdict = run.verdict();
    assert!(verdict.violations >= 1_000);
    assert_eq!(verdict.kept.len(), CHAT_VIOLATIONS_KEPT_MAX);
    assert!(!verdict.kept[0].to_string().is_empty());
}

#[test]
fn what_an_earlier_run_found_must_be_there_as_it_was() {
    let events = [message(1, 1, 1, "a"), message(2, 2, 1, "b"), message(3, 1, 2, "c")];
    let read = |check: &mut ChatCheck, events: &[Bytes]| {
        for (seq, event) in (1..).zip(events) {
            check.stored(seq, event);
        }
        check.history_read(1, events.len() as u64);
    };
    let mut earlier = ChatCheck::new(chat());
    read(&mut earlier, &events[..2]);
    let digests = earlier.digests().unwrap();
    assert_eq!(digests, [digest(&events[0]), digest(&events[1])]);
    let judged = |events: &[Bytes]| {
        let mut later = ChatCheck::new(chat());
        later.expect(&digests);
        read(&mut later, events);
        later.finish()
    };
    let verdict = judged(&events);
    assert_eq!((verdict.violations, verdict.events), (0, 3));
    let lost = judged(&events[..1]);
    assert_eq!(lost.kept, [Violation::NotStored { seq: 2, begins_at: 1, head: 1 }]);
    let altered = judged(&[events[0].clone(), message(2, 2, 1, "x")]);
    let expected = Violation::Divergence {
        seq: 2,
        one: Source::Earlier,
        one_digest: digest(&events[1]),
        other: Source::Store,
        other_digest: digest(&message(2, 2, 1, "x")),
    };
    assert_eq!(altered.kept, [expected]);
}

#[test]
fn a_history_with_a_hole_or_that_was_not_read_is_no_record() {
    let mut unread = ChatCheck::new(chat());
    unread.listening(1, device(1));
    unread.admitted(1, 1);
    unread.delivered(1, 1, &message(1, 1, 1, "a"), AT);
    assert_eq!(unread.digests(), None);
    let mut behind = ChatCheck::new(chat());
    behind.stored(2, &message(2, 1, 1, "a"));
    assert_eq!(behind.digests(), None);
}

#[test]
fn what_a_client_drops_is_found_and_taken_at_any_time() {
    let mut check = ChatCheck::new(chat());
    check.unexpected(7, Seq(6), Unexpected::NotListening);
    check.unexpected(7, Seq(6), Unexpected::Repeated);
    check.unexpected(7, Seq(6), Unexpected::Gap { expected: Seq(4) });
    let source = Source::Session(7);
    let expected = [
        Violation::NotListening { session: 7, seq: 6 },
        Violation::Repeated { source, seq: 6 },
        Violation::Gap { source, expected: 4, got: 6 },
    ];
    let found = check.take_found();
    assert_eq!((&found.kept[..], found.violations), (&expected[..], 3));
    assert_eq!(check.finish().violations, 0, "they are told once");
}
