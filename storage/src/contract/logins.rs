//! The part of the suite of [`UserStore`] that is about logins. What a use of a refresh token means is tested where it is
//! decided (`user_store/logins.rs`); here, that a store keeps it, and lets uses at once be one behind the other.

use std::collections::HashSet;
use std::time::Duration;

use panda_protocol::{LoginId, Time, UserId};

use crate::user_store::{
    ENDED_LOGINS_MAX, EndedLogin, LOGINS_MAX, Login, LoginLabel, LoginLimits, NewLogin, NewUser, Refresh, Refreshed,
    UserStore, UserStoreError, Username, WhichLogins,
};

const LIMITS: LoginLimits = LoginLimits {
    access: Duration::from_secs(100),
    idle: Duration::from_secs(1_000),
    lifetime: Duration::from_secs(5_000),
    grace: Duration::from_secs(10),
};

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    a_login_is_listed_with_its_label_and_times(make().await).await;
    nobody_who_is_not_there_logs_in(make().await).await;
    a_refresh_token_is_replaced_and_taken_once_more_for_a_while(make().await).await;
    an_answer_that_was_lost_is_given_again(make().await).await;
    a_token_that_was_used_before_ends_its_login_and_no_other(make().await).await;
    a_login_whose_time_is_over_is_neither_listed_nor_refreshed(make().await).await;
    logins_are_ended_one_the_others_or_all(make().await).await;
    one_more_login_than_may_be_ends_the_longest_unused(make().await).await;
    logins_that_nobody_went_on_with_make_room_first(make().await).await;
    racing_refreshes_of_one_token_get_one_successor(make().await).await;
    racing_logins_stay_within_their_limit(make().await).await;
    ended_logins_are_read_on_behind_a_place(make().await).await;
    whoever_reads_on_while_logins_end_misses_none(make().await).await;
    ended_logins_are_forgotten_once_nothing_of_them_lives(make().await).await;
}

fn at(seconds: u64) -> Time {
    Time(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn id(number: u64) -> LoginId {
    LoginId::from_random(number)
}

async fn register(store: &impl UserStore, byte: u8) -> UserId {
    let username = Username::parse(&format!("user{byte}")).unwrap();
    let new = NewUser { id: user(byte), username, email: None, password: None, created: at(0) };
    store.create_user(new).await.unwrap().id
}

fn new_login(user: UserId, number: u64, seconds: u64) -> NewLogin {
    NewLogin { user, id: id(number), label: None, refresh: digest(number, 0), created: at(seconds) }
}

/// Of the refresh token of this turn.
fn digest(number: u64, turn: u8) -> [u8; 32] {
    let mut digest = [turn; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

fn use_of(user: UserId, number: u64, turn: u8, seconds: u64) -> Refresh {
    let next = digest(number, turn + 1);
    let next_sealed = vec![turn + 1; 81];
    Refresh { of: (user, id(number)), brought: digest(number, turn), next, next_sealed, now: at(seconds) }
}

async fn log_in(store: &impl UserStore, user: UserId, number: u64, seconds: u64) {
    assert_eq!(store.add_login(new_login(user, number, seconds), LIMITS).await.unwrap(), []);
}

async fn listed(store: &impl UserStore, user: UserId, seconds: u64) -> Vec<LoginId> {
    store.logins(user, LIMITS, at(seconds)).await.unwrap().into_iter().map(|login| login.id).collect()
}

async fn refresh(store: &impl UserStore, refresh: Refresh) -> Refreshed {
    store.refresh_login(refresh, LIMITS).await.unwrap()
}

fn ids(ended: &[EndedLogin]) -> HashSet<(UserId, LoginId)> {
    ended.iter().map(|ended| (ended.user, ended.id)).collect()
}

async fn a_login_is_listed_with_its_label_and_times(store: impl UserStore) {
    let (ada, ben) = (register(&store, 1).await, register(&store, 2).await);
    let label = Some(LoginLabel::parse("Ada's \u{1f4bb}").unwrap());
    let new = NewLogin { label: label.clone(), ..new_login(ada, u64::MAX, 5) };
    assert_eq!(store.add_login(new, LIMITS).await.unwrap(), []);
    log_in(&store, ada, 2, 7).await;
    // Names are of one user only.
    log_in(&store, ben, 2, 7).await;
    let shown = |number, label, seconds| {
        let created = at(seconds);
        Login { id: id(number), label, created, used: created, ends: at(seconds + 1_000) }
    };
    let expected = [shown(2, None, 7), shown(u64::MAX, label, 5)];
    assert_eq!(store.logins(ada, LIMITS, at(8)).await.unwrap(), expected);
    refresh(&store, use_of(ada, u64::MAX, 0, 20)).await;
    let first = store.logins(ada, LIMITS, at(21)).await.unwrap().remove(0);
    assert_eq!((first.id, first.used, first.ends), (id(u64::MAX), at(20), at(1_020)));
    assert_eq!(listed(&store, ben, 21).await, [id(2)]);
    assert_eq!(listed(&store, user(9), 21).await, []);
}

async fn nobody_who_is_not_there_logs_in(store: impl UserStore) {
    let refused = store.add_login(new_login(user(1), 1, 0), LIMITS).await;
    assert!(matches!(refused, Err(UserStoreError::NotFound)), "{refused:?}");
    assert_eq!(store.end_logins(user(1), WhichLogins::All, at(0)).await.unwrap(), []);
    assert_eq!(refresh(&store, use_of(user(1), 1, 0, 1)).await, Refreshed::Ended);
}

async fn a_refresh_token_is_replaced_and_taken_once_more_for_a_while(store: impl UserStore) {
    let ada = register(&store, 1).await;
    log_in(&store, ada, 1, 0).await;
    let rotated = Refreshed::Rotated { access_ends: at(150), ends: at(1_050) };
    assert_eq!(refresh(&store, use_of(ada, 1, 0, 50)).await, rotated);
    let mut again = use_of(ada, 1, 0, 55);
    (again.next, again.next_sealed) = (digest(1, 99), vec![99]);
    let repeated = Refreshed::Repeated { next_sealed: vec![1; 81], access_ends: at(155), ends: at(1_055) };
    assert_eq!(refresh(&store, again).await, repeated);
    assert!(matches!(refresh(&store, use_of(ada, 1, 1, 56)).await, Refreshed::Rotated { .. }));
    assert_eq!(listed(&store, ada, 57).await, [id(1)]);
}

/// A process that is killed between the store and the answer has done the first of these two, and its client does the
/// second.
async fn an_answer_that_was_lost_is_given_again(store: impl UserStore) {
    let ada = register(&store, 1).await;
    log_in(&store, ada, 1, 0).await;
    for (turn, seconds) in [(0, 10), (1, 30), (2, 50)] {
        drop(refresh(&store, use_of(ada, 1, turn, seconds)).await);
        let answer = refresh(&store, use_of(ada, 1, turn, seconds + 9)).await;
        assert!(matches!(answer, Refreshed::Repeated { next_sealed, .. } if next_sealed == vec![turn + 1; 81]));
    }
    let late = refresh(&store, use_of(ada, 1, 2, 60)).await;
    assert!(matches!(late, Refreshed::Reused(_)), "{late:?}");
}

async fn a_token_that_was_used_before_ends_its_login_and_no_other(store: impl UserStore) {
    let ada = register(&store, 1).await;
    for number in 1..=2 {
        log_in(&store, ada, number, 0).await;
    }
    refresh(&store, use_of(ada, 1, 0, 10)).await;
    refresh(&store, use_of(ada, 1, 1, 11)).await;
    let reused = refresh(&store, use_of(ada, 1, 0, 12)).await;
    let Refreshed::Reused(ended) = reused else { panic!("{reused:?}") };
    assert_eq!((ended.user, ended.id, ended.access_ends), (ada, id(1), at(111)));
    // Whoever has the newest one is out as well.
    assert_eq!(refresh(&store, use_of(ada, 1, 2, 13)).await, Refreshed::Ended);
    assert_eq!(listed(&store, ada, 13).await, [id(2)]);
    assert_eq!(store.ended_logins(0, ENDED_LOGINS_MAX).await.unwrap(), [ended]);
    assert!(matches!(refresh(&store, use_of(ada, 2, 0, 14)).await, Refreshed::Rotated { .. }));
}

async fn a_login_whose_time_is_over_is_neither_listed_nor_refreshed(store: impl UserStore) {
    let ada = register(&store, 1).await;
    log_in(&store, ada, 1, 0).await;
    assert_eq!(listed(&store, ada, 999).await, [id(1)]);
    assert_eq!(listed(&store, ada, 1_000).await, []);
    log_in(&store, ada, 2, 2).await;
    assert_eq!(refresh(&store, use_of(ada, 1, 0, 1_000)).await, Refreshed::Expired);
    // That took it away; nothing of it lives, so there is no end that somebody would have to hear of.
    assert_eq!(refresh(&store, use_of(ada, 1, 0, 1_000)).await, Refreshed::Ended);
    assert_eq!(store.ended_logins(0, ENDED_LOGINS_MAX).await.unwrap(), []);
    // The next login takes away those whom nobody brings.
    let ended = store.add_login(new_login(ada, 3, 1_003), LIMITS).await.unwrap();
    assert_eq!(ids(&ended), [(ada, id(2))].into());
    assert_eq!(refresh(&store, use_of(ada, 2, 0, 1_004)).await, Refreshed::Ended);
}

async fn logins_are_ended_one_the_others_or_all(store: impl UserStore) {
    let (ada, ben) = (register(&store, 1).await, register(&store, 2).await);
    for number in 1..=4 {
        log_in(&store, ada, number, number).await;
        log_in(&store, ben, number, number).await;
    }
    let end = async |which| ids(&store.end_logins(ada, which, at(9)).await.unwrap());
    assert_eq!(end(WhichLogins::One(id(2))).await, [(ada, id(2))].into());
    assert_eq!(end(WhichLogins::One(id(2))).await, [].into());
    assert_eq!(listed(&store, ada, 9).await, [4, 3, 1].map(id));
    assert_eq!(end(WhichLogins::Others(id(3))).await, [1, 4].map(|number| (ada, id(number))).into());
    assert_eq!(listed(&store, ada, 9).await, [id(3)]);
    assert_eq!(end(WhichLogins::All).await, [(ada, id(3))].into());
    assert_eq!(listed(&store, ada, 9).await, []);
    assert_eq!(listed(&store, ben, 9).await, [4, 3, 2, 1].map(id));
}

async fn one_more_login_than_may_be_ends_the_longest_unused(store: impl UserStore) {
    let ada = register(&store, 1).await;
    let full = u64::try_from(LOGINS_MAX).unwrap();
    for number in 1..=full {
        log_in(&store, ada, number, number).await;
    }
    refresh(&store, use_of(ada, 1, 0, full + 1)).await;
    let ended = store.add_login(new_login(ada, full + 1, full + 2), LIMITS).await.unwrap();
    assert_eq!(ids(&ended), [(ada, id(2))].into());
    let listed = listed(&store, ada, full + 2).await;
    assert_eq!((listed.len(), listed[0], listed[1]), (LOGINS_MAX, id(full + 1), id(1)));
}

async fn logins_that_nobody_went_on_with_make_room_first(store: impl UserStore) {
    let ada = register(&store, 1).await;
    let full = u64::try_from(LOGINS_MAX).unwrap();
    // Somebody who stays, and was away since.
    log_in(&store, ada, 1, 0).await;
    refresh(&store, use_of(ada, 1, 0, 1)).await;
    // A script that logs in for each of its runs.
    for number in 2..=full {
        log_in(&store, ada, number, 10 * number).await;
    }
    // Of the first two of its logins the access token is over.
    let ended = store.add_login(new_login(ada, full + 1, 130), LIMITS).await.unwrap();
    assert_eq!(ids(&ended), [(ada, id(2))].into());
    let ended = store.add_login(new_login(ada, full + 2, 130), LIMITS).await.unwrap();
    assert_eq!(ids(&ended), [(ada, id(3))].into());
    // Where the access tokens of all the others live, the longest unused leaves.
    let ended = store.add_login(new_login(ada, full + 3, 130), LIMITS).await.unwrap();
    assert_eq!(ids(&ended), [(ada, id(1))].into());
}

async fn racing_refreshes_of_one_token_get_one_successor(store: impl UserStore) {
    let ada = register(&store, 1).await;
    log_in(&store, ada, 1, 0).await;
    let tasks: Vec<_> = (0..10)
        .map(|task| {
            let (store, mut refresh) = (store.clone(), use_of(ada, 1, 0, 10));
            (refresh.next, refresh.next_sealed) = (digest(1, 100 + task), vec![100 + task]);
            tokio::spawn(async move { (task, store.refresh_login(refresh, LIMITS).await.unwrap()) })
        })
        .collect();
    let (mut rotated, mut repeated) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            (task, Refreshed::Rotated { .. }) => rotated.push(task),
            (_, Refreshed::Repeated { next_sealed, .. }) => repeated.push(next_sealed),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!((rotated.len(), repeated.len()), (1, 9));
    assert!(repeated.iter().all(|sealed| *sealed == [100 + rotated[0]]), "{repeated:?}");
    // All of them go on with the one that there is.
    let mut next = use_of(ada, 1, 0, 20);
    next.brought = digest(1, 100 + rotated[0]);
    assert!(matches!(refresh(&store, next).await, Refreshed::Rotated { .. }));
}

async fn racing_logins_stay_within_their_limit(store: impl UserStore) {
    let ada = register(&store, 1).await;
    let full = u64::try_from(LOGINS_MAX).unwrap();
    for number in 1..full {
        log_in(&store, ada, number, 0).await;
    }
    let tasks: Vec<_> = (full..full + 8)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.add_login(new_login(ada, number, 1), LIMITS).await.unwrap().len() })
        })
        .collect();
    let mut ended = 0;
    for task in tasks {
        ended += task.await.unwrap();
    }
    assert_eq!((ended, listed(&store, ada, 2).await.len()), (7, LOGINS_MAX));
}

async fn ended_logins_are_read_on_behind_a_place(store: impl UserStore) {
    let ada = register(&store, 1).await;
    assert_eq!(store.ended_logins(0, ENDED_LOGINS_MAX).await.unwrap(), []);
    let mut expected = Vec::new();
    for number in 1..=5 {
        log_in(&store, ada, number, number).await;
        expected.extend(store.end_logins(ada, WhichLogins::All, at(number)).await.unwrap());
    }
    assert!(expected.is_sorted_by_key(|ended| ended.place));
    let mut found: Vec<EndedLogin> = Vec::new();
    loop {
        let page = store.ended_logins(found.last().map_or(0, |last| last.place), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
    let refused = store.ended_logins(0, ENDED_LOGINS_MAX + 1).await;
    assert!(matches!(refused, Err(UserStoreError::TooMany(ENDED_LOGINS_MAX))), "{refused:?}");
}

async fn whoever_reads_on_while_logins_end_misses_none(store: impl UserStore) {
    const USERS: u8 = 8;
    const LOGINS: u64 = 10;
    let mut tasks = Vec::new();
    for byte in 1..=USERS {
        let user = register(&store, byte).await;
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for number in 1..=LOGINS {
                log_in(&store, user, number, 0).await;
                assert_eq!(store.end_logins(user, WhichLogins::All, at(1)).await.unwrap().len(), 1);
            }
        }));
    }
    let (mut place, mut found) = (0, HashSet::new());
    let mut read_on = async || {
        for ended in store.ended_logins(place, ENDED_LOGINS_MAX).await.unwrap() {
            assert!(ended.place > place);
            place = ended.place;
            found.insert((ended.user, ended.id));
        }
        found.len()
    };
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        read_on().await;
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(read_on().await, usize::from(USERS) * usize::try_from(LOGINS).unwrap());
}

async fn ended_logins_are_forgotten_once_nothing_of_them_lives(store: impl UserStore) {
    let ada = register(&store, 1).await;
    for (number, seconds) in [(1, 0), (2, 50)] {
        log_in(&store, ada, number, seconds).await;
    }
    store.end_logins(ada, WhichLogins::All, at(60)).await.unwrap();
    // The access token of the first ended at 100; a minute is left for clocks that differ.
    log_in(&store, ada, 3, 160).await;
    let third = store.end_logins(ada, WhichLogins::All, at(160)).await.unwrap();
    assert_eq!(store.ended_logins(0, ENDED_LOGINS_MAX).await.unwrap().len(), 3);
    log_in(&store, ada, 4, 161).await;
    let fourth = store.end_logins(ada, WhichLogins::All, at(161)).await.unwrap();
    let left = store.ended_logins(0, ENDED_LOGINS_MAX).await.unwrap();
    assert_eq!(ids(&left), [2, 3, 4].map(|number| (ada, id(number))).into());
    // Places of those that are forgotten do not come again.
    assert!(third[0].place < fourth[0].place);
    log_in(&store, ada, 5, 10_000).await;
    let fifth = store.end_logins(ada, WhichLogins::All, at(10_000)).await.unwrap();
    assert_eq!(store.ended_logins(fourth[0].place, ENDED_LOGINS_MAX).await.unwrap(), fifth);
}
