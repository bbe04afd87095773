//! The client protocol of Centrifugo and of the library below it, version 2, in both of its forms.

mod json;
mod protobuf;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
pub use json::Json;
pub use protobuf::Protobuf;
use ring::hmac;

use super::{Options, Peer, Role};

/// Numbers of requests: to connect, to subscribe. Publications follow.
const CONNECT: u32 = 1;
const SUBSCRIBE: u32 = 2;
const FIRST_PUBLICATION: u32 = 3;

/// What both forms have.
#[derive(Debug)]
struct Session {
    namespace: String,
    secret: Option<hmac::Key>,
    path: String,
}

impl Session {
    fn new(options: &Options) -> Self {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self {
            namespace: options.get("ns").map(|name| format!("{name}:")).unwrap_or_default(),
            secret: options.get("hmac").map(key),
            path: options.or("path", "/connection/websocket"),
        }
    }

    fn channel(&self, number: u32) -> String {
        format!("{}c{number}", self.namespace)
    }

    /// A token of the connection's own, as JWT with HS256; empty if there is no secret.
    fn token(&self, number: u32) -> String {
        const EXPIRES: u64 = 4_102_444_800;
        let Some(secret) = &self.secret else { return String::new() };
        let head = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"user{number}","exp":{EXPIRES}}}"#));
        let signed = format!("{head}.{claims}");
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(secret, signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Whose answer makes a connection ready.
const fn last_of_opening(peer: &Peer) -> u32 {
    match peer.role {
        Role::Subscriber => SUBSCRIBE,
        Role::Publisher | Role::Setup => CONNECT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_three_parts_that_the_secret_verifies() {
        let options = Options::parse(&["hmac=benchmark-secret".to_owned(), "ns=hist".to_owned()]).unwrap();
        let session = Session::new(&options);
        assert_eq!(session.channel(4), "hist:c4");
        let token = session.token(9);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"benchmark-secret");
        assert!(hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
        let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        assert_eq!(claims, br#"{"sub":"user9","exp":4102444800}"#);
    }
}
