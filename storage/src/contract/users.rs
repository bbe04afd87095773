//! The suite of [`UserStore`].

use panda_protocol::{Time, UserId};

use crate::user_store::{
    AccountState, Credential, Email, NewUser, PasswordHash, PictureUrl, USERS_MAX, UniqueField, User, UserChange,
    UserStore, UserStoreError, Username,
};

/// Runs every test on a new, empty store.
pub(crate) async fn all<S: UserStore>(make: impl AsyncFn() -> S) {
    a_created_user_is_read_back(make().await).await;
    a_name_is_taken_whatever_its_case(make().await).await;
    ensuring_users_is_idempotent(make().await).await;
    a_bulk_is_created_wholly_or_not_at_all(make().await).await;
    calls_above_their_limit_are_refused(make().await).await;
    a_change_raises_the_version_and_keeps_the_rest(make().await).await;
    a_change_of_an_older_version_is_refused(make().await).await;
    racing_registrations_of_a_name_make_one_user(make().await).await;
    racing_bulks_of_the_same_names_agree(make().await).await;
    racing_changes_of_one_version_apply_once(make().await).await;
    users_are_gone_through_in_order(make().await).await;
    users_are_taken_over_as_they_were(make().await, make().await).await;
    an_import_is_whole_and_stale_ones_change_nothing(make().await).await;
    racing_imports_agree(make().await).await;
}

fn name(text: &str) -> Username {
    Username::parse(text).unwrap()
}

fn id(number: u64) -> UserId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    UserId::from_random(bytes)
}

fn new_user(number: u64, username: &str) -> NewUser {
    let password = Some(PasswordHash(format!("$argon2id${number}")));
    NewUser {
        id: id(number),
        username: name(username),
        email: Some(Email::parse("a@b.org").unwrap()),
        password,
        created: Time(number),
    }
}

async fn one(store: &impl UserStore, id: UserId) -> Option<User> {
    store.users(vec![id]).await.unwrap().remove(0)
}

async fn a_created_user_is_read_back(store: impl UserStore) {
    let created = store.create_user(new_user(1, "Ada")).await.unwrap();
    let expected = User {
        id: id(1),
        username: name("Ada"),
        email: Some(Email::parse("a@b.org").unwrap()),
        email_verified: false,
        state: AccountState::Active,
        picture: None,
        version: 1,
        created: Time(1),
    };
    assert_eq!(created, expected);
    assert_eq!(store.users(vec![id(2), id(1)]).await.unwrap(), [None, Some(expected.clone())]);
    assert_eq!(store.users_by_name(vec![name("aDA"), name("bob")]).await.unwrap(), [Some(expected.clone()), None]);
    let credential = store.credential(name("ADA")).await.unwrap().unwrap();
    assert_eq!((credential.user, credential.password), (expected, Some(PasswordHash("$argon2id$1".into()))));
    assert_eq!(store.credential(name("bob")).await.unwrap(), None);
    let without = NewUser { password: None, email: None, ..new_user(2, "bot") };
    store.create_user(without).await.unwrap();
    let credential = store.credential(name("bot")).await.unwrap().unwrap();
    assert_eq!((credential.user.email, credential.password), (None, None));
}

async fn a_name_is_taken_whatever_its_case(store: impl UserStore) {
    store.create_user(new_user(1, "ada")).await.unwrap();
    let refused = store.create_user(new_user(2, "ADA")).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Username))), "{refused:?}");
    let refused = store.create_user(new_user(1, "bob")).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Id))), "{refused:?}");
    assert_eq!(one(&store, id(2)).await, None);
    assert_eq!(store.users_by_name(vec![name("bob")]).await.unwrap(), [None]);
}

async fn ensuring_users_is_idempotent(store: impl UserStore) {
    store.create_user(new_user(1, "Ada")).await.unwrap();
    let first = store
        .ensure_users(vec![new_user(2, "bob"), new_user(3, "ada"), new_user(4, "eve"), new_user(5, "BOB")])
        .await
        .unwrap();
    assert_eq!(first.iter().map(|user| user.id).collect::<Vec<_>>(), [id(2), id(1), id(4), id(2)]);
    let again = store.ensure_users(vec![new_user(6, "eve"), new_user(7, "bob")]).await.unwrap();
    assert_eq!(again, [first[2].clone(), first[0].clone()]);
    assert_eq!(
        store.credential(name("ada")).await.unwrap().unwrap().password,
        Some(PasswordHash("$argon2id$1".into()))
    );
}

async fn a_bulk_is_created_wholly_or_not_at_all(store: impl UserStore) {
    store.create_user(new_user(1, "ada")).await.unwrap();
    let refused = store.ensure_users(vec![new_user(2, "bob"), new_user(1, "eve")]).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Id))), "{refused:?}");
    assert_eq!(store.users_by_name(vec![name("bob"), name("eve")]).await.unwrap(), [None, None]);
}

async fn calls_above_their_limit_are_refused(store: impl UserStore) {
    let count = u64::try_from(USERS_MAX).unwrap();
    let many: Vec<_> = (0..=count).map(|number| new_user(number, &format!("user{number}"))).collect();
    assert!(matches!(store.ensure_users(many.clone()).await, Err(UserStoreError::TooMany(USERS_MAX))));
    assert!(matches!(
        store.users(many.iter().map(|user| user.id).collect()).await,
        Err(UserStoreError::TooMany(USERS_MAX))
    ));
    let names = many.iter().map(|user| user.username.clone()).collect();
    assert!(matches!(store.users_by_name(names).await, Err(UserStoreError::TooMany(USERS_MAX))));
    let made = store.ensure_users(many[..USERS_MAX].to_vec()).await.unwrap();
    assert_eq!(made.len(), USERS_MAX);
    assert_eq!(made[USERS_MAX - 1].id, id(count - 1));
}

async fn a_change_raises_the_version_and_keeps_the_rest(store: impl UserStore) {
    store.create_user(new_user(1, "ada")).await.unwrap();
    store.create_user(new_user(2, "bob")).await.unwrap();
    let picture = PictureUrl::parse("https://example.org/a.png").unwrap();
    let changed = store
        .update_user(id(1), UserChange { picture: Some(Some(picture.clone())), ..UserChange::default() }, None)
        .await
        .unwrap();
    assert_eq!((changed.version, changed.picture.clone(), changed.username.as_str()), (2, Some(picture), "ada"));
    let renamed = store
        .update_user(
            id(1),
            UserChange { username: Some(name("Ada")), email: Some(None), ..UserChange::default() },
            Some(2),
        )
        .await
        .unwrap();
    assert_eq!((renamed.version, renamed.email.clone(), renamed.username.as_str()), (3, None, "Ada"));
    assert_eq!(renamed.picture, changed.picture);
    assert_eq!(one(&store, id(1)).await, Some(renamed.clone()));
    let taken =
        store.update_user(id(1), UserChange { username: Some(name("BOB")), ..UserChange::default() }, None).await;
    assert!(matches!(taken, Err(UserStoreError::Taken(UniqueField::Username))), "{taken:?}");
    assert_eq!(one(&store, id(1)).await, Some(renamed));
    let nobody = store.update_user(id(9), UserChange::default(), None).await;
    assert!(matches!(nobody, Err(UserStoreError::NotFound)), "{nobody:?}");
    // A name that was given up is free again.
    store
        .update_user(id(1), UserChange { username: Some(name("lovelace")), ..UserChange::default() }, None)
        .await
        .unwrap();
    store.create_user(new_user(3, "ada")).await.unwrap();
}

async fn a_change_of_an_older_version_is_refused(store: impl UserStore) {
    store.create_user(new_user(1, "ada")).await.unwrap();
    let change = UserChange { email: Some(None), ..UserChange::default() };
    store.update_user(id(1), change.clone(), Some(1)).await.unwrap();
    let refused = store.update_user(id(1), change, Some(1)).await;
    assert!(matches!(refused, Err(UserStoreError::VersionConflict { current: 2 })), "{refused:?}");
}

async fn racing_registrations_of_a_name_make_one_user(store: impl UserStore) {
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.create_user(new_user(number, "ada")).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(UserStoreError::Taken(UniqueField::Username)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(made, 1);
}

/// Each names the users in another order: a store that takes them one by one in that order has two that
/// wait for each other.
async fn racing_bulks_of_the_same_names_agree(store: impl UserStore) {
    const TASKS: u64 = 8;
    const NAMES: u64 = 500;
    for round in 0..4 {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let store = store.clone();
                let of = move |place: u64| {
                    let number = (place + task * 60) % NAMES;
                    new_user(((round * TASKS) + task) * NAMES + number, &format!("user{round}-{number}"))
                };
                let places =
                    if task % 2 == 0 { (0..NAMES).map(of).collect() } else { (0..NAMES).rev().map(of).collect() };
                tokio::spawn(async move { store.ensure_users(places).await.unwrap() })
            })
            .collect();
        let mut made = std::collections::HashMap::new();
        for task in tasks {
            for user in task.await.unwrap() {
                assert_eq!(made.entry(user.username.key()).or_insert(user.id), &user.id);
            }
        }
        assert_eq!(u64::try_from(made.len()).unwrap(), NAMES);
    }
}

async fn racing_changes_of_one_version_apply_once(store: impl UserStore) {
    store.create_user(new_user(1, "ada")).await.unwrap();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            let change = UserChange { email: Some(None), ..UserChange::default() };
            tokio::spawn(async move { store.update_user(id(1), change, Some(1)).await })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(user) => {
                assert_eq!(user.version, 2);
                applied += 1;
            }
            Err(error) => assert!(matches!(error, UserStoreError::VersionConflict { current: 2 }), "{error}"),
        }
    }
    assert_eq!(applied, 1);
}

/// All users, in pages of `limit`.
async fn scanned(store: &impl UserStore, limit: usize) -> Vec<Credential> {
    let mut found: Vec<Credential> = Vec::new();
    loop {
        let page = store.scan_users(found.last().map(|last| last.user.id), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

async fn users_are_gone_through_in_order(store: impl UserStore) {
    assert_eq!(scanned(&store, USERS_MAX).await, []);
    for number in [3, 1, 256, 2, 255] {
        let password = (number != 2).then(|| PasswordHash(format!("$argon2id${number}")));
        store.create_user(NewUser { password, ..new_user(number, &format!("user{number}")) }).await.unwrap();
    }
    let found = scanned(&store, USERS_MAX).await;
    let ids: Vec<_> = found.iter().map(|one| one.user.id).collect();
    assert_eq!(ids, [id(1), id(2), id(3), id(255), id(256)]);
    for limit in [1, 2, 5] {
        assert_eq!(scanned(&store, limit).await, found, "{limit}");
    }
    assert_eq!((&found[0].password, &found[1].password), (&Some(PasswordHash("$argon2id$1".into())), &None));
    let refused = store.scan_users(None, USERS_MAX + 1).await;
    assert!(matches!(refused, Err(UserStoreError::TooMany(USERS_MAX))), "{refused:?}");
}

async fn users_are_taken_over_as_they_were(from: impl UserStore, to: impl UserStore) {
    from.create_user(new_user(1, "Ada")).await.unwrap();
    from.create_user(NewUser { password: None, email: None, ..new_user(2, "bot") }).await.unwrap();
    let picture = Some(PictureUrl::parse("https://example.org/a.png").unwrap());
    from.update_user(id(1), UserChange { picture: Some(picture), ..UserChange::default() }, None).await.unwrap();
    let users = scanned(&from, USERS_MAX).await;
    assert_eq!(users[0].user.version, 2);
    to.import_users(users.clone()).await.unwrap();
    assert_eq!(scanned(&to, USERS_MAX).await, users);
    assert_eq!(to.credential(name("ADA")).await.unwrap().as_ref(), Some(&users[0]));
    // They go on as users of this store.
    let changed = to.update_user(id(1), UserChange::default(), Some(2)).await.unwrap();
    assert_eq!(changed.version, 3);
}

async fn an_import_is_whole_and_stale_ones_change_nothing(store: impl UserStore) {
    let asked: Vec<_> = [(1, "ada"), (2, "ben"), (3, "eve")].map(|(number, name)| imported(number, name)).into();
    store.import_users(asked.clone()).await.unwrap();
    store
        .update_user(id(1), UserChange { username: Some(name("lovelace")), ..UserChange::default() }, None)
        .await
        .unwrap();
    // Another one takes the name that was given up.
    store.create_user(new_user(9, "ada")).await.unwrap();
    let before = scanned(&store, USERS_MAX).await;
    store.import_users(asked.clone()).await.unwrap();
    store.import_users(Vec::new()).await.unwrap();
    assert_eq!(scanned(&store, USERS_MAX).await, before);
    let refused = store.import_users(vec![imported(4, "zoe"), imported(5, "ADA")]).await;
    assert!(matches!(refused, Err(UserStoreError::Taken(UniqueField::Username))), "{refused:?}");
    assert_eq!(scanned(&store, USERS_MAX).await, before);
    let many = (0..=u64::try_from(USERS_MAX).unwrap()).map(|number| imported(number, &format!("user{number}")));
    let refused = store.import_users(many.collect()).await;
    assert!(matches!(refused, Err(UserStoreError::TooMany(USERS_MAX))), "{refused:?}");
}

async fn racing_imports_agree(store: impl UserStore) {
    let users: Vec<_> = (0..500).map(|number| imported(number, &format!("user{number}"))).collect();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (store, mut users) = (store.clone(), users.clone());
            users.rotate_left(task * 120);
            tokio::spawn(async move { store.import_users(users).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(scanned(&store, USERS_MAX).await, users);
}

fn imported(number: u64, username: &str) -> Credential {
    let NewUser { id, username, email, password, created } = new_user(number, username);
    Credential {
        user: User {
            id,
            username,
            email,
            email_verified: false,
            state: AccountState::Active,
            picture: None,
            version: 7,
            created,
        },
        password,
    }
}
