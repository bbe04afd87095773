//! Tokens that somebody made by hand, with the key of a server where that is what the defect needs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_access::SigningKey;
use panda_protocol::{ErrorCode, UserId};
use ring::hmac;
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

/// Signs whatever it is given.
pub(crate) struct Forger {
    pair: Ed25519KeyPair,
    kid: String,
    public: [u8; 32],
}

impl Forger {
    /// With the key of this seed.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let key = SigningKey::from_seed(seed).unwrap().verifying_key().clone();
        Self { pair, kid: key.kid().to_owned(), public: *key.public() }
    }

    /// A token with these claims in the place of those of a good one.
    pub(crate) fn claiming(&self, user: UserId, now_s: u64, change: &Value) -> String {
        self.signed(&self.header(&json!({})), &claims(user, now_s, change))
    }

    fn header(&self, change: &Value) -> Value {
        merged(json!({ "typ": "JWT", "alg": "EdDSA", "kid": self.kid }), change)
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    /// Every defect by its name, and what is to be said of it. The one without any is taken.
    pub(crate) fn defects(&self, user: UserId, now_s: u64) -> Vec<(&'static str, String, Option<ErrorCode>)> {
        let good = claims(user, now_s, &json!({}));
        let invalid = Some(ErrorCode::TokenInvalid);
        let claiming = |change: Value| self.claiming(user, now_s, &change);
        let unsigned = |alg: &str| format!("{}.", message(&self.header(&json!({ "alg": alg })), &good));
        // The public key, which everybody has, taken for the secret of an HMAC.
        let swapped = {
            let message = message(&self.header(&json!({ "alg": "HS256" })), &good);
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.public), message.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
        };
        let another = Self::new([0x5a; 32]);
        let borrowed = another.signed(&self.header(&json!({})), &good);
        let kid = |kid: Value| self.signed(&self.header(&json!({ "kid": kid })), &good);
        // A verifier that fetches keys by what a token says would take this one.
        let brings_its_own = another.signed(
            &self.header(&json!({ "kid": another.kid, "jwk": { "kty": "OKP", "crv": "Ed25519",
                "x": URL_SAFE_NO_PAD.encode(another.public) }, "jku": "https://example.org/jwks.json" })),
            &good,
        );
        vec![
            ("no defect", claiming(json!({})), None),
            ("alg none", unsigned("none"), invalid),
            ("alg None", unsigned("None"), invalid),
            ("no signature", unsigned("EdDSA"), invalid),
            ("an HMAC with the public key", swapped, invalid),
            ("a kid that nobody knows", kid(json!("AAAAAAAAAAAAAAAA")), invalid),
            ("a kid of another type", kid(json!(7)), invalid),
            ("a kid that is a path", kid(json!("../../../etc/passwd")), invalid),
            ("no kid", kid(Value::Null), invalid),
            ("another key under this kid", borrowed, invalid),
            ("a key of its own", brings_its_own, invalid),
            ("expired", claiming(json!({ "exp": now_s - 60 })), Some(ErrorCode::TokenExpired)),
            ("not yet valid", claiming(json!({ "nbf": now_s + 60 })), invalid),
            ("another audience", claiming(json!({ "aud": "other" })), invalid),
            ("no audience", claiming(json!({ "aud": null })), invalid),
            ("another issuer", claiming(json!({ "iss": "https://example.org" })), invalid),
            ("no issuer", claiming(json!({ "iss": null })), invalid),
            ("a subject that is no user", claiming(json!({ "sub": "root" })), invalid),
            ("a header that demands more", self.signed(&self.header(&json!({ "crit": ["b64"] })), &good), invalid),
        ]
    }
}

fn claims(user: UserId, now_s: u64, change: &Value) -> Value {
    let claims = json!({ "iss": "panda", "aud": "panda", "sub": user.to_string(), "iat": now_s, "nbf": now_s,
        "exp": now_s + 3_600 });
    merged(claims, change)
}

/// `null` takes a field away.
fn merged(mut value: Value, change: &Value) -> Value {
    let fields = value.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap() {
        if value.is_null() { drop(fields.remove(name)) } else { drop(fields.insert(name.clone(), value.clone())) }
    }
    value
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}
