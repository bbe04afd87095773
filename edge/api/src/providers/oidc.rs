//! ID tokens of OpenID Connect (Core 1.0, section 3.1.3.7): whose word they are, and of whom.

use std::str::FromStr as _;

use chrono::DateTime;
use openidconnect::core::{CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{ClaimsVerificationError, ClientId, IssuerUrl, Nonce, SignatureVerificationError};
use panda_storage::user_store::{Email, Subject};
use serde::Deserialize;

use super::client::As;
use super::discovery::Endpoints;
use super::exchange::Tokens;
use super::{Person, Provider, ProviderError};

/// Signatures that are taken: those of key pairs. A secret that both ends have signs nothing, nor does nobody.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// How much the clock of a provider may be behind.
const CLOCKS_DIFFER_US: i64 = 60_000_000;

/// What a provider says of a person (OpenID Connect Core 1.0, section 5.1), as far as it is used.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    email: Option<String>,
    email_verified: Option<Verified>,
    preferred_username: Option<String>,
    nickname: Option<String>,
    name: Option<String>,
}

/// Some write it as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Verified {
    Is(bool),
    Text(String),
}

impl Provider {
    /// Checks the ID token, and asks for what it does not tell.
    pub(super) async fn person_of_id_token(
        &self,
        endpoints: &Endpoints,
        tokens: &Tokens,
        nonce: Option<&str>,
    ) -> Result<Person, ProviderError> {
        let text = tokens.id_token.as_deref().ok_or_else(|| unbelievable("there is no ID token"))?;
        let keys = self.keys(false).await?;
        let mut person = verify(text, &self.verifier(keys)?, nonce);
        if matches!(person, Err(Defect::UnknownKey)) {
            // Keys are replaced by new ones.
            let keys = self.keys(true).await?;
            person = verify(text, &self.verifier(keys)?, nonce);
        }
        let mut person = person.map_err(|defect| match defect {
            Defect::UnknownKey => unbelievable("the ID token is signed by none of its keys"),
            Defect::Other(why) => ProviderError::Unbelievable(shortened(&format!("the ID token: {why}"))),
        })?;
        let tells_enough = person.email.is_some() && person.called.is_some();
        if let Some(url) = endpoints.userinfo.as_ref().filter(|_| !tells_enough) {
            let asked = self.client.get(url, As::Bearer(&tokens.access_token)).await?;
            let info: UserInfo = asked.document("what it knows of the person")?;
            // Another person's (Core 1.0, section 5.3.2).
            if info.sub != person.subject.as_str() {
                return Err(unbelievable("what it tells is of another person"));
            }
            if person.email.is_none() {
                person.email = info.email.as_deref().and_then(|email| Email::parse(email).ok());
                person.email_verified = person.email.is_some() && info.email_verified.is_some_and(|it| it.is());
            }
            person.called = person.called.or(info.preferred_username).or(info.nickname).or(info.name);
        }
        Ok(person)
    }

    fn verifier(&self, keys: CoreJsonWebKeySet) -> Result<CoreIdTokenVerifier<'static>, ProviderError> {
        let issuer =
            IssuerUrl::new(self.config.issuer.clone()).map_err(|_| unbelievable("its issuer is no address"))?;
        // As of a public client: there is no secret by which anybody could have signed.
        let verifier =
            CoreIdTokenVerifier::new_public_client(ClientId::new(self.config.client_id.clone()), issuer, keys);
        let clock = self.clock;
        let behind = move || {
            let now_us = i64::try_from(clock().0).unwrap_or(i64::MAX).saturating_sub(CLOCKS_DIFFER_US);
            DateTime::from_timestamp_micros(now_us).unwrap_or_default()
        };
        Ok(verifier.set_allowed_algs(SIGNATURES).set_time_fn(behind))
    }
}

impl Verified {
    fn is(&self) -> bool {
        match self {
            Self::Is(is) => *is,
            Self::Text(text) => text == "true",
        }
    }
}

enum Defect {
    UnknownKey,
    Other(String),
}

fn verify(text: &str, verifier: &CoreIdTokenVerifier<'_>, nonce: Option<&str>) -> Result<Person, Defect> {
    let token = CoreIdToken::from_str(text).map_err(|_| Defect::Other("it is none".to_owned()))?;
    let same = |told: Option<&Nonce>| match nonce {
        None => Ok(()),
        Some(nonce) if told.is_some_and(|told| told.secret() == nonce) => Ok(()),
        Some(_) => Err("it is of another login".to_owned()),
    };
    let claims = token.claims(verifier, same).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => Defect::UnknownKey,
        other => Defect::Other(other.to_string()),
    })?;
    let subject = Subject::parse(claims.subject().as_str()).map_err(|error| Defect::Other(error.to_string()))?;
    let email = claims.email().and_then(|email| Email::parse(email).ok());
    let email_verified = email.is_some() && claims.email_verified() == Some(true);
    let called = claims.preferred_username().map(|name| name.as_str().to_owned());
    Ok(Person { subject, email, email_verified, called })
}

fn unbelievable(why: &str) -> ProviderError {
    ProviderError::Unbelievable(why.to_owned())
}

/// As much of what a provider says as the log and a person are told, and no control characters.
pub(super) fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}
