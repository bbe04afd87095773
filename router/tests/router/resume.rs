//! An edge whose link broke, or whose shards moved, states its interests again.

use std::collections::HashSet;

use panda_protocol::link::{Down, Resume, Up};
use panda_protocol::{Generation, Position};

use super::*;

const SHARDS: u16 = 4;

/// What an edge knows of the shards when its link ends.
async fn owners(edge: &mut Edge) -> Vec<(ShardId, Generation)> {
    let mut owners = Vec::new();
    while owners.len() < usize::from(SHARDS) {
        match edge.next_of_all().await {
            Down::Owner { shard, generation } => owners.push((shard, generation)),
            down => panic!("{down:?} came before the owners were told"),
        }
    }
    owners.sort_unstable();
    owners
}

fn resume((shard, generation): (ShardId, Generation), watermark: Option<Position>, entities: &[EntityId]) -> Up {
    let entities = entities.iter().copied().filter(|entity| entity.shard(SHARDS) == shard).collect();
    Up::Resume(Resume { shard, generation, watermark, last: true, entities })
}

/// Waits until the shard's owner has answered a resume: from then on it tells how far it is.
async fn watermark(edge: &mut Edge, of: ShardId) -> Position {
    loop {
        if let Down::Watermark { shard, position, .. } = edge.next_of_all().await
            && shard == of
        {
            return position;
        }
    }
}

/// Frames up to the answer of a command, which comes behind whatever the resume brought.
async fn until_answer(edge: &mut Edge, token: u64) -> Vec<Down> {
    let mut downs = Vec::new();
    loop {
        match edge.next().await {
            Down::Answer(answer) if answer.token == token => return downs,
            down => downs.push(down),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shard_says_who_owns_it_before_anything_else() {
    let (log, store) = (MemoryLog::new(SHARDS), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let first = owners(&mut edge).await;
    assert_eq!(first.iter().map(|(shard, _)| shard.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    drop(edge);
    router.stop().await.expect("it stops cleanly");
    let (router, mut edge) = start_over(&log, &store, 2).await;
    let second = owners(&mut edge).await;
    for (before, after) in first.iter().zip(&second) {
        assert!(before.1 < after.1, "a later owner has a higher generation");
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_interest_hears_of_what_it_missed_and_of_nothing_else() {
    let (log, store) = (MemoryLog::new(SHARDS), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    owners(&mut edge).await;
    let people: Vec<UserId> = (1..=8).map(user).collect();
    let mut chats = Vec::new();
    for person in &people {
        chats.push(edge.create(*person, vec![]).await);
    }
    let mut watermarks = Vec::new();
    for shard in (0..SHARDS).map(ShardId) {
        watermarks.push(log.end(shard).await.expect("the log answers"));
    }
    // The link breaks; half of the chats go on.
    drop(edge);
    let mut other = attach(&router, &log).await;
    for (person, chat) in people.iter().zip(&chats).take(4) {
        let token = other.command((*chat).into(), *person, 2, &say("missed"));
        until_answer(&mut other, token).await;
    }
    drop(other);

    let mut edge = attach(&router, &log).await;
    let owners = owners(&mut edge).await;
    let entities: Vec<EntityId> = chats.iter().copied().map(EntityId::from).collect();
    for (owner, watermark) in owners.into_iter().zip(watermarks) {
        edge.up.send(resume(owner, Some(watermark), &entities)).await.expect("the router lives");
    }
    // A shard that has one of the chats tells how far it is once it has taken the resume: commands go another way, and
    // could be faster.
    let mut resumed: HashSet<ShardId> = entities.iter().map(|entity| entity.shard(SHARDS)).collect();
    let mut told = HashSet::new();
    while told.len() < 4 || !resumed.is_empty() {
        match edge.next_of_all().await {
            Down::Head { entity, readmit: true, .. } => assert!(told.insert(entity), "{entity} was told twice"),
            Down::Watermark { shard, .. } => drop(resumed.remove(&shard)),
            Down::Backlog { .. } | Down::Owner { .. } => {}
            down => panic!("{down:?} is not what was missed"),
        }
    }
    assert_eq!(told, entities[..4].iter().copied().collect());
    // And every one of them is heard of from now on.
    for (at, (person, chat)) in people.iter().zip(&chats).enumerate() {
        let counter = if at < 4 { 3 } else { 2 };
        let token = edge.command((*chat).into(), *person, counter, &say("heard"));
        let downs = until_answer(&mut edge, token).await;
        assert!(
            matches!(&downs[..], [Down::Events(events)] if events.entity == EntityId::from(*chat)),
            "{downs:?} is not the one event"
        );
    }
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

/// A new owner has nothing of a chat in memory: the first command of it tells what its listeners may have missed.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_tells_the_head_of_what_it_loads() {
    let (log, store) = (MemoryLog::new(SHARDS), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let chat = edge.create(user(1), vec![]).await;
    drop(edge);
    router.stop().await.expect("it stops cleanly");

    let (router, mut edge) = start_over(&log, &store, 2).await;
    let owners = owners(&mut edge).await;
    let entity = EntityId::from(chat);
    let owner = owners[usize::from(entity.shard(SHARDS).0)];
    let end = log.end(entity.shard(SHARDS)).await.expect("the log answers");
    edge.up.send(resume(owner, Some(end), &[entity])).await.expect("the router lives");
    assert!(watermark(&mut edge, entity.shard(SHARDS)).await >= end);
    let token = edge.command(entity, user(1), 2, &say("one more"));
    let downs = until_answer(&mut edge, token).await;
    assert!(
        downs.iter().any(|down| matches!(down, Down::Events(events) if events.events[0].seq == Seq(3))),
        "{downs:?}"
    );
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_watermark_all_are_admitted_anew() {
    let (log, store) = (MemoryLog::new(SHARDS), MemoryStore::new(1, true, BUCKET_EVENTS));
    let (router, mut edge) = start_over(&log, &store, 1).await;
    let owners = owners(&mut edge).await;
    let chat = EntityId::from(edge.create(user(1), vec![]).await);
    let (shard, later) = (chat.shard(SHARDS), Position { epoch: 1, offset: 0 });
    let before_the_log = Position { epoch: 0, ..later };
    let (_, generation) = owners[usize::from(shard.0)];
    // What was stated to another term is not taken.
    let earlier = (shard, Generation(generation.0 - 1));
    edge.up.send(resume(earlier, None, &[chat])).await.expect("the router lives");
    for watermark in [None, Some(before_the_log)] {
        edge.up.send(resume((shard, generation), watermark, &[chat])).await.expect("the router lives");
        assert!(matches!(edge.next().await, Down::Readmit { shard: of, .. } if of == shard));
    }
    let token = edge.command(chat, user(1), 2, &say("behind all of it"));
    let downs = until_answer(&mut edge, token).await;
    assert!(matches!(&downs[..], [Down::Events(_)]), "{downs:?}: two were told, not three");
    drop(edge);
    router.stop().await.expect("it stops cleanly");
}
