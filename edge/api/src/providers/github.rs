//! Who somebody is at GitHub, which has no ID tokens: its API is asked with the access token that was given for it.

use openidconnect::url::Url;
use panda_storage::user_store::{Email, Subject};
use serde::Deserialize;

use super::client::As;
use super::config::GITHUB;
use super::{Person, Provider, ProviderError};

#[derive(Deserialize)]
struct GitHubUser {
    /// Never another person's; the name may be.
    id: u64,
    login: String,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

impl Provider {
    pub(super) async fn person_of_github(&self, access_token: &str) -> Result<Person, ProviderError> {
        let user: GitHubUser =
            self.client.get(&self.api("/user")?, As::Bearer(access_token)).await?.document("its user")?;
        let emails = self.client.get(&self.api("/user/emails")?, As::Bearer(access_token)).await?;
        // Without the scope for them it refuses: a login needs none.
        let emails: Vec<GitHubEmail> =
            if emails.is_success { emails.document("its user's mail addresses")? } else { Vec::new() };
        let primary = emails.into_iter().find(|email| email.primary);
        let email = primary.as_ref().and_then(|primary| Email::parse(&primary.email).ok());
        let email_verified = email.is_some() && primary.is_some_and(|primary| primary.verified);
        let subject = Subject::parse(&user.id.to_string());
        let subject = subject.map_err(|error| ProviderError::Unbelievable(error.to_string()))?;
        Ok(Person { subject, email, email_verified, called: Some(user.login) })
    }

    /// An address of its API; of an installation of one's own below that.
    fn api(&self, path: &str) -> Result<Url, ProviderError> {
        let origin = self.config.issuer.trim_end_matches('/');
        let base = if origin == GITHUB { "https://api.github.com".to_owned() } else { format!("{origin}/api/v3") };
        Url::parse(&format!("{base}{path}")).map_err(|_| ProviderError::Unbelievable("its address is none".to_owned()))
    }
}
