use panda_protocol::{ChatId, UserId};

use super::*;

fn deck() -> Deck {
    let job = Job {
        agent: 0,
        servers: Vec::new(),
        path: "/ws".into(),
        sessions: 1,
        tls: false,
        comes_back: false,
        receive_bytes: None,
    };
    Deck::new(&job).unwrap()
}

#[test]
fn the_wait_ends_when_the_next_send_is_due() {
    let mut deck = deck();
    assert_eq!(deck.wait(0), TURN, "nothing is due");
    deck.connection_of = vec![NONE];
    let due = |a_second, done| Due { began: SECOND, a_second, done };
    deck.pace = Some((due(1_000.0, 3), due(0.0, 0)));
    assert_eq!(deck.wait(SECOND), 3 * SECOND / 1_000);
    assert_eq!(deck.wait(2 * SECOND), 0, "it is late already");
    deck.pace = Some((due(1.0, 3), due(1_000.0, 2)));
    assert_eq!(deck.wait(SECOND), 2 * SECOND / 1_000, "a session is to be churned");
    assert_eq!(deck.wait(SECOND + SECOND / 100), TURN, "one that cannot be churned now");
    deck.again.push(Reverse((SECOND + 5, 0)));
    assert_eq!(deck.wait(SECOND), 5, "a lost one connects again");
}

#[test]
fn about_as_many_leave_as_are_asked_for_and_none_or_all_of_none_or_all() {
    let leaving = |percent| (0..10_000).filter(|&user| shares::leaves(user, percent)).count();
    assert_eq!((leaving(0.0), leaving(100.0)), (0, 10_000));
    assert!((4_500..=5_500).contains(&leaving(50.0)), "{}", leaving(50.0));
}

#[test]
fn sends_due_to_sessions_that_are_away_are_unsent_and_not_forgotten() {
    let mut deck = deck();
    let user = |byte| UserId::from_random([byte; 16]);
    let chat = ChatId::direct(user(1), user(2));
    let chats = [chat.to_string(), chat.to_string()];
    let (token, numbers, watched) = ("t".into(), [0, 1], [false; 2]);
    deck.seat(Place { user: 0, server: 0, token, chats, numbers, watched, is_checked: false }).unwrap();
    deck.connection_of = vec![NONE];
    let long_ago = now() - 100 * SECOND;
    let none = Due { began: long_ago, a_second: 0.0, done: 0 };
    deck.pace = Some((Due { began: long_ago, a_second: 1.0, done: 0 }, none));
    deck.work().unwrap();
    assert!(deck.is_waiting() && deck.late_us.is_empty(), "it is not the harness that is late");
    deck.rest();
    deck.work().unwrap();
    assert_eq!(deck.second().unsent, 0, "what is due may still leave");
    deck.resting = Some(now() - 2 * QUEUE_ENDS);
    deck.work().unwrap();
    assert!(!deck.is_waiting());
    assert!((100..=102).contains(&deck.second().unsent));
}
