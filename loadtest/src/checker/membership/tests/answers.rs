//! What requests are answered with.

use super::*;

const fn forward(from: u64, limit: u64) -> Wanted {
    Wanted { direction: Direction::Forward, from, limit }
}

const fn backward(from: u64, limit: u64) -> Wanted {
    Wanted { direction: Direction::Backward, from, limit }
}

/// Messages of the first event and what follows it.
fn messages(begins_at: u64, covers: (u64, u64), texts: Vec<(u64, u64)>) -> Answer {
    Answer::Messages { wanted: forward(1, 20), begins_at, covers, texts }
}

#[test]
fn an_answer_with_events_that_are_not_the_users_is_found() {
    let mut scene = Scene::sound();
    // After the second membership began, which shows 7 and what follows it.
    scene.requests.push((ADA, span(23, 24), Answer::Page(forward(1, 20), 7, scene.page(7..=8))));
    assert_eq!(scene.judge(), []);
    scene.requests.push((ADA, span(23, 24), Answer::Page(forward(1, 20), 7, scene.page(6..=8))));
    assert!(matches!(scene.only(), Violation::NotVisible { source: Source::Http { target: 3, .. }, seq: 6, .. }));
    scene.requests.pop();
    let texts = vec![(6, digest(b"bb")), (8, digest(b"c"))];
    scene.requests.push((ADA, span(23, 24), messages(7, (7, 8), texts)));
    assert!(matches!(scene.only(), Violation::NotVisible { seq: 6, .. }));
}

#[test]
fn an_answer_with_other_contents_or_a_hole_is_found() {
    let scene = Scene::sound();
    let page = |wanted, seqs: &[u64]| Answer::Page(wanted, 1, scene.page(seqs.iter().copied()));
    let one = |seq, text: &[u8]| Answer::Messages {
        wanted: forward(seq, 1),
        begins_at: 1,
        covers: (seq, seq),
        texts: vec![(seq, digest(text))],
    };
    for (answer, fits) in [
        (one(4, b"a"), true),
        (one(4, b"A"), false),
        (one(5, b"a"), false),
        (Answer::Page(forward(4, 1), 1, vec![(4, 77)]), false),
        (page(forward(4, 2), &[4, 5]), true),
        (page(forward(4, 2), &[4, 6]), false),
        (page(forward(4, 2), &[4, 4]), false),
        (page(forward(4, 2), &[5, 4]), false),
        (page(forward(4, 3), &[3, 4, 5]), false),
        (page(backward(6, 3), &[6, 5, 4]), true),
        (page(backward(6, 3), &[4, 5, 6]), false),
        (page(backward(6, 3), &[6, 4, 3]), false),
        (Answer::Page(forward(4, 3), 2, scene.page(4..=6)), false),
    ] {
        let mut scene = Scene::sound();
        scene.requests.push((OWNER, span(60, 61), answer.clone()));
        assert_eq!(scene.judge().is_empty(), fits, "{answer:?}: {:?}", scene.judge());
    }
}

#[test]
fn an_answer_without_what_was_acked_before_is_found() {
    let scene = Scene::sound();
    let page = |wanted, seqs: &[u64]| Answer::Page(wanted, 1, scene.page(seqs.iter().copied()));
    let all = [(4, "a"), (6, "bb"), (8, "c"), (10, "ddd"), (12, "eeee")];
    let said = |wanted, covers, of: std::ops::Range<usize>| {
        let texts = all[of].iter().map(|(seq, text)| (*seq, digest(text.as_bytes()))).collect();
        Answer::Messages { wanted, begins_at: 1, covers, texts }
    };
    for (at, answer, missing) in [
        // Everything was acked by then.
        (60, page(forward(9, 20), &[9, 10, 11, 12]), None),
        (60, page(forward(9, 20), &[9, 10]), Some(11)),
        (60, page(forward(9, 2), &[9, 10]), None),
        (60, page(forward(9, 20), &[]), Some(9)),
        (60, page(forward(9, 20), &[10, 11, 12]), Some(9)),
        (60, page(backward(u64::MAX, 3), &[12, 11, 10]), None),
        (60, page(backward(u64::MAX, 3), &[11, 10, 9]), Some(12)),
        (60, page(backward(u64::MAX, 3), &[12, 11]), Some(10)),
        (60, page(backward(u64::MAX, 3), &[]), Some(12)),
        (60, said(forward(5, 20), (5, 12), 1..5), None),
        (60, said(forward(5, 20), (5, 12), 2..5), Some(6)),
        (60, said(forward(5, 20), (5, 9), 1..3), Some(10)),
        (60, said(forward(5, 2), (5, 8), 1..3), None),
        (60, said(forward(5, 20), (5, 4), 0..0), Some(5)),
        (60, said(backward(u64::MAX, 2), (10, 12), 3..5), None),
        (60, said(backward(u64::MAX, 2), (8, 10), 2..4), Some(12)),
        (60, said(backward(u64::MAX, 20), (10, 12), 3..5), Some(9)),
        // The last message is on its way: it may be there or not.
        (49, page(forward(9, 20), &[9, 10, 11]), None),
        (49, page(forward(9, 20), &[9, 10, 11, 12]), None),
        (49, page(backward(u64::MAX, 2), &[11, 10]), None),
        (49, said(forward(5, 20), (5, 11), 1..4), None),
        (49, said(forward(13, 20), (13, 12), 0..0), None),
    ] {
        let mut scene = Scene::sound();
        scene.requests.push((OWNER, span(at, at + 1), answer.clone()));
        let source = Source::Http { session: OWNER, target: 3 };
        let expected = missing.map(|seq| Violation::NotShown { source, seq, at: s(at + 1) });
        assert_eq!(scene.judge(), Vec::from_iter(expected), "{answer:?}");
    }
    // Of who was removed meanwhile nobody knows what it was served by.
    let mut scene = Scene::sound();
    scene.requests.push((ADA, span(24, 31), Answer::Page(forward(1, 20), 7, Vec::new())));
    assert_eq!(scene.judge(), []);
}

#[test]
fn who_is_no_member_and_is_served_is_found() {
    for (session, answer) in [
        (ADA, Answer::Page(forward(1, 20), 1, Vec::new())),
        (ADA, Answer::Stored(4)),
        (BEN, messages(1, (1, 0), Vec::new())),
    ] {
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
