//! `panda admin api-keys`: keys of programs, made, listed and revoked.

use anyhow::{Context as _, bail, ensure};
use panda_protocol::Time;
use panda_storage::user_store::{ApiKey, ApiKeyId};
use panda_storage::{UserStore, UserStoreError};
use serde_json::json;

use super::{Deployment, shown};
use crate::cli::MakeApiKeyArgs;
use crate::lifecycle::now;

impl<U: UserStore> Deployment<'_, U> {
    /// Makes a key, and prints its text, which nobody can read again.
    ///
    /// # Errors
    /// It would be over already; there are as many as there may be; the user store failed.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn make_api_key(&self, asked: &MakeApiKeyArgs) -> anyhow::Result<()> {
        let now = now();
        ensure!(asked.ends.is_none_or(|ends| ends > now), "--ends is in the past: nobody could use the key");
        let text = panda_api::new_api_key().context("make a key")?;
        let digest = panda_api::api_key_digest(&text);
        let key = ApiKey { ends: asked.ends, ..ApiKey::new(digest, asked.label.clone(), asked.scopes(), now) };
        match self.users.add_api_key(key.clone()).await {
            Ok(()) => {}
            Err(UserStoreError::TooMany(most)) => bail!("there are {most} API keys already: revoke some"),
            // Its text is shown to nobody, so it opens nothing; it can be revoked.
            Err(error) => {
                return Err(error).context("store the key; 'panda admin api-keys list' says whether it is there");
            }
        }
        println!("{text}");
        println!("This is API key {}; its text is not shown again. It may: {}.", key.id(), key.scopes);
        Ok(())
    }

    /// Says what keys there are.
    ///
    /// # Errors
    /// The user store failed.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn list_api_keys(&self, as_json: bool) -> anyhow::Result<()> {
        let mut keys = self.users.api_keys().await?;
        keys.sort_by_key(|key| (key.created, key.digest));
        let now = now();
        for key in keys {
            if as_json { println!("{}", in_json(&key, now)) } else { println!("{}", told(&key, now)) }
        }
        Ok(())
    }

    /// Revokes a key: from now on no process takes it.
    ///
    /// # Errors
    /// There is none of this ID; the user store failed.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn revoke_api_key(&self, id: ApiKeyId) -> anyhow::Result<()> {
        let revoked = self.users.revoke_api_key(id, now()).await?;
        let key =
            revoked.with_context(|| format!("there is no API key {id}: 'panda admin api-keys list' shows them"))?;
        let at = key.revoked.map_or_else(String::new, shown);
        println!("API key {id}, {:?}, is revoked since {at}: it opens nothing any more.", key.label.as_str());
        Ok(())
    }
}

fn state(key: &ApiKey, now: Time) -> &'static str {
    match key.revoked {
        Some(_) => "revoked",
        None if key.is_good(now) => "good",
        None => "over",
    }
}

/// A line of its own for each: a label has no control characters, and quotes show where it ends.
fn told(key: &ApiKey, now: Time) -> String {
    let time =
        |what: &str, time: Option<Time>| time.map_or_else(String::new, |time| format!(", {what} {}", shown(time)));
    let used = key.used.map_or_else(|| ", never used".to_owned(), |used| format!(", used {}", shown(used)));
    let (ends, revoked) = (time("ends", key.ends), time("revoked", key.revoked));
    let (id, label, made) = (key.id(), key.label.as_str(), shown(key.created));
    format!("{id}  {}  {}  {label:?}, made {made}{used}{ends}{revoked}", state(key, now), key.scopes)
}

fn in_json(key: &ApiKey, now: Time) -> serde_json::Value {
    json!({
        "id": key.id().to_string(),
        "state": state(key, now),
        "label": key.label.as_str(),
        "scopes": key.scopes.to_string().split(',').collect::<Vec<_>>(),
        "created_us": key.created.0,
        "used_us": key.used.map(|used| used.0),
        "ends_us": key.ends.map(|ends| ends.0),
        "revoked_us": key.revoked.map(|revoked| revoked.0),
    })
}

#[cfg(test)]
mod tests {
    use panda_storage::user_store::{ApiKeyLabel, Scopes};

    use super::*;

    #[test]
    fn a_label_cannot_look_like_something_else_of_the_list() {
        let label = ApiKeyLabel::parse("shop\", revoked \u{202e}x").unwrap();
        let key = ApiKey::new([1; 32], label, Scopes::PROVISION, Time(0));
        let line = told(&key, Time(1));
        assert_eq!(
            line,
            "0101010101010101  good  provision  \"shop\\\", revoked \\u{202e}x\", made 1970-01-01T00:00:00Z, never used"
        );
        assert_eq!(in_json(&key, Time(1))["label"], "shop\", revoked \u{202e}x");
    }

    #[test]
    fn what_a_key_is_good_for_is_said_in_a_word() {
        let key = ApiKey::new([1; 32], ApiKeyLabel::parse("shop").unwrap(), Scopes::PROVISION, Time(0));
        let ending = ApiKey { ends: Some(Time(5)), ..key.clone() };
        assert_eq!((state(&key, Time(9)), state(&ending, Time(4)), state(&ending, Time(5))), ("good", "good", "over"));
        assert_eq!(state(&ApiKey { revoked: Some(Time(1)), ..ending }, Time(9)), "revoked");
    }
}
