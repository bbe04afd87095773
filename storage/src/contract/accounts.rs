//! The part of the suite of [`UserStore`] that is about what proves an account to be its user's.

use std::collections::HashSet;
use std::time::Duration;

use panda_protocol::{LoginId, Time, UserId};

use crate::user_store::{
    AccountState, Email, LoginLimits, MailLimit, MailPurpose, NewLogin, NewMailToken, NewUser, PasswordChange,
    PasswordHash, UniqueField, User, UserChange, UserStore, UserStoreError, Username,
};

const LIMITS: LoginLimits = LoginLimits {
    access: Duration::from_secs(100),
    idle: Duration::from_secs(1_000),
    lifetime: Duration::from_secs(5_000),
    grace: Duration::from_secs(10),
};
const MANY: MailLimit = MailLimit { count: 100, window: Duration::from_secs(60) };
/// How long tokens of these tests are good, in seconds.
const GOOD: u64 = 100;

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    an_address_is_proven_by_the_token_that_went_there(make().await).await;
    a_token_is_good_for_its_purpose_until_its_end(make().await).await;
    another_address_has_to_be_proven_anew_and_ends_what_was_sent(make().await).await;
    one_account_only_has_an_address_proven(make().await).await;
    racing_proofs_of_an_address_give_it_to_one_account(make().await).await;
    a_new_password_by_mail_ends_all_logins_and_links(make().await).await;
    a_new_password_by_the_old_one_keeps_one_login(make().await).await;
    racing_uses_of_a_link_set_one_password(make().await).await;
    tokens_are_sent_within_a_limit(make().await).await;
    racing_tokens_stay_within_their_limit(make().await).await;
    an_account_that_was_put_aside_is_taken_up_by_the_next_login(make().await).await;
    an_erased_account_leaves_its_name_taken_and_nothing_else(make().await).await;
    racing_logins_and_an_erasure_leave_no_login(make().await).await;
}

fn at(seconds: u64) -> Time {
    Time(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

fn hash(text: &str) -> PasswordHash {
    PasswordHash(format!("$argon2id${text}"))
}

async fn register(store: &impl UserStore, byte: u8, address: &str) -> UserId {
    let username = Username::parse(&format!("user{byte}")).unwrap();
    let (email, password) = (Some(email(address)), Some(hash("first")));
    let new = NewUser { id: UserId::from_random([byte; 16]), username, email, password, created: at(0) };
    store.create_user(new).await.unwrap().id
}

fn token(number: u8, user: UserId, purpose: MailPurpose, address: &str, seconds: u64) -> NewMailToken {
    let (created, ends) = (at(seconds), at(seconds + GOOD));
    NewMailToken { digest: [number; 32], user, purpose, email: email(address), created, ends }
}

async fn send(store: &impl UserStore, token: NewMailToken) {
    assert_eq!(store.add_mail_token(token, MANY).await.unwrap(), Ok(()));
}

/// Sends a token to the address, and brings it.
async fn prove(store: &impl UserStore, number: u8, user: UserId, address: &str, seconds: u64) -> User {
    send(store, token(number, user, MailPurpose::Verification, address, seconds)).await;
    store.verify_email([number; 32], at(seconds)).await.unwrap().unwrap()
}

async fn change_email(store: &impl UserStore, user: UserId, address: Option<&str>) -> User {
    let change = UserChange { email: Some(address.map(email)), ..UserChange::default() };
    store.update_user(user, change, None).await.unwrap()
}

async fn password(store: &impl UserStore, user: UserId) -> PasswordHash {
    store.credential_of(user).await.unwrap().unwrap().password.unwrap()
}

async fn log_in(store: &impl UserStore, user: UserId, number: u64) -> LoginId {
    let id = LoginId::from_random(number);
    store.add_login(NewLogin { user, id, label: None, refresh: [1; 32], created: at(1) }, LIMITS).await.unwrap();
    id
}

async fn logins(store: &impl UserStore, user: UserId) -> HashSet<LoginId> {
    store.logins(user, LIMITS, at(2)).await.unwrap().into_iter().map(|login| login.id).collect()
}

async fn an_address_is_proven_by_the_token_that_went_there(store: impl UserStore) {
    let ada = register(&store, 1, "Ada@Example.org").await;
    let by_email = async || store.user_by_verified_email(email("ada@EXAMPLE.org")).await.unwrap();
    assert_eq!(by_email().await, None, "what was only filled in is no identity");
    send(&store, token(1, ada, MailPurpose::Verification, "ada@example.org", 1)).await;
    assert_eq!(store.verify_email([2; 32], at(2)).await.unwrap(), None);
    let proven = store.verify_email([1; 32], at(2)).await.unwrap().unwrap();
    assert_eq!((proven.id, proven.email_verified, proven.version), (ada, true, 2));
    assert_eq!(by_email().await, Some(proven.clone()));
    assert_eq!(store.users(vec![ada]).await.unwrap(), [Some(proven)]);
    assert_eq!(store.verify_email([1; 32], at(2)).await.unwrap(), None, "it is good once");
    // The same address in other letters stays proven.
    assert!(change_email(&store, ada, Some("ADA@example.org")).await.email_verified);
    assert!(by_email().await.is_some());
}

async fn a_token_is_good_for_its_purpose_until_its_end(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    send(&store, token(1, ada, MailPurpose::Verification, "ada@example.org", 1)).await;
    let found = async |purpose, now| store.mail_token([1; 32], purpose, now).await.unwrap();
    assert_eq!(found(MailPurpose::Verification, at(2)).await, Some(ada));
    assert_eq!(found(MailPurpose::Reset, at(2)).await, None);
    assert_eq!(store.reset_password([1; 32], hash("stolen"), at(2)).await.unwrap(), None);
    assert_eq!(found(MailPurpose::Verification, at(1 + GOOD)).await, None);
    assert_eq!(store.verify_email([1; 32], at(1 + GOOD)).await.unwrap(), None);
    assert!(store.verify_email([1; 32], at(GOOD)).await.unwrap().is_some());
    // An address that was never proven sets no password.
    let ben = register(&store, 2, "ben@example.org").await;
    send(&store, token(2, ben, MailPurpose::Reset, "ben@example.org", 1)).await;
    assert_eq!(store.reset_password([2; 32], hash("stolen"), at(2)).await.unwrap(), None);
    assert_eq!(password(&store, ben).await, hash("first"));
    // Nor is anything sent to where the account is not.
    for (user, address) in [(ben, "ada@example.org"), (UserId::from_random([9; 16]), "ben@example.org")] {
        let refused = store.add_mail_token(token(3, user, MailPurpose::Verification, address, 1), MANY).await;
        assert!(matches!(refused, Err(UserStoreError::NotFound)), "{refused:?}");
    }
    assert_eq!(store.credential_of(UserId::from_random([9; 16])).await.unwrap(), None);
}

async fn another_address_has_to_be_proven_anew_and_ends_what_was_sent(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    prove(&store, 1, ada, "ada@example.org", 1).await;
    send(&store, token(2, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    send(&store, token(3, ada, MailPurpose::Verification, "ada@example.org", 1)).await;
    let changed = change_email(&store, ada, Some("new@example.org")).await;
    assert!(!changed.email_verified);
    assert_eq!(store.user_by_verified_email(email("ada@example.org")).await.unwrap(), None);
    assert_eq!(store.user_by_verified_email(email("new@example.org")).await.unwrap(), None);
    assert_eq!(store.reset_password([2; 32], hash("stolen"), at(2)).await.unwrap(), None);
    assert_eq!(store.verify_email([3; 32], at(2)).await.unwrap(), None);
    assert!(prove(&store, 4, ada, "new@example.org", 2).await.email_verified);
    assert!(!change_email(&store, ada, None).await.email_verified);
    // A change of something else leaves it.
    change_email(&store, ada, Some("ada@example.org")).await;
    prove(&store, 5, ada, "ada@example.org", 3).await;
    let username = Some(Username::parse("ada.l").unwrap());
    assert!(
        store.update_user(ada, UserChange { username, ..UserChange::default() }, None).await.unwrap().email_verified
    );
}

async fn one_account_only_has_an_address_proven(store: impl UserStore) {
    let (ada, eve) = (register(&store, 1, "ada@example.org").await, register(&store, 2, "ADA@example.org").await);
    send(&store, token(1, eve, MailPurpose::Verification, "ada@example.org", 1)).await;
    prove(&store, 2, ada, "ada@example.org", 1).await;
    let refused = store.verify_email([1; 32], at(2)).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Email))), "{refused:?}");
    assert!(!store.users(vec![eve]).await.unwrap()[0].as_ref().unwrap().email_verified);
    // Once nobody has it any more, the link does what it says.
    change_email(&store, ada, None).await;
    assert_eq!(store.verify_email([1; 32], at(2)).await.unwrap().unwrap().id, eve);
    assert_eq!(store.user_by_verified_email(email("ada@example.org")).await.unwrap().unwrap().id, eve);
}

async fn racing_proofs_of_an_address_give_it_to_one_account(store: impl UserStore) {
    let mut users = Vec::new();
    for byte in 1..=8 {
        let user = register(&store, byte, "all@example.org").await;
        send(&store, token(byte, user, MailPurpose::Verification, "all@example.org", 1)).await;
        users.push(user);
    }
    let proofs = (1..=8).map(|byte| store.verify_email([byte; 32], at(2)));
    let outcomes = futures_util::future::join_all(proofs).await;
    let proven: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(proven.len(), 1, "{outcomes:?}");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(matches!(refused, UserStoreError::Taken(UniqueField::Email)), "{refused:?}");
    }
}

async fn a_new_password_by_mail_ends_all_logins_and_links(store: impl UserStore) {
    let (ada, ben) = (register(&store, 1, "ada@example.org").await, register(&store, 2, "ben@example.org").await);
    prove(&store, 1, ada, "ada@example.org", 1).await;
    let (one, two, bens) = (log_in(&store, ada, 1).await, log_in(&store, ada, 2).await, log_in(&store, ben, 3).await);
    send(&store, token(2, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    send(&store, token(3, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    let (user, ended) = store.reset_password([2; 32], hash("second"), at(2)).await.unwrap().unwrap();
    assert_eq!(user.id, ada);
    assert_eq!(ended.iter().map(|ended| ended.id).collect::<HashSet<_>>(), HashSet::from([one, two]));
    assert_eq!(password(&store, ada).await, hash("second"));
    assert_eq!(logins(&store, ada).await, HashSet::new());
    assert_eq!(logins(&store, ben).await, HashSet::from([bens]));
    for number in [2, 3] {
        assert_eq!(store.reset_password([number; 32], hash("third"), at(2)).await.unwrap(), None, "{number}");
    }
    // Who never had a password is given one so, too.
    let username = Username::parse("bot").unwrap();
    let (id, email) = (UserId::from_random([3; 16]), Some(email("bot@example.org")));
    store.create_user(NewUser { id, username, email, password: None, created: at(0) }).await.unwrap();
    prove(&store, 4, id, "bot@example.org", 1).await;
    send(&store, token(5, id, MailPurpose::Reset, "bot@example.org", 1)).await;
    assert!(store.reset_password([5; 32], hash("its first"), at(2)).await.unwrap().is_some());
    assert_eq!(password(&store, id).await, hash("its first"));
}

async fn a_new_password_by_the_old_one_keeps_one_login(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    prove(&store, 1, ada, "ada@example.org", 1).await;
    send(&store, token(2, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    let (one, two) = (log_in(&store, ada, 1).await, log_in(&store, ada, 2).await);
    let change = |before: &str, new: &str, keep| {
        store.change_password(PasswordChange { user: ada, before: hash(before), password: hash(new), keep, now: at(2) })
    };
    assert_eq!(change("another", "stolen", Some(two)).await.unwrap(), None);
    assert_eq!(logins(&store, ada).await.len(), 2);
    let ended = change("first", "second", Some(two)).await.unwrap().unwrap();
    assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [one]);
    assert_eq!((logins(&store, ada).await, password(&store, ada).await), (HashSet::from([two]), hash("second")));
    assert_eq!(store.reset_password([2; 32], hash("stolen"), at(2)).await.unwrap(), None, "a link from before");
    // Of no login: all end.
    assert_eq!(change("second", "third", None).await.unwrap().unwrap().len(), 1);
    let nobody = UserId::from_random([9; 16]);
    let change = PasswordChange { user: nobody, before: hash("a"), password: hash("b"), keep: None, now: at(2) };
    assert!(matches!(store.change_password(change).await, Err(UserStoreError::NotFound)));
}

async fn racing_uses_of_a_link_set_one_password(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    prove(&store, 1, ada, "ada@example.org", 1).await;
    send(&store, token(2, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    let uses = (0..8).map(|number| store.reset_password([2; 32], hash(&format!("race {number}")), at(2)));
    let outcomes = futures_util::future::join_all(uses).await;
    let done: Vec<_> =
        outcomes.into_iter().enumerate().filter(|(_, outcome)| outcome.as_ref().unwrap().is_some()).collect();
    assert_eq!(done.len(), 1);
    assert_eq!(password(&store, ada).await, hash(&format!("race {}", done[0].0)));
}

async fn tokens_are_sent_within_a_limit(store: impl UserStore) {
    let limit = MailLimit { count: 2, window: Duration::from_secs(60) };
    let (ada, ben) = (register(&store, 1, "ada@example.org").await, register(&store, 2, "ben@example.org").await);
    let of = |number, user, purpose, seconds| {
        let address = if user == ada { "ada@example.org" } else { "ben@example.org" };
        store.add_mail_token(token(number, user, purpose, address, seconds), limit)
    };
    assert_eq!(of(1, ada, MailPurpose::Verification, 1).await.unwrap(), Ok(()));
    assert_eq!(of(8, ben, MailPurpose::Verification, 1).await.unwrap(), Ok(()));
    // One that was used counts.
    store.verify_email([1; 32], at(1)).await.unwrap().unwrap();
    assert_eq!(of(2, ada, MailPurpose::Verification, 11).await.unwrap(), Ok(()));
    assert_eq!(of(3, ada, MailPurpose::Verification, 21).await.unwrap(), Err(Duration::from_secs(40)));
    assert_eq!(store.mail_token([3; 32], MailPurpose::Verification, at(21)).await.unwrap(), None);
    // Each purpose and each account has its own.
    assert_eq!(of(4, ada, MailPurpose::Reset, 21).await.unwrap(), Ok(()));
    assert_eq!(of(5, ben, MailPurpose::Verification, 21).await.unwrap(), Ok(()));
    assert_eq!(of(6, ada, MailPurpose::Verification, 61).await.unwrap(), Ok(()));
    // Those that are over are forgotten, and good ones are not.
    let found = async |number| store.mail_token([number; 32], MailPurpose::Verification, at(10)).await.unwrap();
    assert_eq!((found(2).await, found(8).await), (Some(ada), Some(ben)));
    assert_eq!(of(7, ben, MailPurpose::Reset, 5 + GOOD).await.unwrap(), Ok(()));
    assert_eq!((found(2).await, found(8).await), (Some(ada), None));
}

async fn racing_tokens_stay_within_their_limit(store: impl UserStore) {
    let limit = MailLimit { count: 3, window: Duration::from_secs(60) };
    let ada = register(&store, 1, "ada@example.org").await;
    let adds = (1..=10)
        .map(|number| store.add_mail_token(token(number, ada, MailPurpose::Reset, "ada@example.org", 1), limit));
    let outcomes = futures_util::future::join_all(adds).await;
    let sent = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Ok(())).count();
    assert_eq!(sent, 3);
}

async fn an_account_that_was_put_aside_is_taken_up_by_the_next_login(store: impl UserStore) {
    let (ada, ben) = (register(&store, 1, "ada@example.org").await, register(&store, 2, "ben@example.org").await);
    let (one, bens) = (log_in(&store, ada, 1).await, log_in(&store, ben, 2).await);
    let (user, ended) = store.deactivate_user(ada, at(2)).await.unwrap();
    assert_eq!((user.state, user.version, user.username.as_str()), (AccountState::Deactivated, 2, "user1"));
    assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [one]);
    assert_eq!(store.users(vec![ada]).await.unwrap(), [Some(user.clone())]);
    // It is found, and keeps what it is logged in by.
    let credential = store.credential(Username::parse("user1").unwrap()).await.unwrap().unwrap();
    assert_eq!((credential.user, credential.password), (user, Some(hash("first"))));
    assert!(store.deactivate_user(ada, at(3)).await.unwrap().1.is_empty());
    log_in(&store, ada, 3).await;
    let user = store.users(vec![ada]).await.unwrap().remove(0).unwrap();
    assert_eq!((user.state, user.version), (AccountState::Active, 4));
    assert_eq!(logins(&store, ben).await, HashSet::from([bens]));
    let nobody = store.deactivate_user(UserId::from_random([9; 16]), at(2)).await;
    assert!(matches!(nobody, Err(UserStoreError::NotFound)), "{nobody:?}");
}

async fn an_erased_account_leaves_its_name_taken_and_nothing_else(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    prove(&store, 1, ada, "ada@example.org", 1).await;
    send(&store, token(2, ada, MailPurpose::Reset, "ada@example.org", 1)).await;
    let login = log_in(&store, ada, 1).await;
    let (erased, ended) = store.erase_user(ada, at(2)).await.unwrap();
    assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [login]);
    assert_eq!((erased.state, erased.id, erased.version), (AccountState::Erased, ada, 3));
    assert_eq!((&erased.username, &erased.email, &erased.picture), (&Username::of_erased(ada), &None, &None));
    assert!(!erased.email_verified);
    assert_eq!(store.users(vec![ada]).await.unwrap(), [Some(erased.clone())]);
    // Nobody finds it by what it had, nor by what stands in its place.
    let name = Username::parse("User1").unwrap();
    assert_eq!(store.users_by_name(vec![name.clone(), erased.username.clone()]).await.unwrap(), [None, None]);
    assert_eq!(store.credential(name.clone()).await.unwrap(), None);
    assert_eq!(store.credential_of(ada).await.unwrap().unwrap().password, None);
    assert_eq!(store.user_by_verified_email(email("ada@example.org")).await.unwrap(), None);
    assert_eq!(store.reset_password([2; 32], hash("stolen"), at(2)).await.unwrap(), None);
    // Nobody takes its name, and others may have its address.
    let id = UserId::from_random([2; 16]);
    let new = NewUser { id, username: name, email: None, password: None, created: at(3) };
    let taken = |refused: Result<(), UserStoreError>| {
        assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Username))), "{refused:?}");
    };
    taken(store.create_user(new.clone()).await.map(drop));
    taken(store.ensure_users(vec![new.clone()]).await.map(drop));
    let ben = register(&store, 2, "ada@example.org").await;
    let rename = UserChange { username: Some(new.username), ..UserChange::default() };
    taken(store.update_user(ben, rename, None).await.map(drop));
    assert!(prove(&store, 3, ben, "ada@example.org", 3).await.email_verified);
    // It is over: nothing begins anew.
    let login = NewLogin { user: ada, id: LoginId::from_random(5), label: None, refresh: [1; 32], created: at(3) };
    let nothing = |refused: Result<(), UserStoreError>| {
        assert!(matches!(refused, Err(UserStoreError::NotFound)), "{refused:?}");
    };
    nothing(store.add_login(login, LIMITS).await.map(drop));
    nothing(store.erase_user(ada, at(3)).await.map(drop));
    nothing(store.deactivate_user(ada, at(3)).await.map(drop));
    nothing(store.update_user(ada, UserChange::default(), None).await.map(drop));
}

async fn racing_logins_and_an_erasure_leave_no_login(store: impl UserStore) {
    let ada = register(&store, 1, "ada@example.org").await;
    let begin = async |number: u64| {
        let id = LoginId::from_random(number);
        let new = NewLogin { user: ada, id, label: None, refresh: [1; 32], created: at(1) };
        store.add_login(new, LIMITS).await.is_ok()
    };
    let (begun, erased) =
        tokio::join!(futures_util::future::join_all((1..=10).map(begin)), store.erase_user(ada, at(1)));
    let (_, ended) = erased.unwrap();
    assert_eq!(begun.iter().filter(|begun| **begun).count(), ended.len(), "each that began was ended");
    assert_eq!(logins(&store, ada).await, HashSet::new());
}
