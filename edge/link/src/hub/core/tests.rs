//! Lanes, links, routers and a board of owners in every order that a seed gives: each lane must see what it
//! would see with a link of its own.

mod world;

use bytes::Bytes;
use panda_protocol::event::Role;
use panda_protocol::frame::{Admission, Start};
use panda_protocol::link::{Admit, Read, ReadQuery};
use panda_protocol::{Incarnation, Seq, UserId};

use self::world::World;
use super::*;

/// Seeds that every run tries; `PANDA_SIM_SEED=n` tries one.
const SEEDS: u64 = 400;
const STEPS: usize = 2_000;

#[test]
fn every_lane_sees_what_it_would_see_with_a_link_of_its_own() {
    let one = std::env::var("PANDA_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let ran = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.settle();
            world.proven()
        });
        match ran {
            Ok(proven) => assert!(proven > 0, "seed {seed} showed no lane anything"),
            Err(panic) => {
                eprintln!("PANDA_SIM_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

const SHARDS: u16 = 4;
const LINK: LinkNumber = 1;
const OTHER: LinkNumber = 2;

fn entity(n: u8) -> EntityId {
    UserId::from_random([n; 16]).into()
}

fn user(n: u8) -> UserId {
    UserId::from_random([n; 16])
}

fn term(n: u64) -> Generation {
    Generation(n)
}

fn owner(shard: ShardId, generation: u64) -> Down {
    Down::Owner { shard, generation: term(generation) }
}

fn admit(n: u8, token: u64) -> Up {
    Up::Admit(Admit { token, user: user(n), entity: entity(n), cursor: None, member: None, opens: None })
}

fn read(n: u8, token: u64) -> Up {
    Up::Read(Read { token, user: user(n), entity: entity(n), query: ReadQuery::Info })
}

fn admission(head: u64) -> Admission {
    Admission {
        start: Start::Live,
        incarnation: Incarnation::default(),
        from: Seq(head + 1),
        head: Seq(head),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Bytes::new(),
    }
}

fn admitted(n: u8, token: u64, generation: u64) -> Down {
    let outcome = Ok(admission(5));
    Down::Admitted(Admitted { token, generation: term(generation), entity: entity(n), outcome })
}

fn head(n: u8, generation: u64) -> Down {
    Down::Head { generation: term(generation), entity: entity(n), head: Seq(9), readmit: false }
}

fn outputs(core: &mut Core) -> Vec<Output> {
    std::iter::from_fn(|| core.next_output()).collect()
}

/// Two lanes; the link owns every shard in term 1.
fn owned() -> Core {
    let mut core = Core::new(SHARDS, 2);
    for shard in 0..SHARDS {
        core.down(LINK, owner(ShardId(shard), 1));
    }
    outputs(&mut core);
    core
}

fn down(lane: u8, down: Down) -> Output {
    Output::Down(lane, down)
}

fn forget(n: u8) -> Up {
    Up::Forget { entity: entity(n) }
}

#[test]
fn a_goodbye_goes_up_when_no_lane_listens_and_no_admission_is_out() {
    let mut core = owned();
    core.up(0, admit(1, 0x100));
    core.down(LINK, admitted(1, 0x100, 1));
    core.up(1, admit(1, 0x101));
    outputs(&mut core);
    core.up(0, forget(1));
    assert_eq!(outputs(&mut core), [], "the other lane's admission is out");
    core.down(LINK, admitted(1, 0x101, 1));
    core.down(LINK, head(1, 1));
    assert_eq!(outputs(&mut core), [down(1, admitted(1, 0x101, 1)), down(1, head(1, 1))]);
    core.up(1, forget(1));
    assert_eq!(outputs(&mut core), [Output::Up(LINK, forget(1))]);
}

#[test]
fn a_refusal_behind_the_last_goodbye_lets_it_go_up() {
    let mut core = owned();
    core.up(0, admit(1, 0x100));
    core.down(LINK, admitted(1, 0x100, 1));
    core.up(1, admit(1, 0x101));
    core.up(0, forget(1));
    outputs(&mut core);
    let outcome = Err(Rejection::new(ErrorCode::NotMember));
    let refused = Down::Admitted(Admitted { token: 0x101, generation: term(1), entity: entity(1), outcome });
    core.down(LINK, refused.clone());
    assert_eq!(outputs(&mut core), [Output::Up(LINK, forget(1)), down(1, refused)]);
}

#[test]
fn events_that_nobody_asked_for_are_answered_with_a_goodbye() {
    let mut core = owned();
    core.down(LINK, head(1, 1));
    assert_eq!(outputs(&mut core), [Output::Up(LINK, forget(1))]);
}

#[test]
fn interests_are_stated_in_parts_before_the_lanes_hear_of_the_owner() {
    let mut core = Core::new(1, 2);
    core.down(LINK, owner(ShardId(0), 1));
    let entities: u64 = RESUME_ENTITIES_MAX as u64 + 1;
    for n in 0..entities {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let entity = EntityId::from(UserId::from_random(id));
        let token = (n + 1) << 8;
        core.up(0, Up::Admit(Admit { token, user: user(1), entity, cursor: None, member: None, opens: None }));
        let outcome = Ok(admission(5));
        core.down(LINK, Down::Admitted(Admitted { token, generation: term(1), entity, outcome }));
    }
    let position = Position { epoch: 1, offset: 70 };
    core.down(LINK, Down::Watermark { shard: ShardId(0), generation: term(1), position });
    core.link_ended(LINK);
    outputs(&mut core);
    core.down(OTHER, owner(ShardId(0), 2));
    let told = outputs(&mut core);
    let [Output::Up(OTHER, Up::Resume(first)), Output::Up(OTHER, Up::Resume(last)), lanes @ ..] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((first.entities.len(), first.last, first.watermark), (RESUME_ENTITIES_MAX, false, Some(position)));
    assert_eq!((last.entities.len(), last.last, last.watermark), (1, true, Some(position)));
    assert_eq!(lanes, [down(0, owner(ShardId(0), 2)), down(1, owner(ShardId(0), 2))]);
}

#[test]
fn an_owner_of_which_the_board_names_a_later_one_is_heard_no_more() {
    let mut core = owned();
    let shard = entity(1).shard(SHARDS);
    core.up(0, admit(1, 0x100));
    core.down(LINK, admitted(1, 0x100, 1));
    outputs(&mut core);
    core.announced(shard, term(3));
    core.announced(shard, term(2));
    core.down(LINK, head(1, 1));
    core.down(OTHER, owner(shard, 2));
    core.up(0, read(1, 0x200));
    assert_eq!(outputs(&mut core), [], "there is no owner to ask");
    assert_eq!(core.figures().stale, 2);
    core.down(OTHER, owner(shard, 3));
    core.down(OTHER, head(1, 3));
    core.down(LINK, head(1, 1));
    let told = outputs(&mut core);
    assert_eq!(told.last(), Some(&down(0, head(1, 3))), "{told:?}");
    assert_eq!(core.figures().stale, 3);
}

#[test]
fn parts_of_two_owners_do_not_mix_in_one_read() {
    let mut core = owned();
    let shard = entity(1).shard(SHARDS);
    let part = |last| Down::Read(ReadReply { token: 0x101, last, body: Ok(Bytes::new()) });
    core.up(1, read(1, 0x101));
    core.down(OTHER, owner(shard, 2));
    outputs(&mut core);
    core.down(OTHER, part(true));
    assert_eq!(outputs(&mut core), [], "the new owner was not asked yet");
    core.up(1, read(1, 0x101));
    core.down(LINK, part(false));
    core.down(OTHER, part(false));
    core.down(OTHER, part(true));
    core.down(OTHER, part(true));
    assert_eq!(outputs(&mut core), [Output::Up(OTHER, read(1, 0x101)), down(1, part(false)), down(1, part(true))]);
}

#[test]
fn questions_wait_for_an_owner_as_long_as_a_takeover_lasts_and_then_are_refused() {
    let mut core = owned();
    let shard = entity(1).shard(SHARDS);
    core.tick(1_000);
    core.link_ended(LINK);
    core.tick(1_000 + OWNERLESS_MS);
    core.up(0, admit(1, 0x100));
    core.up(0, read(1, 0x200));
    assert_eq!(outputs(&mut core), [], "they are asked again when an owner comes");
    core.tick(1_001 + OWNERLESS_MS);
    let backlogs = outputs(&mut core);
    assert_eq!(backlogs.len(), 2 * usize::from(SHARDS), "each lane, of each shard");
    assert!(backlogs.contains(&down(1, Down::Backlog { shard, age_ms: OWNERLESS_MS + 1 })), "{backlogs:?}");
    core.up(0, admit(1, 0x300));
    core.up(0, read(1, 0x400));
    let refused = outputs(&mut core);
    let [Output::Down(0, Down::Admitted(admitted)), Output::Down(0, Down::Read(reply))] = &refused[..] else {
        panic!("{refused:?}")
    };
    let rejections = [admitted.outcome.clone().unwrap_err(), reply.body.clone().unwrap_err()];
    assert!(rejections.iter().all(|one| one.code == ErrorCode::Unavailable && one.retry_after_ms > 0));
    core.down(OTHER, owner(shard, 2));
    outputs(&mut core);
    core.up(0, admit(1, 0x300));
    assert_eq!(outputs(&mut core), [Output::Up(OTHER, admit(1, 0x300))]);
}

#[test]
fn a_question_for_which_its_link_has_no_room_is_refused() {
    let mut core = owned();
    core.up(0, admit(1, 0x100));
    core.down(LINK, admitted(1, 0x100, 1));
    core.up(1, admit(1, 0x101));
    core.up(1, read(1, 0x201));
    core.up(0, forget(1));
    outputs(&mut core);
    core.no_room(admit(1, 0x101));
    core.no_room(read(1, 0x201));
    let told = outputs(&mut core);
    assert!(
        matches!(&told[..], [Output::Up(LINK, up), Output::Down(1, Down::Admitted(_)), Output::Down(1, Down::Read(_))]
            if *up == forget(1)),
        "{told:?}"
    );
    assert_eq!(core.figures().refused, 2);
}

#[test]
fn a_lane_that_is_gone_takes_its_interests_with_it() {
    let mut core = owned();
    for (lane, n, token) in [(0, 1, 0x100), (0, 2, 0x200), (1, 2, 0x101)] {
        core.up(lane, admit(n, token));
        core.down(LINK, admitted(n, token, 1));
    }
    outputs(&mut core);
    core.lane_gone(0);
    assert_eq!(outputs(&mut core), [Output::Up(LINK, forget(1))]);
    core.down(LINK, head(2, 1));
    assert_eq!(outputs(&mut core), [down(1, head(2, 1))]);
}
