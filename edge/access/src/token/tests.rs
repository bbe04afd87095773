use super::*;

const NOW: u64 = 1_800_000_000;
const TTL: u64 = 3_600;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_seed([byte; 32]).unwrap()
}

fn keys(known: &[&SigningKey]) -> AccessKeys {
    AccessKeys::new(known.iter().map(|key| key.verifying_key().clone()))
}

fn user() -> UserId {
    UserId::from_random([7; 16])
}

fn parts(token: &str) -> [String; 3] {
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn encode(json: &str) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// A token with any header and claims, signed by the key as any token is.
fn signed(key: &SigningKey, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let pair = Ed25519KeyPair::from_seed_unchecked(&key.seed).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn claims(change: (&str, Option<&str>)) -> String {
    let mut fields = vec![
        ("iss", "\"panda\"".to_owned()),
        ("aud", "\"panda\"".to_owned()),
        ("sub", format!("\"{}\"", user())),
        ("iat", NOW.to_string()),
        ("nbf", NOW.to_string()),
        ("exp", (NOW + TTL).to_string()),
    ];
    fields.retain(|(name, _)| *name != change.0);
    if let (name, Some(value)) = change {
        fields.push((name, value.to_owned()));
    }
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn header(key: &SigningKey) -> String {
    format!("{{\"typ\":\"JWT\",\"alg\":\"EdDSA\",\"kid\":\"{}\"}}", key.verifying_key().kid())
}

#[test]
fn a_signed_token_lets_its_user_in_until_it_expires() {
    let token = Signer::new(&key(1)).sign(user(), NOW, TTL);
    let keys = keys(&[&key(1)]);
    let access = Access { user: user(), login: None, expires_unix_s: NOW + TTL };
    assert_eq!(keys.verify(&token, NOW), Ok(access));
    assert_eq!(keys.verify(&token, NOW + TTL + LEEWAY_S - 1), Ok(access));
    assert_eq!(keys.verify(&token, NOW + TTL + LEEWAY_S), Err(AccessError::Expired));
    assert_eq!(keys.verify(&token, u64::MAX), Err(AccessError::Expired));
}

#[test]
fn a_token_from_the_future_is_invalid_beyond_the_leeway() {
    let token = Signer::new(&key(1)).sign(user(), NOW, TTL);
    let keys = keys(&[&key(1)]);
    assert!(keys.verify(&token, NOW - LEEWAY_S).is_ok());
    assert_eq!(keys.verify(&token, NOW - LEEWAY_S - 1), Err(AccessError::Invalid));
}

#[test]
fn a_token_changed_in_any_character_is_invalid() {
    let token = Signer::new(&key(1)).sign(user(), NOW, TTL);
    let keys = keys(&[&key(1)]);
    for (index, character) in token.char_indices() {
        let other = if character == 'A' { "B" } else { "A" };
        let mut changed = token.clone();
        changed.replace_range(index..=index, other);
        assert_eq!(keys.verify(&changed, NOW), Err(AccessError::Invalid), "character {index}");
    }
    assert_eq!(keys.verify(&token[..token.len() - 1], NOW), Err(AccessError::Invalid));
}

#[test]
fn other_algorithms_are_invalid_whatever_they_are_signed_with() {
    let keys = keys(&[&key(1)]);
    let [_, body, signature] = parts(&Signer::new(&key(1)).sign(user(), NOW, TTL));
    let kid = key(1).verifying_key().kid().to_owned();
    for alg in ["none", "None", "", "HS256", "HS512", "RS256", "ES256"] {
        let header = encode(&format!("{{\"alg\":\"{alg}\",\"kid\":\"{kid}\"}}"));
        for signature in [signature.as_str(), ""] {
            assert_eq!(keys.verify(&format!("{header}.{body}.{signature}"), NOW), Err(AccessError::Invalid), "{alg}");
        }
    }
    // The public key taken for a shared secret: the classic confusion of algorithms.
    let mut hs256 = Header::new(Algorithm::HS256);
    hs256.kid = Some(kid);
    let claims = Claims {
        iss: PANDA.into(),
        aud: PANDA.into(),
        sub: user().to_string(),
        iat: NOW,
        nbf: NOW,
        exp: NOW + TTL,
        sid: None,
    };
    let forged = jsonwebtoken::encode(&hs256, &claims, &EncodingKey::from_secret(&key(1).public.public)).unwrap();
    assert_eq!(keys.verify(&forged, NOW), Err(AccessError::Invalid));
}

#[test]
fn a_key_that_is_not_known_or_not_named_signs_nothing() {
    let token = Signer::new(&key(2)).sign(user(), NOW, TTL);
    assert_eq!(keys(&[&key(1)]).verify(&token, NOW), Err(AccessError::Invalid));
    // Another's name over one's own signature.
    let borrowed = signed(&key(2), &header(&key(1)), &claims(("", None)));
    assert_eq!(keys(&[&key(1), &key(2)]).verify(&borrowed, NOW), Err(AccessError::Invalid));
    let unnamed = signed(&key(1), "{\"alg\":\"EdDSA\"}", &claims(("", None)));
    assert_eq!(keys(&[&key(1)]).verify(&unnamed, NOW), Err(AccessError::Invalid));
}

#[test]
fn every_claim_has_to_be_there_and_right() {
    let (key, keys) = (key(1), keys(&[&key(1)]));
    assert!(keys.verify(&signed(&key, &header(&key), &claims(("", None))), NOW).is_ok());
    let device = format!("\"{}\"", panda_protocol::DeviceId::from_random([7; 16]));
    let wrong = [
        ("iss", Some("\"other\"")),
        ("iss", Some("[\"panda\"]")),
        ("iss", None),
        ("aud", Some("\"other\"")),
        ("aud", None),
        ("sub", Some("\"somebody\"")),
        ("sub", Some(device.as_str())),
        ("sub", None),
        ("exp", None),
        ("exp", Some("\"never\"")),
        ("exp", Some("-1")),
        ("nbf", None),
        ("sid", Some("\"0000000000000000\"")),
        ("sid", Some("\"1\"")),
        ("sid", Some("7")),
    ];
    for change in wrong {
        assert_eq!(
            keys.verify(&signed(&key, &header(&key), &claims(change)), NOW),
            Err(AccessError::Invalid),
            "{change:?}"
        );
    }
}

#[test]
fn a_token_of_a_login_names_it() {
    let login = LoginId::from_random(0xab);
    let token = Signer::new(&key(1)).sign_for(user(), Some(login), NOW, TTL);
    let access = Access { user: user(), login: Some(login), expires_unix_s: NOW + TTL };
    assert_eq!(keys(&[&key(1)]).verify(&token, NOW), Ok(access));
}

#[test]
fn a_header_that_demands_more_is_invalid() {
    let key = key(1);
    let demanding = header(&key).replace("\"JWT\"", "\"JWT\",\"crit\":[\"exp\"]");
    assert_eq!(keys(&[&key]).verify(&signed(&key, &demanding, &claims(("", None))), NOW), Err(AccessError::Invalid));
}

#[test]
fn garbage_and_oversized_tokens_are_invalid() {
    let keys = keys(&[&key(1)]);
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    for token in ["", ".", "..", "a.b.c", "é.é.é", "e30.e30.", &long] {
        assert_eq!(keys.verify(token, NOW), Err(AccessError::Invalid));
    }
}

#[test]
fn replaced_keys_are_replaced_for_every_clone() {
    let shared = keys(&[&key(1)]);
    let clone = shared.clone();
    let token = Signer::new(&key(2)).sign(user(), NOW, TTL);
    assert_eq!(clone.verify(&token, NOW), Err(AccessError::Invalid));
    shared.replace([key(2).verifying_key().clone()]);
    assert!(clone.verify(&token, NOW).is_ok());
    let former = Signer::new(&key(1)).sign(user(), NOW, TTL);
    assert_eq!(clone.verify(&former, NOW), Err(AccessError::Invalid));
}

#[test]
fn a_key_that_may_be_a_new_one_is_not_called_invalid() {
    let keys = keys(&[&key(1)]);
    let token = Signer::new(&key(2)).sign(user(), NOW, TTL);
    keys.clone().are_whole_until(NOW + 10);
    assert_eq!(keys.verify(&token, NOW + 9), Err(AccessError::Invalid));
    assert_eq!(keys.verify(&token, NOW + 10), Err(AccessError::KeysUnread));
    // One that is over whoever signed it: that of a key which was deleted since.
    assert_eq!(keys.verify(&token, NOW + TTL + LEEWAY_S), Err(AccessError::Expired));
    // Of a key that is known there is no doubt.
    let [header, body, _] = parts(&Signer::new(&key(1)).sign(user(), NOW, TTL));
    assert_eq!(keys.verify(&format!("{header}.{body}."), NOW + 10), Err(AccessError::Invalid));
    keys.replace([key(2).verifying_key().clone()]);
    assert!(keys.verify(&token, NOW + 10).is_ok());
}

#[test]
fn an_unusable_key_takes_none_of_the_others_with_it() {
    // The neutral point, under which one signature is good for every message.
    let mut public = [0; 32];
    public[0] = 1;
    let unusable = VerifyingKey { kid: "neutral".to_owned(), public };
    let keys = AccessKeys::new([unusable, key(1).verifying_key().clone()]);
    assert_eq!(format!("{keys:?}"), format!("{{{:?}}}", key(1).verifying_key().kid()));
    assert!(keys.verify(&Signer::new(&key(1)).sign(user(), NOW, TTL), NOW).is_ok());
}

#[test]
fn no_more_keys_are_accepted_than_the_limit() {
    let many: Vec<_> = (0..=KEYS_MAX).map(|byte| key(u8::try_from(byte).unwrap())).collect();
    let keys = keys(&many.iter().collect::<Vec<_>>());
    assert!(keys.verify(&Signer::new(&many[KEYS_MAX - 1]).sign(user(), NOW, TTL), NOW).is_ok());
    assert!(keys.verify(&Signer::new(&many[KEYS_MAX]).sign(user(), NOW, TTL), NOW).is_err());
}

#[test]
fn a_sealed_key_opens_with_its_secret_and_name_only() {
    let secret = FleetSecret::parse(&"11".repeat(32)).unwrap();
    let key = SigningKey::generate().unwrap();
    let kid = key.verifying_key().kid();
    let sealed = key.seal(&secret).unwrap();
    assert_eq!(SigningKey::open(&secret, kid, &sealed).unwrap().seed, key.seed);
    let other = FleetSecret::parse(&"22".repeat(32)).unwrap();
    assert!(SigningKey::open(&other, kid, &sealed).is_err());
    assert!(SigningKey::open(&other.with_previous(&secret), kid, &sealed).is_ok());
    assert!(SigningKey::open(&secret, "other", &sealed).is_err());
    assert!(SigningKey::open(&secret, kid, &sealed[1..]).is_err());
}

#[test]
fn no_seed_is_shown() {
    let key = key(1);
    let shown = format!("{key:?} {:?} {:?}", Signer::new(&key), keys(&[&key]));
    assert!(shown.contains("hidden"));
    assert!(!shown.contains("1, 1, 1"), "{shown}");
}
