//! Keys of access tokens over real HTTP: what verifies, what is published, and turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use panda_access::{Signer, SigningKey};
use panda_protocol::{Time, UserId};
use panda_storage::UserStore as _;
use panda_storage::user_store::{SIGNING_KEY_LEAD, SealedSigningKey};
use serde_json::{Value, json};

use crate::support::{Forger, NOW, Server, fleet};

const SECOND: u64 = 1_000_000;
const LEAD: u64 = SIGNING_KEY_LEAD.as_secs();
/// As often as the test likes to wait.
const OFTEN: Duration = Duration::from_millis(5);
/// Not within a test.
const SELDOM: Duration = Duration::from_secs(100_000);
/// Of the access tokens here.
const TOKEN: Duration = Duration::from_secs(3_600);

/// A clock of one test's own, in seconds after [`NOW`].
macro_rules! clock {
    ($name:ident) => {
        static $name: AtomicU64 = AtomicU64::new(0);
    };
}

fn at(clock: &AtomicU64) -> Time {
    Time(NOW.0 + clock.load(Ordering::Relaxed) * SECOND)
}

/// A key that signs from here on, sealed as the deployment's are.
fn sealed(key: &SigningKey, signs_from_s: u64) -> SealedSigningKey {
    let kid = key.verifying_key().kid().to_owned();
    let sealed = SealedSigningKey::at_once(kid, key.seal(&fleet()).unwrap(), NOW);
    SealedSigningKey { signs_from: Time(NOW.0 + signs_from_s * SECOND), longest_token: TOKEN, ..sealed }
}

async fn published(server: &Server) -> Vec<String> {
    let answer = server.get("/.well-known/jwks.json").send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Waits until these and no others are published.
async fn until_published(server: &Server, kids: &[&str]) {
    let patience = async {
        while published(server).await != kids {
            tokio::time::sleep(OFTEN).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), patience).await.unwrap_or_else(|_| panic!("not {kids:?}"));
}

/// A new access token of a user who is registered at first.
async fn token(server: &Server) -> String {
    let body = json!({ "username": "ada", "password": "correct horse" }).to_string();
    let mut answer = server.post("/login").body(&body).send().await;
    if answer.status == 401 {
        answer = server.post("/register").body(&body).send().await;
    }
    assert!(answer.status < 300, "{}", answer.body);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn kid(token: &str) -> String {
    let signer = jsonwebtoken::decode_header(token).unwrap();
    signer.kid.unwrap()
}

async fn is_taken(server: &Server, token: &str) -> Result<(), String> {
    let answer = server.get("/user/me").bearer(token).send().await;
    if answer.status == 200 { Ok(()) } else { Err(answer.refusal().1) }
}

#[tokio::test]
async fn every_defect_of_a_token_is_401_with_its_code() {
    let seed = [7; 32];
    let server = Server::start().await;
    let (id, _) = server.user("ada").await;
    let key = SigningKey::from_seed(seed).unwrap();
    server.store().turn_signing_keys(sealed(&key, 0), Time(NOW.0 + SECOND)).await.unwrap();
    let server = server.beside(|| NOW, |_| {}).await;
    let user: UserId = id.parse().unwrap();
    for (defect, token, code) in Forger::new(seed).defects(user, NOW.0 / SECOND) {
        let answer = server.get("/user/me").bearer(&token).send().await;
        match code {
            None => assert_eq!(answer.status, 200, "{defect}: {}", answer.body),
            Some(code) => {
                assert_eq!(answer.refusal(), (401, code.label().into()), "{defect}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{defect}");
            }
        }
    }
}

#[tokio::test]
async fn the_public_keys_are_a_jwk_set_that_caches_keep_and_holds_no_secret() {
    let server = Server::start().await;
    let answer = server.get("/.well-known/jwks.json").send().await;
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    let kept: u64 = answer.header("cache-control").unwrap().strip_prefix("public, max-age=").unwrap().parse().unwrap();
    assert!((1..LEAD).contains(&kept), "who keeps it has the next key before that signs: {kept}");
    let set = answer.json();
    let key = set["keys"][0].as_object().unwrap();
    assert_eq!((set["keys"].as_array().unwrap().len(), key.len()), (1, 6), "{set}");
    for (name, value) in [("kty", "OKP"), ("crv", "Ed25519"), ("use", "sig"), ("alg", "EdDSA")] {
        assert_eq!(key[name], value);
    }
    // It verifies what is given out, by another library.
    let token = token(&server).await;
    let decoding = jsonwebtoken::DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::EdDSA);
    rules.set_audience(&["panda"]);
    rules.set_issuer(&["panda"]);
    rules.validate_exp = false;
    let claims = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).unwrap();
    assert_eq!((claims.header.kid.as_deref(), &claims.claims["aud"]), (key["kid"].as_str(), &json!("panda")));
    let tag = answer.header("etag").unwrap();
    let again = server.get("/.well-known/jwks.json").header("If-None-Match", tag).send().await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
}

#[tokio::test]
async fn a_turn_logs_nobody_out_and_ends_the_key_behind_its_last_token() {
    clock!(CLOCK);
    let server = Server::at(
        || at(&CLOCK),
        |config| {
            (config.signing_keys_every, config.token_ttl) = (OFTEN, TOKEN);
        },
    )
    .await;
    let old = token(&server).await;
    let (old_kid, next) = (kid(&old), SigningKey::from_seed([9; 32]).unwrap());
    let next_kid = next.verifying_key().kid();
    server.store().turn_signing_keys(sealed(&next, LEAD), NOW).await.unwrap();
    until_published(&server, &[next_kid, &old_kid]).await;
    // Published, and not used yet; one that somebody signs with it is good already.
    CLOCK.store(LEAD - 1, Ordering::Relaxed);
    let last = token(&server).await;
    assert_eq!(kid(&last), old_kid);
    let id = server.get("/user/me").bearer(&old).send().await.json()["id"].as_str().unwrap().parse().unwrap();
    let early = Signer::new(&next).sign(id, at(&CLOCK).0 / SECOND, 60);
    assert_eq!(is_taken(&server, &early).await, Ok(()));
    CLOCK.store(LEAD, Ordering::Relaxed);
    let new = token(&server).await;
    assert_eq!(kid(&new), next_kid);
    for token in [&old, &last, &new] {
        assert_eq!(is_taken(&server, token).await, Ok(()));
    }
    // The last one of the old key is good until its own end.
    CLOCK.store(LEAD - 1 + TOKEN.as_secs(), Ordering::Relaxed);
    assert_eq!(is_taken(&server, &last).await, Ok(()));
    // The key outlives that by what clocks may differ by, and then is gone from the store, too. Nothing of it is taken any
    // more, whatever it says of its end; what says that it is over is to be refreshed, as ever.
    let key = SigningKey::open(&fleet(), &old_kid, &server.store().signing_keys().await.unwrap()[1].sealed).unwrap();
    let long = Signer::new(&key).sign(id, NOW.0 / SECOND, 10 * 86_400);
    assert_eq!(is_taken(&server, &long).await, Ok(()));
    CLOCK.store(LEAD + 86_400 + LEAD, Ordering::Relaxed);
    until_published(&server, &[next_kid]).await;
    // It is deleted once the process has read that it is over.
    while server.store().signing_keys().await.unwrap().len() > 1 {
        tokio::time::sleep(OFTEN).await;
    }
    assert_eq!(is_taken(&server, &long).await, Err("token_invalid".into()));
    assert_eq!(is_taken(&server, &last).await, Err("token_expired".into()));
}

#[tokio::test]
async fn every_process_signs_with_the_next_key_and_takes_the_tokens_of_the_others() {
    clock!(CLOCK);
    let often = |config: &mut panda_api::ApiConfig| config.signing_keys_every = OFTEN;
    let one = Server::at(|| at(&CLOCK), often).await;
    let other = one.beside(|| at(&CLOCK), often).await;
    let old = token(&one).await;
    let next = SigningKey::from_seed([9; 32]).unwrap();
    one.store().turn_signing_keys(sealed(&next, LEAD), NOW).await.unwrap();
    for server in [&one, &other] {
        until_published(server, &[next.verifying_key().kid(), &kid(&old)]).await;
    }
    CLOCK.store(LEAD, Ordering::Relaxed);
    let (of_one, of_other) = (token(&one).await, token(&other).await);
    assert_eq!([kid(&of_one), kid(&of_other)], [next.verifying_key().kid(); 2]);
    for server in [&one, &other, &one.beside(|| at(&CLOCK), often).await] {
        for token in [&old, &of_one, &of_other] {
            assert_eq!(is_taken(server, token).await, Ok(()));
        }
    }
}

/// It was paused, or its way to the store was cut.
#[tokio::test]
async fn a_process_that_missed_a_turn_signs_nothing_with_the_old_key_and_calls_no_new_token_invalid() {
    clock!(CLOCK);
    let seldom = |config: &mut panda_api::ApiConfig| config.signing_keys_every = SELDOM;
    let one = Server::at(|| at(&CLOCK), seldom).await;
    let asleep = one.beside(|| at(&CLOCK), seldom).await;
    let old = token(&one).await;
    let next = SigningKey::from_seed([9; 32]).unwrap();
    one.store().turn_signing_keys(sealed(&next, LEAD), NOW).await.unwrap();
    CLOCK.store(LEAD, Ordering::Relaxed);
    // Whoever signs looks first.
    let new = token(&one).await;
    assert_eq!(kid(&new), next.verifying_key().kid());
    let answer = asleep.get("/user/me").bearer(&new).send().await;
    assert_eq!(answer.refusal(), (503, "unavailable".into()));
    assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    assert_eq!(is_taken(&asleep, &old).await, Ok(()));
    assert_eq!(kid(&token(&asleep).await), next.verifying_key().kid());
    assert_eq!(is_taken(&asleep, &new).await, Ok(()));
}

#[tokio::test]
async fn a_key_is_kept_for_the_longest_tokens_that_any_process_gives_out() {
    let server = Server::at(|| NOW, |config| config.signing_keys_every = OFTEN).await;
    let key = SigningKey::from_seed([9; 32]).unwrap();
    server.store().turn_signing_keys(sealed(&key, LEAD), NOW).await.unwrap();
    // The process says so before it signs, of the key to come, too.
    until_published(&server, &[key.verifying_key().kid(), &kid(&token(&server).await)]).await;
    let keys = server.store().signing_keys().await.unwrap();
    let day = panda_api::ApiConfig::default().token_ttl;
    assert!(TOKEN < day && keys.iter().all(|key| key.longest_token == day), "{keys:?}");
}

#[tokio::test]
async fn a_key_of_another_fleet_secret_takes_nobody_elses_place_before_it_signs() {
    let server = Server::at(|| NOW, |config| config.signing_keys_every = OFTEN).await;
    let old = token(&server).await;
    let (key, other) = (SigningKey::from_seed([9; 32]).unwrap(), panda_access::FleetSecret::generate().unwrap());
    let foreign = SealedSigningKey { sealed: key.seal(&other).unwrap(), ..sealed(&key, LEAD) };
    server.store().turn_signing_keys(foreign, NOW).await.unwrap();
    tokio::time::sleep(20 * OFTEN).await;
    assert_eq!(published(&server).await, [kid(&old)]);
    assert_eq!(kid(&token(&server).await), kid(&old));
    assert_eq!(is_taken(&server, &old).await, Ok(()));
}
