//! A sound history, and histories with one injected violation each: it must be found, with its evidence.

use panda_protocol::event::{ChatKind, Digest, Event, EventBody, MessageFormat, Role};
use panda_protocol::{Seq, Text, Time};

use super::*;
use crate::checker::violation::Violation;

mod answers;
mod streams;

const OWNER: u32 = 0;
/// Ada is made with the chat, removed at 5, added at 7, removed at 9, and added with the history at 11.
const ADA: u32 = 1;
/// Ben never is a member.
const BEN: u32 = 2;
const NOT_FOUND: u16 = 2201;
const NOT_MEMBER: u16 = 2202;

fn user(session: u32) -> UserId {
    UserId::from_random([u8::try_from(session).unwrap() + 1; 16])
}

fn device(session: u32) -> DeviceId {
    DeviceId::from_random([u8::try_from(session).unwrap() + 1; 16])
}

fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

const fn span(asked: u64, answered: u64) -> Span {
    Span { asked: Duration::from_secs(asked), answered: Duration::from_secs(answered) }
}

enum Seen {
    /// Behind what, from when to when, and the answer.
    Subscribe(Option<u64>, u64, u64, Result<Grant, u16>),
    /// Asked for not before, and answered.
    Resumed(Grant, u64, u64),
    Event(u64, u64),
    Ended(u16, u64),
    /// As above, by a refusal to go on.
    NotResumed(u16, u64),
}

fn grant(start: Start, from: u64, visible_from: u64) -> Grant {
    Grant { start, from, visible_from }
}

/// The seq at which a send was acked, or the code with which it was refused, if it was answered.
type Told = Option<Result<u64, u16>>;

/// What a run recorded; [`Scene::judge`] says what is wrong with it.
struct Scene {
    log: Vec<(u32, Option<u32>, EventBody)>,
    changes: Vec<(u32, Change, Span, Result<u64, u16>)>,
    /// By session, text, and when they were asked and answered. The counter is the text's length.
    sends: Vec<(u32, &'static str, Span, Told)>,
    seen: Vec<(u32, Seen)>,
    requests: Vec<(u32, Span, Answer)>,
}

fn said(text: &str) -> EventBody {
    EventBody::MessageSent { format: MessageFormat::Text, text: Text::from(text) }
}

fn added(visible_from: u64) -> EventBody {
    EventBody::MemberAdded { role: Role::Member, visible_from: Seq(visible_from) }
}

impl Scene {
    fn sound() -> Self {
        let log = vec![
            (OWNER, None, EventBody::ChatCreated { kind: ChatKind::Group, name: Text::from("tea") }),
            (OWNER, Some(OWNER), added(1)),
            (OWNER, Some(ADA), added(1)),
            (OWNER, None, said("a")),
            (OWNER, Some(ADA), EventBody::MemberRemoved),
            (OWNER, None, said("bb")),
            (OWNER, Some(ADA), added(7)),
            (ADA, None, said("c")),
            (OWNER, Some(ADA), EventBody::MemberRemoved),
            (OWNER, None, said("ddd")),
            (OWNER, Some(ADA), added(1)),
            (OWNER, None, said("eeee")),
        ];
        let changes = vec![
            (ADA, Change::Remove, span(10, 11), Ok(5)),
            (ADA, Change::Add { with_history: false }, span(20, 21), Ok(7)),
            (ADA, Change::Remove, span(30, 31), Ok(9)),
            (ADA, Change::Add { with_history: true }, span(40, 41), Ok(11)),
        ];
        let sends = vec![
            (OWNER, "a", span(7, 8), Some(Ok(4))),
            (OWNER, "bb", span(14, 15), Some(Ok(6))),
            (ADA, "c", span(24, 25), Some(Ok(8))),
            (OWNER, "ddd", span(35, 36), Some(Ok(10))),
            (OWNER, "eeee", span(49, 50), Some(Ok(12))),
        ];
        let all = grant(Start::From, 1, 1);
        let mut seen = vec![(OWNER, Seen::Subscribe(Some(0), 1, 2, Ok(all)))];
        seen.extend((1..=12).map(|seq| (OWNER, Seen::Event(seq, 2 + 4 * seq))));
        let of_ada = [
            Seen::Subscribe(Some(0), 1, 2, Ok(all)),
            Seen::Event(1, 2),
            Seen::Event(2, 2),
            Seen::Event(3, 2),
            Seen::Event(4, 8),
            Seen::Event(5, 11),
            Seen::Ended(NOT_MEMBER, 11),
            Seen::Subscribe(Some(5), 12, 13, Err(NOT_MEMBER)),
            Seen::Subscribe(Some(5), 21, 22, Ok(grant(Start::BeginsAt, 7, 7))),
            Seen::Event(7, 22),
            Seen::Event(8, 25),
            Seen::Event(9, 31),
            Seen::Ended(NOT_MEMBER, 31),
            Seen::Subscribe(Some(9), 41, 42, Ok(grant(Start::From, 10, 1))),
            Seen::Event(10, 42),
            Seen::Event(11, 42),
            Seen::Event(12, 50),
        ];
        seen.extend(of_ada.into_iter().map(|step| (ADA, step)));
        seen.push((BEN, Seen::Subscribe(Some(0), 1, 2, Err(NOT_FOUND))));
        let requests = vec![
            (ADA, span(12, 13), Answer::Refused(NOT_MEMBER)),
            (BEN, span(12, 13), Answer::Refused(NOT_FOUND)),
            // While it is removed, it may be either.
            (ADA, span(9, 12), Answer::Refused(NOT_MEMBER)),
            (ADA, span(24, 25), Answer::Stored(8)),
        ];
        Self { log, changes, sends, seen, requests }
    }

    fn bytes(&self, seq: u64) -> Bytes {
        let (actor, target, body) = self.log[usize::try_from(seq - 1).unwrap()].clone();
        let counter = if let EventBody::MessageSent { text, .. } = &body { text.len() as u64 } else { 99 };
        let event = Event {
            seq: Seq(seq),
            time: Time(seq),
            actor: user(actor),
            device: device(actor),
            counter: Counter(counter),
            digest: Digest::default(),
            target: target.map(user),
            body,
        };
        event.to_bytes()
    }

    fn page(&self, seqs: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
        seqs.map(|seq| (seq, digest(&self.bytes(seq)))).collect()
    }

    fn check(&self) -> MembershipCheck {
        let mut check = MembershipCheck::new(ChatId::direct(user(OWNER), user(ADA)));
        for (session, first) in [(OWNER, true), (ADA, true), (BEN, false)] {
            check.concerns(session, user(session), first);
        }
        for &(session, change, span, outcome) in &self.changes {
            let id = check.changing(user(session), change, span.asked);
            check.changed(id, outcome, span.answered);
        }
        for &(session, text, span, answered) in &self.sends {
            let send = (device(session), Counter(text.len() as u64));
            check.sending(user(session), send, text.as_bytes(), span.asked);
            answered.into_iter().for_each(|outcome| check.sent(send, outcome, span.answered));
        }
        for (session, seen) in &self.seen {
            match *seen {
                Seen::Subscribe(behind, asked, answered, outcome) => {
                    let step = check.subscribing(*session, behind, s(asked));
                    check.subscribed(step, outcome, s(answered));
                }
                Seen::Resumed(grant, asked, at) => check.resumed(*session, grant, span(asked, at)),
                Seen::Event(seq, at) => check.delivered(*session, seq, &self.bytes(seq), s(at)),
                Seen::Ended(code, at) => check.ended(*session, code, false, s(at)),
                Seen::NotResumed(code, at) => check.ended(*session, code, true, s(at)),
            }
        }
        for (session, span, answer) in &self.requests {
            check.answered(*session, Source::Http { session: *session, target: 3 }, *span, answer.clone());
        }
        (1..=self.log.len() as u64).for_each(|seq| check.stored(seq, &self.bytes(seq)));
        check
    }

    fn judge(&self) -> Vec<Violation> {
        self.check().finish().chat.kept
    }

    fn only(&self) -> Violation {
        let mut found = self.judge();
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    /// Ada's step `place`, to be changed.
    fn ada(&mut self, place: usize) -> &mut Seen {
        &mut self.seen.iter_mut().filter(|(session, _)| *session == ADA).nth(place).unwrap().1
    }

    fn without(&mut self, session: u32, place: usize) {
        let at = self.seen.iter().enumerate().filter(|(_, (of, _))| *of == session).nth(place).unwrap().0;
        self.seen.remove(at);
    }
}

#[test]
fn a_sound_history_holds_and_everything_in_it_was_looked_at() {
    let scene = Scene::sound();
    assert_eq!(scene.check().unsettled(), 0);
    let MembershipVerdict { chat, seen } = scene.check().finish();
    assert_eq!(chat.kept, []);
    assert_eq!((chat.events, chat.deliveries, chat.streams, chat.sends, chat.acked), (12, 23, 6, 5, 5));
    let expected = MembersSeen {
        added: 1,
        added_with_history: 1,
        removed: 2,
        removals_seen: 2,
        admissions: 4,
        served: 1,
        refused: 5,
    };
    assert_eq!(seen, expected);
}

#[test]
fn a_log_that_gives_other_sight_than_was_asked_for_is_found() {
    let mut scene = Scene::sound();
    scene.log[6].2 = added(1);
    assert!(matches!(scene.only(), Violation::WrongGrant { source: Source::Store, said: 1, .. }));
    let mut scene = Scene::sound();
    scene.log[10].2 = added(11);
    assert!(matches!(scene.only(), Violation::WrongGrant { source: Source::Store, said: 11, .. }));
}

#[test]
fn changes_that_were_lost_refused_or_not_asked_for_are_found() {
    let mut scene = Scene::sound();
    scene.changes.push((BEN, Change::Add { with_history: false }, span(50, 51), Ok(13)));
    assert_eq!(scene.only(), Violation::LostChange { user: user(BEN), acked: 13, there: "nothing".into() });
    let mut scene = Scene::sound();
    scene.changes.push((BEN, Change::Remove, span(50, 51), Err(2302)));
    assert_eq!(scene.only(), Violation::ChangeRefused { user: user(BEN), code: 2302 });
    let mut scene = Scene::sound();
    scene.changes[2].3 = Ok(10);
    let found = scene.judge();
    assert!(found.contains(&Violation::NobodyAsked { user: user(ADA), seq: 9 }), "{found:#?}");
    assert!(found.contains(&Violation::LostChange { user: user(ADA), acked: 10, there: "another event".into() }));
}

#[test]
fn messages_of_who_was_out_and_those_that_are_lost_doubled_altered_or_swapped_are_found() {
    let mut scene = Scene::sound();
    scene.log[5].0 = ADA;
    scene.sends[1].0 = ADA;
    let found = scene.judge();
    assert!(found.iter().any(|found| matches!(found, Violation::SentWhileOut { seq: 6, .. })), "{found:#?}");
    let mut scene = Scene::sound();
    scene.sends[3].3 = Some(Ok(9));
    assert!(matches!(scene.only(), Violation::LostAck { acked: 9, .. }));
    let mut scene = Scene::sound();
    scene.sends.remove(4);
    assert!(matches!(scene.only(), Violation::NeverSent { seq: 12, .. }));
    let mut scene = Scene::sound();
    scene.log[11].2 = said("ddd");
    scene.sends[4].3 = None;
    assert!(matches!(scene.only(), Violation::Duplicate { first: 10, second: 12, .. }));
    let mut scene = Scene::sound();
    scene.log[11].2 = said("EEEE");
    assert!(matches!(scene.only(), Violation::Altered { seq: 12, .. }));
    let mut scene = Scene::sound();
    scene.log.swap(9, 11);
    (scene.sends[3].3, scene.sends[4].3) = (Some(Ok(12)), Some(Ok(10)));
    assert!(matches!(scene.only(), Violation::SenderOrder { seq: 12, .. }));
}

#[test]
fn a_refused_send_that_is_there_and_one_that_is_anothers_are_found() {
    let mut scene = Scene::sound();
    scene.sends[1].3 = Some(Err(NOT_MEMBER));
    let (device, counter) = (device(OWNER), Counter(2));
    assert_eq!(scene.only(), Violation::RefusedButThere { device, counter, code: NOT_MEMBER, seq: 6 });
    let verdict = scene.check().finish().chat;
    assert_eq!((verdict.acked, verdict.refused, verdict.unknown), (4, 1, 0));
    let mut check = Scene::sound().check();
    check.sending(user(BEN), (device, counter), b"bb", s(14));
    let other = Violation::OtherActor { device, counter, seq: 6, user: user(BEN), actor: user(OWNER) };
    let verdict = check.finish().chat;
    assert_eq!((verdict.kept, verdict.unknown), (vec![other], 1));
}

#[test]
fn a_log_with_a_hole_or_another_event_than_was_delivered_is_found() {
    let scene = Scene::sound();
    let mut check = scene.check();
    check.log.remove(&6);
    let found = check.finish().chat.kept;
    assert!(found.contains(&Violation::Gap { source: Source::Store, expected: 6, got: 7 }), "{found:#?}");
    assert!(found.contains(&Violation::NotStored { seq: 6, begins_at: 1, head: 12 }), "{found:#?}");
    let mut check = scene.check();
    check.delivered(OWNER, 13, b"nonsense", s(60));
    let found = check.finish().chat.kept;
    assert!(matches!(found[..], [Violation::NotStored { seq: 13, .. }]), "{found:#?}");
    let mut check = scene.check();
    check.stored(12, &Bytes::from_static(b"nonsense"));
    let found = check.finish().chat.kept;
    assert!(found.iter().any(|found| matches!(found, Violation::Divergence { seq: 12, .. })), "{found:#?}");
    assert!(found.iter().any(|found| matches!(found, Violation::Unreadable { seq: 12, .. })), "{found:#?}");
}

#[test]
fn a_log_that_is_read_twice_and_differs_and_seqs_that_cannot_be_are_found() {
    let scene = Scene::sound();
    let mut check = scene.check();
    check.stored(12, &scene.bytes(12));
    assert_eq!(check.finish().chat.kept, []);
    let mut check = scene.check();
    check.stored(12, &scene.bytes(11));
    check.stored(0, &scene.bytes(1));
    let found = check.finish().chat.kept;
    let source = Source::Store;
    assert!(matches!(found[0], Violation::Divergence { seq: 12, one: Source::Store, .. }), "{found:#?}");
    assert!(found.contains(&Violation::Reordered { source, expected: 1, got: 0 }), "{found:#?}");
    assert!(found.iter().any(|found| matches!(found, Violation::Unreadable { seq: 12, .. })), "{found:#?}");
    // No seqs make telling it fail.
    let told = Violation::Gap { source, expected: 5, got: 4 }.to_string();
    assert!(told.contains("got seq 4 where 5 was due (0 missing)"), "{told}");
}

#[test]
fn every_violation_is_told_in_a_sentence_with_its_evidence() {
    let mut scene = Scene::sound();
    scene.requests.push((ADA, span(12, 19), Answer::Stored(4)));
    let told = scene.only().to_string();
    let expected =
        "the user of session 1, over HTTP at target 3, was served at 19.000s; the user was a member from seq 3";
    assert!(told.contains(expected), "{told}");
    assert!(told.contains("removed at seq 5 (asked for at 10.000s, acked at 11.000s)"), "{told}");
}
