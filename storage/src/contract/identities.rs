//! The part of the suite of [`UserStore`] that is about identities, and codes that are used once.

use panda_protocol::{Time, UserId};

use crate::user_store::{
    Email, IDENTITIES_MAX, Identity, IdentityKey, NewUser, PasswordHash, ProviderName, Subject, ToldIdentity,
    UniqueField, UserStore, UserStoreError, Username,
};

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    a_user_is_created_with_an_identity_and_found_by_it(make().await).await;
    nobody_is_found_by_a_mail_address(make().await).await;
    a_name_that_is_taken_leaves_no_identity_behind(make().await).await;
    an_identity_is_of_one_user_only(make().await).await;
    subjects_are_compared_byte_by_byte(make().await).await;
    what_is_told_later_is_noted(make().await).await;
    linking_needs_a_user_and_has_a_limit(make().await).await;
    the_last_way_in_stays(make().await).await;
    who_is_erased_is_found_by_no_identity(make().await).await;
    racing_first_logins_make_one_user(make().await).await;
    racing_unlinks_leave_one_way_in(make().await).await;
    a_code_is_used_once_until_it_is_over(make().await).await;
}

fn at(seconds: u64) -> Time {
    Time(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn new_user(byte: u8) -> NewUser {
    let username = Username::parse(&format!("user{byte}")).unwrap();
    NewUser { id: UserId::from_random([byte; 16]), username, email: None, password: None, created: at(0) }
}

fn provider(name: &str) -> ProviderName {
    ProviderName::parse(name).unwrap()
}

fn told(name: &str, subject: &str, seconds: u64) -> ToldIdentity {
    let key = IdentityKey { provider: provider(name), subject: Subject::parse(subject).unwrap() };
    ToldIdentity { key, email: Some(Email::parse("ada@example.org").unwrap()), email_verified: true, at: at(seconds) }
}

async fn found(store: &impl UserStore, name: &str, subject: &str) -> Option<UserId> {
    store.user_of_identity(told(name, subject, 9)).await.unwrap().map(|user| user.id)
}

async fn keys(store: &impl UserStore, user: UserId) -> Vec<IdentityKey> {
    store.identities(user).await.unwrap().into_iter().map(|identity| identity.key).collect()
}

async fn a_user_is_created_with_an_identity_and_found_by_it(store: impl UserStore) {
    assert_eq!(found(&store, "google", "1").await, None);
    let made = store.create_user_of_identity(new_user(1), told("google", "1", 3)).await.unwrap();
    assert_eq!(store.users(vec![made.id]).await.unwrap(), [Some(made.clone())]);
    assert_eq!(store.user_of_identity(told("google", "1", 5)).await.unwrap(), Some(made.clone()));
    let ToldIdentity { key, email, email_verified, .. } = told("google", "1", 3);
    let expected = Identity { key, email, email_verified, linked: at(3), used: at(5) };
    assert_eq!(store.identities(made.id).await.unwrap(), [expected]);
    assert_eq!(store.credential(made.username).await.unwrap().unwrap().password, None);
}

async fn nobody_is_found_by_a_mail_address(store: impl UserStore) {
    let email = told("google", "1", 1).email;
    store.create_user(NewUser { email: email.clone(), ..new_user(1) }).await.unwrap();
    assert_eq!(found(&store, "google", "1").await, None);
    let other = store.create_user_of_identity(NewUser { email, ..new_user(2) }, told("google", "1", 1)).await.unwrap();
    assert_eq!(found(&store, "google", "1").await, Some(other.id));
}

async fn who_is_erased_is_found_by_no_identity(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "1", 1)).await.unwrap().id;
    store.erase_user(ada, at(2)).await.unwrap();
    assert_eq!((found(&store, "google", "1").await, keys(&store, ada).await), (None, vec![]));
    // Whoever comes with it is somebody new.
    let other = store.create_user_of_identity(new_user(2), told("google", "1", 3)).await.unwrap().id;
    assert_eq!(found(&store, "google", "1").await, Some(other));
    assert!(store.link_identity(ada, told("google", "2", 4)).await.is_err(), "who is erased gets no way in");
}

async fn a_name_that_is_taken_leaves_no_identity_behind(store: impl UserStore) {
    store.create_user(new_user(1)).await.unwrap();
    let again = NewUser { id: UserId::from_random([9; 16]), ..new_user(1) };
    let refused = store.create_user_of_identity(again.clone(), told("google", "1", 1)).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Username))), "{refused:?}");
    assert_eq!(found(&store, "google", "1").await, None);
    assert_eq!(keys(&store, again.id).await, []);
}

async fn an_identity_is_of_one_user_only(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "1", 1)).await.unwrap().id;
    let ben = store.create_user(new_user(2)).await.unwrap().id;
    let taken = store.link_identity(ben, told("google", "1", 2)).await;
    assert!(matches!(taken, Err(UserStoreError::Taken(UniqueField::Identity))), "{taken:?}");
    let taken = store.create_user_of_identity(new_user(3), told("google", "1", 2)).await;
    assert!(matches!(taken, Err(UserStoreError::Taken(UniqueField::Identity))), "{taken:?}");
    assert_eq!(store.users(vec![new_user(3).id]).await.unwrap(), [None], "no user without the identity");
    let gone = store.unlink_identity(ben, told("google", "1", 2).key, vec![]).await;
    assert!(matches!(gone, Err(UserStoreError::NotFound)), "{gone:?}");
    assert_eq!(found(&store, "google", "1").await, Some(ada));
    assert_eq!(store.identities(ada).await.unwrap()[0].used, at(9), "what was refused noted nothing");
}

async fn subjects_are_compared_byte_by_byte(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "aB", 1)).await.unwrap().id;
    let ben = store.create_user_of_identity(new_user(2), told("google", "ab", 1)).await.unwrap().id;
    let eve = store.create_user_of_identity(new_user(3), told("github", "ab", 1)).await.unwrap().id;
    for (name, subject, user) in [("google", "aB", Some(ada)), ("google", "ab", Some(ben)), ("github", "ab", Some(eve))]
    {
        assert_eq!(found(&store, name, subject).await, user, "{name} {subject}");
    }
    assert_eq!(found(&store, "google", "ab ").await, None);
}

async fn what_is_told_later_is_noted(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "1", 10)).await.unwrap().id;
    let later = ToldIdentity { email: None, email_verified: false, ..told("google", "1", 8) };
    store.user_of_identity(later).await.unwrap();
    let identity = store.identities(ada).await.unwrap().remove(0);
    // A clock that is behind takes nothing back.
    assert_eq!((identity.email, identity.email_verified, identity.used), (None, false, at(10)));
    // Linking it again is no second one.
    let again = store.link_identity(ada, told("google", "1", 12)).await.unwrap();
    assert_eq!((again.linked, again.used, again.email_verified), (at(10), at(12), true));
    assert_eq!(store.identities(ada).await.unwrap(), [again]);
}

async fn linking_needs_a_user_and_has_a_limit(store: impl UserStore) {
    let nobody = store.link_identity(new_user(7).id, told("google", "1", 1)).await;
    assert!(matches!(nobody, Err(UserStoreError::NotFound)), "{nobody:?}");
    let ada = store.create_user(new_user(1)).await.unwrap().id;
    for number in 0..IDENTITIES_MAX {
        store.link_identity(ada, told("google", &format!("{number:02}"), 1)).await.unwrap();
    }
    let refused = store.link_identity(ada, told("google", "more", 1)).await;
    assert!(matches!(refused, Err(UserStoreError::TooMany(IDENTITIES_MAX))), "{refused:?}");
    store.link_identity(ada, told("google", "07", 2)).await.unwrap();
    let stored = keys(&store, ada).await;
    let is_sorted = stored.is_sorted_by_key(|key| (key.provider.as_str(), key.subject.as_str()));
    assert!(stored.len() == IDENTITIES_MAX && is_sorted, "{stored:?}");
}

async fn the_last_way_in_stays(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "1", 1)).await.unwrap().id;
    let google = || told("google", "1", 1).key;
    let usable = || vec![provider("google"), provider("github")];
    let last = store.unlink_identity(ada, google(), usable()).await;
    assert!(matches!(last, Err(UserStoreError::LastWayIn)), "{last:?}");
    // One of a provider that is not configured any more lets nobody in.
    store.link_identity(ada, told("gone", "1", 1)).await.unwrap();
    let last = store.unlink_identity(ada, google(), usable()).await;
    assert!(matches!(last, Err(UserStoreError::LastWayIn)), "{last:?}");
    store.link_identity(ada, told("github", "1", 1)).await.unwrap();
    store.unlink_identity(ada, google(), usable()).await.unwrap();
    assert_eq!(found(&store, "google", "1").await, None);
    // Who has a password needs none of them.
    let password = Some(PasswordHash("$argon2id$".into()));
    let ben = store.create_user(NewUser { password, ..new_user(2) }).await.unwrap().id;
    store.link_identity(ben, told("google", "1", 2)).await.unwrap();
    store.unlink_identity(ben, google(), usable()).await.unwrap();
    assert_eq!(keys(&store, ben).await, []);
    let gone = store.unlink_identity(ben, google(), usable()).await;
    assert!(matches!(gone, Err(UserStoreError::NotFound)), "{gone:?}");
}

async fn racing_first_logins_make_one_user(store: impl UserStore) {
    let make = |byte| {
        let store = store.clone();
        tokio::spawn(async move { store.create_user_of_identity(new_user(byte), told("google", "1", 1)).await })
    };
    let racing: Vec<_> = (1..=8).map(make).collect();
    let (mut made, mut refused) = (Vec::new(), 0);
    for one in racing {
        match one.await.unwrap() {
            Ok(user) => made.push(user.id),
            Err(UserStoreError::Taken(UniqueField::Identity)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made.len(), refused), (1, 7));
    assert_eq!(found(&store, "google", "1").await, Some(made[0]));
}

async fn racing_unlinks_leave_one_way_in(store: impl UserStore) {
    let ada = store.create_user_of_identity(new_user(1), told("google", "0", 1)).await.unwrap().id;
    for number in 1..4 {
        store.link_identity(ada, told("google", &number.to_string(), 1)).await.unwrap();
    }
    let unlink = |number: u64| {
        let (store, key) = (store.clone(), told("google", &number.to_string(), 1).key);
        tokio::spawn(async move { store.unlink_identity(ada, key, vec![provider("google")]).await })
    };
    let racing: Vec<_> = (0..4).map(unlink).collect();
    let mut refused = 0;
    for one in racing {
        refused += usize::from(matches!(one.await.unwrap(), Err(UserStoreError::LastWayIn)));
    }
    assert_eq!((refused, keys(&store, ada).await.len()), (1, 1));
}

async fn a_code_is_used_once_until_it_is_over(store: impl UserStore) {
    let use_it = |code: u8, seconds: u64| {
        let store = store.clone();
        tokio::spawn(async move { store.use_code([code; 16], at(60), at(seconds)).await.unwrap() })
    };
    let racing: Vec<_> = (0..8).map(|_| use_it(1, 1)).collect();
    let mut used = 0;
    for one in racing {
        used += usize::from(one.await.unwrap());
    }
    assert_eq!(used, 1);
    assert!(use_it(2, 1).await.unwrap());
    assert!(!use_it(1, 120).await.unwrap(), "as long as it may be brought, and a clock is behind");
    assert!(use_it(1, 121).await.unwrap(), "what is over is forgotten");
}
