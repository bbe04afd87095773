//! What sessions see live.

use super::*;

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
        scene.seen.insert(scene.seen.len() - 3, (ADA, Seen::Resumed(grant(start, from, visible_from), 42, 43)));
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
    scene.seen.insert(at.unwrap(), (ADA, Seen::Resumed(grant(Start::BeginsAt, 7, 7), 21, 22)));
    assert_eq!(scene.judge(), []);
    // With one word less of it, and sight of what it had missed before.
    let mut scene = Scene::sound();
    (0..4).for_each(|_| scene.without(ADA, 5));
    let found = scene.judge();
    assert!(matches!(found[..], [Violation::Gap { expected: 5, got: 7, .. }]), "{found:#?}");
}

#[test]
fn who_was_removed_before_a_resume_is_not_admitted_by_it() {
    let resumed = |asked| {
        let mut scene = Scene::sound();
        (0..4).for_each(|_| scene.without(ADA, 5));
        let at = scene.seen.iter().position(|(session, step)| *session == ADA && matches!(step, Seen::Event(7, _)));
        let steps = [(Start::From, 5, 1, asked, 14), (Start::BeginsAt, 7, 7, 21, 22)];
        for (start, from, visible_from, asked, answered) in steps.into_iter().rev() {
            scene.seen.insert(at.unwrap(), (ADA, Seen::Resumed(grant(start, from, visible_from), asked, answered)));
        }
        scene.judge()
    };
    assert_eq!(resumed(10), [], "it may have been a member still");
    let found = resumed(12);
    assert!(matches!(found[..], [Violation::WrongGrant { source: Source::Session(ADA), said: 1, .. }]), "{found:#?}");
}

#[test]
fn a_stream_that_ends_without_what_came_up_to_the_removal_is_found() {
    let mut scene = Scene::sound();
    (0..2).for_each(|_| scene.without(ADA, 4));
    assert_eq!(scene.only(), Violation::Behind { session: ADA, next: 4, head: 5 });
    // One that was about to go on learns of the removal only.
    *scene.ada(4) = Seen::NotResumed(NOT_MEMBER, 11);
    assert_eq!(scene.judge(), []);
}

#[test]
fn a_stream_of_what_happens_from_now_on_begins_behind_what_was_there_and_before_what_comes() {
    let live = |from| {
        let mut scene = Scene::sound();
        (0..2).for_each(|_| scene.without(ADA, 14));
        *scene.ada(13) = Seen::Subscribe(None, 41, 42, Ok(grant(Start::Live, from, 1)));
        scene.judge()
    };
    let source = Source::Session(ADA);
    assert_eq!(live(12), []);
    assert_eq!(live(11)[0], Violation::Reordered { source, expected: 12, got: 11 });
    assert_eq!(live(13)[0], Violation::Gap { source, expected: 12, got: 13 }, "seq 12 was sent behind the answer");
    assert_eq!(live(20)[0], Violation::Gap { source, expected: 13, got: 20 }, "the log ends at 12");
}

#[test]
fn an_event_of_who_has_nothing_to_do_with_the_chat_is_found() {
    let scene = Scene::sound();
    let mut check = scene.check();
    check.delivered(77, 6, &scene.bytes(6), s(15));
    assert_eq!(check.finish().chat.kept, [Violation::NotListening { session: 77, seq: 6 }]);
}

#[test]
fn what_came_between_two_changes_of_a_user_is_kept_as_one_step() {
    let scene = Scene::sound();
    let mut check = scene.check();
    let steps = |check: &MembershipCheck| check.listeners[&OWNER].steps.len();
    assert_eq!(steps(&check), 2, "a subscription and all that came of it");
    // What differs is kept as such, and so is what does not follow.
    check.delivered(OWNER, 12, b"other", s(60));
    check.delivered(OWNER, 11, &scene.bytes(11), s(60));
    check.delivered(OWNER, 12, &scene.bytes(12), s(60));
    assert_eq!(steps(&check), 4);
    let found = check.finish().chat.kept;
    assert!(found.iter().any(|found| matches!(found, Violation::Divergence { seq: 12, .. })), "{found:#?}");
    let mut check = MembershipCheck::new(ChatId::direct(user(OWNER), user(ADA)));
    check.concerns(OWNER, user(OWNER), true);
    for seq in 1..=6 {
        if seq == 4 {
            check.changing(user(ADA), Change::Remove, s(seq));
        }
        if seq == 5 {
            check.changing(user(OWNER), Change::Remove, s(seq));
        }
        check.delivered(OWNER, seq, &scene.bytes(seq), s(seq));
    }
    assert_eq!(steps(&check), 2, "its own membership was to change behind 4");
}
