//! One's own picture: sent, seen by others, replaced and removed.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Rgb};
use panda_api::ApiConfig;

use crate::support::{Answer, Request, Server};

fn png(side: u32, colour: [u8; 3]) -> Vec<u8> {
    let picture = DynamicImage::ImageRgb8(ImageBuffer::from_pixel(side, side, Rgb(colour)));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn send(server: &Server, token: &str, bytes: &[u8]) -> Answer {
    server.put("/user/me/picture").bearer(token).bytes(bytes).send().await
}

async fn read(server: &Server, path: &str) -> Answer {
    server.get(path).send().await
}

fn picture(profile: &Answer) -> String {
    assert_eq!(profile.status, 200, "{profile:?}");
    profile.json()["picture"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_picture_is_made_anew_and_everybody_sees_it_until_the_next() {
    let server = Server::start().await;
    let ((_, ada), (_, ben)) = (server.user("ada").await, server.user("ben").await);
    let sent = send(&server, &ada, &png(900, [200, 10, 10])).await;
    let first = picture(&sent);
    assert_eq!(sent.header("etag"), Some("\"v2\""));
    let seen = server.get("/user/@ada").bearer(&ben).send().await;
    assert_eq!(picture(&seen), first);

    // An element of a page names it, which sends no token.
    let got = read(&server, &first).await;
    assert_eq!((got.status, got.header("content-type")), (200, Some("image/jpeg")));
    assert_eq!(got.header("cache-control"), Some("public, max-age=31536000, immutable"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    assert!(got.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let made = image::load_from_memory(&got.bytes).unwrap();
    assert_eq!((made.width(), made.height()), (512, 512));
    let tag = got.header("etag").unwrap();
    let again = server.get(&first).header("If-None-Match", tag).send().await;
    assert_eq!((again.status, again.bytes.len()), (304, 0));

    let second = picture(&send(&server, &ada, &png(20, [10, 10, 200])).await);
    assert_ne!(second, first);
    assert_eq!(read(&server, &first).await.refusal(), (404, "not_found".into()), "one picture a user");
    assert_eq!(read(&server, &second).await.status, 200);
    // The same bytes once more are the same picture.
    assert_eq!(picture(&send(&server, &ada, &png(20, [10, 10, 200])).await), second);
    assert_eq!(read(&server, &second).await.status, 200);

    let removed = server.delete("/user/me/picture").bearer(&ada).send().await;
    assert_eq!((removed.status, removed.json()["picture"].is_null()), (200, true));
    assert_eq!(read(&server, &second).await.status, 404);
}

#[tokio::test]
async fn what_is_no_picture_or_too_much_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let kept = picture(&send(&server, &ada, &png(20, [1, 2, 3])).await);
    for (bytes, refusal) in [
        (&b"<svg/>"[..], (400, "invalid_request".to_owned())),
        (b"", (400, "invalid_request".to_owned())),
        (&vec![0; 8 * 1024 * 1024 + 1], (413, "too_large".to_owned())),
    ] {
        let refused = send(&server, &ada, bytes).await;
        assert_eq!(refused.refusal(), refusal, "{} bytes", bytes.len());
    }
    let profile = server.get("/user/me").bearer(&ada).send().await;
    assert_eq!((picture(&profile), profile.json()["version"].as_u64()), (kept.clone(), Some(2)));
    // Nobody names a picture of this deployment by hand: it would be another's, or none.
    let body = format!(r#"{{"picture":"{kept}"}}"#);
    let named = server.put("/user/me").bearer(&ada).body(&body).send().await;
    assert_eq!(named.refusal(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn only_ones_own_is_changed_and_only_the_version_that_is_meant() {
    let server = Server::start().await;
    let ((_, ada), (_, ben)) = (server.user("ada").await, server.user("ben").await);
    for method in ["PUT", "DELETE"] {
        let request = |who: &str, token: &str| {
            let path = format!("/user/{who}/picture");
            Request::new(server.address, method, &path).bearer(token).bytes(&png(8, [1, 2, 3]))
        };
        assert_eq!(request("@ada", &ben).send().await.refusal(), (403, "forbidden".into()), "{method}");
        assert_eq!(request("@nobody", &ben).send().await.status, 404, "{method}");
        let old = request("me", &ada).header("If-Match", "\"v9\"").send().await;
        assert_eq!(old.refusal(), (412, "version_conflict".into()), "{method}");
    }
    let unknown = server.put("/user/me/picture").bytes(&png(8, [1, 2, 3])).send().await;
    assert_eq!(unknown.status, 401);
    let profile = server.get("/user/me").bearer(&ada).send().await;
    assert!(profile.json()["picture"].is_null());
}

#[tokio::test]
async fn paths_that_name_no_picture_name_nothing() {
    let server = Server::start().await;
    let (_, ada) = server.user("ada").await;
    let kept = picture(&send(&server, &ada, &png(20, [1, 2, 3])).await);
    for path in [
        "/pictures/../users.sqlite".to_owned(),
        "/pictures/%2e%2e/users.sqlite".to_owned(),
        "/pictures/..%2f..%2fetc/passwd".to_owned(),
        kept.replace(".jpg", ".png"),
        kept.replace(".jpg", ".jpg%00"),
        format!("{kept}/"),
        kept.to_uppercase().replace("/PICTURES/", "/pictures/"),
    ] {
        assert_eq!(read(&server, &path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn pictures_of_one_user_have_a_rate_and_a_deployment_without_a_place_says_so() {
    let server = Server::with(|config: &mut ApiConfig| config.pictures_per_user.count = 2, None).await;
    let (_, ada) = server.user("ada").await;
    for _ in 0..2 {
        assert_eq!(send(&server, &ada, b"no picture").await.status, 400);
    }
    let refused = send(&server, &ada, &png(8, [1, 2, 3])).await;
    assert_eq!(refused.refusal(), (429, "rate_limited".into()));
    assert!(refused.header("retry-after").is_some());

    let server = Server::without_pictures().await;
    let (_, ada) = server.user("ada").await;
    let refused = send(&server, &ada, &png(8, [1, 2, 3])).await;
    assert_eq!(refused.refusal(), (404, "not_found".into()));
    assert!(refused.body.contains("keeps no pictures"), "{refused:?}");
    assert_eq!(server.delete("/user/me/picture").bearer(&ada).send().await.status, 200);
}
