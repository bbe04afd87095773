use panda_protocol::event::{ChatKind, Role};
use panda_protocol::frame::{Admission, Start};
use panda_protocol::link::{Admit, Down, LinkId, Membership, Up};
use panda_protocol::{ChatId, Cursor, EntityId, Generation, Incarnation, Position, Seq, Time, UserId};
use panda_storage::Checkpoint;

use super::super::{Input, Loaded, Output, Shard, ShardLimits};
use crate::fold::RULES_FIRST;
use crate::rows::{ChatHead, InboxHead, MemberRow, Row, RowId, RowValue};
use crate::rulebook::Rulebook;

const LINK: LinkId = LinkId(1);
const START: Position = Position { epoch: 1, offset: 5 };
const HERE: Incarnation = Incarnation([7; 8]);
/// The last event of everything that is stored here.
const HEAD: Seq = Seq(9);
const SECOND: u64 = 1_000_000;

fn user(number: u8) -> UserId {
    UserId::from_random([number; 16])
}

fn chat(number: u8) -> EntityId {
    ChatId::direct(user(number), user(200)).into()
}

fn shard() -> Shard {
    let start = Checkpoint { position: START, rules: RULES_FIRST, last: None };
    let limits = ShardLimits { entities_warm: 0, evictions_a_tick: 3, lapsing_max: 5, ..ShardLimits::default() };
    Shard::new(1, Generation::of(START), HERE, start, limits, Rulebook::default())
}

/// Does what is asked for. Returns who was admitted, and how many loads that took.
fn go_on(shard: &mut Shard) -> (Vec<Admission>, usize) {
    let (mut admissions, mut loads) = (Vec::new(), 0);
    loop {
        let outputs = shard.take_outputs();
        if outputs.is_empty() {
            return (admissions, loads);
        }
        for output in outputs {
            match output {
                Output::AskEnd => shard.handle(Input::End(START)),
                Output::Load { entity, wanted } => {
                    loads += 1;
                    let rows = wanted.ids.into_iter().map(|id| (id.clone(), stored(entity, &id))).collect();
                    shard.handle(Input::Loaded(entity, Loaded { rows, ..Loaded::default() }));
                }
                Output::Send(_, Down::Admitted(admitted)) => admissions.extend(admitted.outcome),
                _ => {}
            }
        }
    }
}

fn stored(entity: EntityId, id: &RowId) -> Option<Row> {
    let value = match id {
        RowId::Head if entity.inbox().is_some() => RowValue::Inbox(InboxHead::default()),
        RowId::Head => RowValue::Chat(ChatHead {
            position: Position::default(),
            kind: ChatKind::Group,
            name: "c".into(),
            named: Seq(1),
            members: 3,
        }),
        RowId::Member(_) => {
            RowValue::Member(MemberRow { role: Role::Member, joined: Seq(2), visible_from: Seq(2), ended: None })
        }
        _ => return None,
    };
    Some(Row { seq: HEAD, time: Time(HEAD.0), value })
}

/// Asks for an admission; with a proof of this, if it is given.
fn admit(
    shard: &mut Shard,
    number: u8,
    entity: EntityId,
    proof: Option<(Incarnation, Membership)>,
) -> (Admission, usize) {
    let cursor = proof.map(|(incarnation, member)| Cursor { incarnation, seq: member.at });
    let member = proof.map(|(_, member)| member);
    let admit = Admit { token: 1, user: user(number), entity, cursor, member, opens: None };
    shard.handle(Input::Up(LINK, Up::Admit(admit)));
    let (mut admissions, loads) = go_on(shard);
    (admissions.pop().expect("who is asked for is admitted"), loads)
}

fn proof(at: u64) -> (Incarnation, Membership) {
    (HERE, Membership { at: Seq(at), role: Role::Owner, visible_from: Seq(3) })
}

/// So many ticks, a second apart.
fn wait(shard: &mut Shard, seconds: u64) {
    for _ in 0..seconds {
        let now = Time(shard.now.0 + SECOND);
        shard.handle(Input::Tick(now));
        go_on(shard);
    }
}

#[test]
fn an_inbox_that_left_memory_admits_its_user_without_the_store() {
    let shard = &mut shard();
    let inbox = EntityId::from(user(1));
    assert_eq!(admit(shard, 1, inbox, None).1, 1);
    wait(shard, 7);
    assert_eq!((shard.resident(), shard.figures().evictions), (0, 1));
    let (admission, loads) = admit(shard, 1, inbox, None);
    assert_eq!((admission.head, admission.role, admission.visible_from), (HEAD, Role::Reader, Seq(1)));
    assert_eq!((loads, shard.figures().unloaded), (0, 1));
    assert_eq!(shard.figures().question_reads, 1, "that of the first admission");
    wait(shard, 1);
    assert_eq!((shard.resident(), shard.figures().evictions), (0, 1), "it never came to be there");
}

#[test]
fn a_proof_admits_to_a_chat_that_left_memory_and_says_as_what() {
    let shard = &mut shard();
    let (first, loads) = admit(shard, 1, chat(1), None);
    assert_eq!((first.role, loads), (Role::Member, 1));
    wait(shard, 7);
    assert_eq!(shard.resident(), 0);
    let (admission, loads) = admit(shard, 2, chat(1), Some(proof(HEAD.0)));
    assert_eq!((admission.head, admission.role, admission.visible_from), (HEAD, Role::Owner, Seq(3)));
    assert_eq!((admission.start, admission.from), (Start::From, HEAD.next()));
    assert_eq!((loads, shard.figures().proven), (0, 1));
}

#[test]
fn a_proof_that_says_too_little_leads_to_the_rows() {
    let here = |at| Some(proof(at));
    // Without a proof; before what the load was behind; beyond the head; of another incarnation.
    for proof in [None, here(HEAD.0 - 1), here(HEAD.0 + 1), Some((Incarnation([8; 8]), proof(HEAD.0).1))] {
        let shard = &mut shard();
        admit(shard, 1, chat(1), None);
        wait(shard, 7);
        let (admission, loads) = admit(shard, 2, chat(1), proof);
        assert_eq!((admission.role, loads), (Role::Member, 1), "{proof:?}");
    }
}

#[test]
fn in_memory_a_proof_is_as_good() {
    let shard = &mut shard();
    admit(shard, 1, chat(1), None);
    let (admission, loads) = admit(shard, 2, chat(1), Some(proof(HEAD.0)));
    assert_eq!((admission.role, loads), (Role::Owner, 0));
    assert_eq!((shard.figures().proven, shard.figures().unloaded), (1, 0));
    assert_eq!(admit(shard, 3, chat(1), Some(proof(HEAD.0 - 1))).0.role, Role::Member);
}

#[test]
fn what_is_looked_at_stays_in_memory() {
    let shard = &mut shard();
    let loads: usize = (0..20)
        .map(|_| {
            wait(shard, 1);
            admit(shard, 1, chat(1), None).1
        })
        .sum();
    assert_eq!((loads, shard.figures().evictions), (1, 0));
}

#[test]
fn few_leave_memory_in_a_tick() {
    let shard = &mut shard();
    for number in 0..5 {
        admit(shard, number, user(number).into(), None);
    }
    wait(shard, 5);
    assert_eq!(shard.resident(), 2);
    wait(shard, 1);
    assert_eq!(shard.resident(), 0);
}

#[test]
fn what_few_use_stays_for_half_a_minute() {
    let shard = &mut shard();
    shard.limits.entities_warm = 1;
    admit(shard, 1, chat(1), None);
    wait(shard, 29);
    assert_eq!(shard.resident(), 1);
    wait(shard, 1);
    assert_eq!(shard.resident(), 0);
}

#[test]
fn what_is_known_of_an_entity_outlives_its_last_link_for_a_while() {
    let shard = &mut shard();
    let inbox = EntityId::from(user(1));
    admit(shard, 1, inbox, None);
    wait(shard, 7);
    for (seconds, loads) in [(119, 0), (120, 1)] {
        shard.handle(Input::LinkClosed(LINK));
        wait(shard, seconds);
        assert_eq!(admit(shard, 1, inbox, None).1, loads, "after {seconds} s");
        wait(shard, 7);
    }
    // And so it does if the link says that nobody listens.
    for (seconds, loads) in [(119, 0), (120, 1)] {
        shard.handle(Input::Up(LINK, Up::Forget { entity: inbox }));
        wait(shard, seconds);
        assert_eq!(admit(shard, 1, inbox, None).1, loads, "after {seconds} s");
        wait(shard, 7);
    }
}

#[test]
fn who_listens_again_in_time_is_told_of_what_is_known_later_too() {
    let shard = &mut shard();
    let inbox = EntityId::from(user(1));
    admit(shard, 1, inbox, None);
    wait(shard, 7);
    shard.handle(Input::LinkClosed(LINK));
    wait(shard, 60);
    assert_eq!(admit(shard, 1, inbox, None).1, 0);
    wait(shard, 300);
    assert_eq!(admit(shard, 1, inbox, None).1, 0);
}

#[test]
fn of_no_more_entities_than_may_lapse_anything_is_kept() {
    let shard = &mut shard();
    for (link, numbers) in [(LinkId(2), 0..3), (LinkId(3), 3..6)] {
        for number in numbers {
            let (user, entity) = (user(number), EntityId::from(user(number)));
            let admit = Admit { token: 1, user, entity, cursor: None, member: None, opens: None };
            shard.handle(Input::Up(link, Up::Admit(admit)));
            go_on(shard);
        }
        wait(shard, 7);
        shard.handle(Input::LinkClosed(link));
    }
    let loads: usize = (0..6).map(|number| admit_anywhere(shard, number)).sum();
    assert_eq!(loads, 1, "five of six are kept");
}

/// Loads for an admission to the own inbox, which is forgotten at once.
fn admit_anywhere(shard: &mut Shard, number: u8) -> usize {
    let inbox = EntityId::from(user(number));
    let (_, loads) = admit(shard, number, inbox, None);
    shard.handle(Input::Up(LINK, Up::Forget { entity: inbox }));
    loads
}

#[test]
fn an_entity_that_is_left_again_and_again_has_one_place_and_the_time_of_the_last() {
    let shard = &mut shard();
    let (restless, quiet) = (EntityId::from(user(1)), EntityId::from(user(2)));
    for (number, inbox) in [(1, restless), (2, quiet)] {
        admit(shard, number, inbox, None);
    }
    wait(shard, 7);
    // Many more times than there are places.
    for _ in 0..50 {
        shard.handle(Input::Up(LINK, Up::Forget { entity: restless }));
        wait(shard, 2);
        assert_eq!(admit(shard, 1, restless, None).1, 0);
    }
    shard.handle(Input::Up(LINK, Up::Forget { entity: restless }));
    shard.handle(Input::Up(LINK, Up::Forget { entity: quiet }));
    // 120 s behind the first time that it was left, and not behind the last.
    wait(shard, 119);
    for (number, inbox) in [(1, restless), (2, quiet)] {
        assert_eq!(admit(shard, number, inbox, None).1, 0, "inbox {number}");
    }
}
