//! A folder, and a bucket where `PANDA_TEST_S3` names one: both do the same.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn ada() -> UserId {
    UserId::from_random([1; 16])
}

fn ben() -> UserId {
    UserId::from_random([2; 16])
}

fn picture(user: UserId, bytes: &'static [u8]) -> (PictureName, Bytes) {
    (PictureName::of(user, PictureFormat::Png, bytes), Bytes::from_static(bytes))
}

async fn keeps_what_is_put(store: &PictureStore) {
    let ((one, one_bytes), (two, two_bytes), (bens, bens_bytes)) =
        (picture(ada(), b"one"), picture(ada(), b"two"), picture(ben(), b"one"));
    assert_eq!(store.get(&one).await.unwrap(), None);
    store.remove(&one).await.unwrap();
    assert_eq!(store.remove_all(ada()).await.unwrap(), 0, "nobody has one yet");
    for _ in 0..2 {
        store.put(&one, one_bytes.clone()).await.unwrap();
    }
    store.put(&two, two_bytes.clone()).await.unwrap();
    store.put(&bens, bens_bytes.clone()).await.unwrap();
    assert_eq!(store.get(&one).await.unwrap(), Some(one_bytes.clone()));
    let (long_ago, far_away) = (1_700_000_000, 4_000_000_000);
    assert_eq!(store.remove_left(&two, long_ago).await.unwrap(), 0, "a young one may be another process's");
    assert_eq!(store.remove_left(&two, far_away).await.unwrap(), 1);
    assert_eq!(store.get(&one).await.unwrap(), None);
    assert_eq!(store.get(&two).await.unwrap(), Some(two_bytes));
    store.remove(&two).await.unwrap();
    assert_eq!(store.get(&two).await.unwrap(), None);
    store.put(&one, one_bytes).await.unwrap();
    assert_eq!(store.remove_all(ada()).await.unwrap(), 1);
    assert_eq!(store.get(&bens).await.unwrap(), Some(bens_bytes), "another's stays");
    assert_eq!(store.remove_all(ben()).await.unwrap(), 1);
    let large = Bytes::from(vec![0; PICTURE_BYTES_MAX + 1]);
    let name = PictureName::of(ada(), PictureFormat::Jpeg, &large);
    assert!(matches!(store.put(&name, large).await, Err(StoreError::Limit(_))));
}

#[tokio::test]
async fn a_folder_keeps_what_is_put() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/pictures");
    let store = PictureStore::in_folder(&path).unwrap();
    keeps_what_is_put(&store).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o77, 0, "nobody else looks into it");
}

#[tokio::test]
async fn a_bucket_keeps_what_is_put() {
    let Ok(endpoint) = std::env::var("PANDA_TEST_S3") else { return };
    let config = BucketConfig {
        bucket: "panda".into(),
        endpoint,
        region: "us-east-1".into(),
        access_key_id: "panda".into(),
        secret_key: "sesame".into(),
    };
    keeps_what_is_put(&PictureStore::in_bucket(&config).unwrap()).await;
    let absent = BucketConfig { bucket: "absent".into(), ..config };
    let (name, bytes) = picture(ada(), b"one");
    assert!(PictureStore::in_bucket(&absent).unwrap().put(&name, bytes).await.is_err());
}

#[tokio::test]
async fn a_picture_that_was_changed_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = PictureStore::in_folder(folder.path()).unwrap();
    let (name, bytes) = picture(ada(), b"one");
    store.put(&name, bytes).await.unwrap();
    let file = folder.path().join(name.to_string());
    for other in [&b"another"[..], b"", &vec![0; PICTURE_BYTES_MAX + 1]] {
        std::fs::write(&file, other).unwrap();
        assert!(matches!(store.get(&name).await, Err(StoreError::Corrupt(_))), "{} bytes", other.len());
    }
}

#[tokio::test]
async fn a_store_that_is_away_says_so_in_time() {
    let config = BucketConfig {
        bucket: "panda".into(),
        // A port that nobody can listen on.
        endpoint: "http://127.0.0.1:0".into(),
        region: "us-east-1".into(),
        access_key_id: "panda".into(),
        secret_key: "sesame".into(),
    };
    assert!(!format!("{config:?}").contains("sesame"));
    let store = PictureStore::in_bucket(&config).unwrap();
    let (name, bytes) = picture(ada(), b"one");
    assert!(matches!(store.put(&name, bytes).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.get(&name).await, Err(StoreError::Unavailable(_))));
}

#[test]
fn a_file_in_the_place_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let refused = PictureStore::in_folder(&path).unwrap_err();
    assert!(matches!(&refused, StoreError::Misconfigured(text) if text.contains("file")), "{refused}");
}
