//! A sound history, and histories with one injected violation each: it must be found, with its evidence.

use panda_protocol::event::{ChatKind, Digest, Event, EventBody, MessageFormat, Role};
use panda_protocol::{Seq, Text, Time};

use super::*;
use crate::checker::violation::Violation;

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
    Resumed(Grant, u64),
    Event(u64, u64),
    Ended(u16, u64),
}

fn grant(start: Start, from: u64, visible_from: u64) -> Grant {
    Grant { start, from, visible_from }
}

/// What a run recorded; [`Scene::judge`] says what is wrong with it.
struct Scene {
    log: Vec<(u32, Option<u32>, EventBody)>,
    changes: Vec<(u32, Change, Span, Result<u64, u16>)>,
    /// By session, text and the seq of the ack. The counter is the text's length.
    sends: Vec<(u32, &'static str, Option<u64>)>,
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
            (OWNER, "a", Some(4)),
            (OWNER, "bb", Some(6)),
            (ADA, "c", Some(8)),
            (OWNER, "ddd", Some(10)),
            (OWNER, "eeee", Some(12)),
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
        for &(session, text, acked) in &self.sends {
            let counter = Counter(text.len() as u64);
            check.sending(device(session), counter, text.as_bytes());
            acked.into_iter().for_each(|seq| check.acked(device(session), counter, seq));
        }
        for (session, seen) in &self.seen {
            match *seen {
                Seen::Subscribe(behind, asked, answered, outcome) => {
                    let step = check.subscribing(*session, behind, s(asked));
                    check.subscribed(step, outcome, s(answered));
                }
                Seen::Resumed(grant, at) => check.resumed(*session, grant, s(at)),
                Seen::Event(seq, at) => check.delivered(*session, seq, &self.bytes(seq), s(at)),
                Seen::Ended(code, at) => check.ended(*session, code, s(at)),
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
fn an_event_behind_a_removal_is_found() {
    let mut scene = Scene::sound();
    // At the moment of the removal, though it is granted later with the chat's history.
    *scene.ada(7) = Seen::Event(6, 12);
    let found = scene.judge();
    assert!(
        matches!(found[..], [Violation::NotListening { session: ADA, seq: 6 }, Violation::NotVisible { seq: 6, .. }]),
        "{found:#?}"
    );
    assert!(found[1].to_string().contains("removed at seq 5"), "{}", found[1]);
    // Where the end of the subscription was not told, it is found all the same.
    scene.without(ADA, 6);
    assert!(matches!(scene.only(), Violation::NotVisible { source: Source::Session(ADA), seq: 6, .. }));
}

#[test]
fn what_was_said_meanwhile_is_seen_only_with_the_chats_history() {
    let mut scene = Scene::sound();
    *scene.ada(8) = Seen::Subscribe(Some(5), 21, 22, Ok(grant(Start::From, 6, 7)));
    *scene.ada(9) = Seen::Event(6, 22);
    scene.seen.insert(scene.seen.len() - 8, (ADA, Seen::Event(7, 22)));
    assert!(matches!(scene.only(), Violation::NotVisible { seq: 6, .. }));
}

#[test]
fn an_answer_with_events_that_are_not_the_users_is_found() {
    let mut scene = Scene::sound();
    // After the second membership began, which shows 7 and what follows it.
    scene.requests.push((ADA, span(23, 24), Answer::Page(7, scene.page(7..=8))));
    assert_eq!(scene.judge(), []);
    scene.requests.push((ADA, span(23, 24), Answer::Page(7, scene.page(6..=8))));
    assert!(matches!(scene.only(), Violation::NotVisible { source: Source::Http { target: 3, .. }, seq: 6, .. }));
    scene.requests.pop();
    let texts = vec![(6, digest(b"bb")), (8, digest(b"c"))];
    scene.requests.push((ADA, span(23, 24), Answer::Messages(7, texts)));
    assert!(matches!(scene.only(), Violation::NotVisible { seq: 6, .. }));
}

#[test]
fn an_answer_with_other_contents_or_a_hole_is_found() {
    for (answer, fits) in [
        (Answer::Messages(1, vec![(4, digest(b"a"))]), true),
        (Answer::Messages(1, vec![(4, digest(b"A"))]), false),
        (Answer::Messages(1, vec![(5, digest(b"a"))]), false),
        (Answer::Page(1, vec![(4, 77)]), false),
        (Answer::Page(1, Scene::sound().page([4, 6].into_iter())), false),
        (Answer::Page(1, Scene::sound().page([6, 5, 4].into_iter())), true),
        (Answer::Page(2, Scene::sound().page(4..=6)), false),
    ] {
        let mut scene = Scene::sound();
        scene.requests.push((OWNER, span(60, 61), answer.clone()));
        assert_eq!(scene.judge().is_empty(), fits, "{answer:?}: {:?}", scene.judge());
    }
}

#[test]
fn who_is_no_member_and_is_served_is_found() {
    for (session, answer) in
        [(ADA, Answer::Page(1, Vec::new())), (ADA, Answer::Stored(4)), (BEN, Answer::Messages(1, Vec::new()))]
    {
        let mut scene = Scene::sound();
        scene.requests.push((session, span(12, 19), answer.clone()));
        assert!(matches!(scene.only(), Violation::NotRefused { .. }), "{answer:?}");
        // A request that was asked before the removal was acked, or answered after the next add was asked for, may be.
        for (asked, answered) in [(10, 19), (12, 20)] {
            let mut scene = Scene::sound();
            scene.requests.push((ADA, span(asked, answered), Answer::Stored(4)));
            assert_eq!(scene.judge(), []);
        }
    }
}

#[test]
fn a_member_who_is_refused_and_a_wrong_code_are_found() {
    for (session, asked, code) in
        [(ADA, 24, NOT_MEMBER), (OWNER, 24, NOT_FOUND), (ADA, 12, NOT_FOUND), (ADA, 12, 2203), (BEN, 12, NOT_MEMBER)]
    {
        let mut scene = Scene::sound();
        scene.requests.push((session, span(asked, asked + 1), Answer::Refused(code)));
        let found = scene.only();
        assert!(matches!(found, Violation::WrongRefusal { code: said, .. } if said == code), "{session} {found:?}");
    }
}

#[test]
fn a_subscription_that_is_refused_to_a_member_or_ends_without_a_removal_is_found() {
    let mut scene = Scene::sound();
    scene.seen.push((OWNER, Seen::Ended(NOT_MEMBER, 60)));
    let found = scene.judge();
    assert!(
        matches!(found[..], [Violation::WrongRefusal { .. }, Violation::Behind { session: OWNER, .. }]),
        "{found:#?}"
    );
    let mut scene = Scene::sound();
    scene.seen.insert(0, (OWNER, Seen::Subscribe(Some(0), 1, 2, Err(NOT_MEMBER))));
    assert!(matches!(scene.only(), Violation::WrongRefusal { source: Source::Session(OWNER), .. }));
    // A removal that was over before the subscription began does not end it.
    let mut scene = Scene::sound();
    scene.seen.push((ADA, Seen::Ended(NOT_MEMBER, 60)));
    let found = scene.judge();
    assert!(
        matches!(found[..], [Violation::WrongRefusal { .. }, Violation::Behind { session: ADA, .. }]),
        "{found:#?}"
    );
}

#[test]
fn holes_repetitions_and_what_is_missing_in_the_end_are_found() {
    let mut scene = Scene::sound();
    scene.without(OWNER, 6);
    let source = Source::Session(OWNER);
    assert_eq!(scene.only(), Violation::Gap { source, expected: 6, got: 7 });
    let mut scene = Scene::sound();
    scene.seen.insert(6, (OWNER, Seen::Event(5, 30)));
    assert_eq!(scene.only(), Violation::Repeated { source, seq: 5 });
    let mut scene = Scene::sound();
    scene.without(OWNER, 12);
    assert_eq!(scene.check().unsettled(), 1);
    assert_eq!(scene.only(), Violation::Behind { session: OWNER, next: 12, head: 12 });
    // Who was added and never listened again has nothing of the membership.
    let mut scene = Scene::sound();
    (0..4).for_each(|_| scene.without(ADA, 13));
    assert_eq!(scene.check().unsettled(), 1);
    assert_eq!(scene.only(), Violation::Behind { session: ADA, next: 11, head: 12 });
}

#[test]
fn who_was_removed_must_be_told() {
    let mut scene = Scene::sound();
    scene.log.truncate(10);
    scene.changes.truncate(3);
    scene.sends.truncate(4);
    scene.seen.retain(|(_, step)| !matches!(step, Seen::Event(11.., _) | Seen::Subscribe(Some(9), ..)));
    scene.seen.retain(|(session, step)| *session == OWNER || !matches!(step, Seen::Event(10, _)));
    assert_eq!((scene.check().unsettled(), scene.judge()), (0, vec![]));
    scene.seen.retain(|(_, step)| !matches!(step, Seen::Ended(_, 31)));
    assert_eq!(scene.check().unsettled(), 1);
    assert_eq!(scene.only(), Violation::NotEnded { session: ADA, removed: 9 });
}

#[test]
fn a_stream_begins_and_goes_on_where_its_membership_lets_it() {
    let begins = |step, place, next: Seen| {
        let mut scene = Scene::sound();
        *scene.ada(place) = step;
        scene.seen.insert(scene.seen.len() - 4, (ADA, next));
        scene.judge()
    };
    // A resume in the third membership, in place of its subscription's answer.
    let resumed = |from, visible_from| {
        let mut scene = Scene::sound();
        let start = if from == 11 { Start::From } else { Start::BeginsAt };
        scene.seen.insert(scene.seen.len() - 3, (ADA, Seen::Resumed(grant(start, from, visible_from), 43)));
        scene.judge()
    };
    assert_eq!(resumed(11, 1), []);
    assert!(matches!(
        resumed(12, 1)[..],
        [Violation::Gap { expected: 11, got: 12, .. }, Violation::Repeated { seq: 11, .. }]
    ));
    let found = resumed(11, 11);
    assert!(matches!(found[..], [Violation::WrongGrant { said: 11, .. }]), "{found:#?}");
    let late = begins(Seen::Subscribe(Some(9), 41, 42, Ok(grant(Start::BeginsAt, 11, 11))), 13, Seen::Event(11, 42));
    assert!(matches!(late[0], Violation::WrongGrant { said: 11, .. }), "{late:#?}");
}

#[test]
fn a_resume_over_a_removal_begins_at_the_new_membership() {
    // Without a word of the removal at 5: the session was away from 4 to 7.
    let mut scene = Scene::sound();
    (0..4).for_each(|_| scene.without(ADA, 5));
    let at = scene.seen.iter().position(|(session, step)| *session == ADA && matches!(step, Seen::Event(7, _)));
    scene.seen.insert(at.unwrap(), (ADA, Seen::Resumed(grant(Start::BeginsAt, 7, 7), 22)));
    assert_eq!(scene.judge(), []);
    // With one word less of it, and sight of what it had missed before.
    let mut scene = Scene::sound();
    (0..4).for_each(|_| scene.without(ADA, 5));
    let found = scene.judge();
    assert!(matches!(found[..], [Violation::Gap { expected: 5, got: 7, .. }]), "{found:#?}");
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
    scene.sends[3].2 = Some(9);
    assert!(matches!(scene.only(), Violation::LostAck { acked: 9, .. }));
    let mut scene = Scene::sound();
    scene.sends.remove(4);
    assert!(matches!(scene.only(), Violation::NeverSent { seq: 12, .. }));
    let mut scene = Scene::sound();
    scene.log[11].2 = said("ddd");
    scene.sends[4].2 = None;
    assert!(matches!(scene.only(), Violation::Duplicate { first: 10, second: 12, .. }));
    let mut scene = Scene::sound();
    scene.log[11].2 = said("EEEE");
    assert!(matches!(scene.only(), Violation::Altered { seq: 12, .. }));
    let mut scene = Scene::sound();
    scene.log.swap(9, 11);
    (scene.sends[3].2, scene.sends[4].2) = (Some(12), Some(10));
    assert!(matches!(scene.only(), Violation::SenderOrder { seq: 12, .. }));
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
fn every_violation_is_told_in_a_sentence_with_its_evidence() {
    let mut scene = Scene::sound();
    scene.requests.push((ADA, span(12, 19), Answer::Stored(4)));
    let told = scene.only().to_string();
    let expected =
        "the user of session 1, over HTTP at target 3, was served at 19.000s; the user was a member from seq 3";
    assert!(told.contains(expected), "{told}");
    assert!(told.contains("removed at seq 5 (asked for at 10.000s, acked at 11.000s)"), "{told}");
}
