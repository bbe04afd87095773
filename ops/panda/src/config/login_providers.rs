//! Whose word about a person is taken: tables of the configuration, one a login provider.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use panda_api::{GITHUB, GOOGLE, LOGIN_PROVIDERS_MAX, LoginProvider, ProviderKind};
use panda_storage::user_store::ProviderName;
use serde::{Deserialize, Serialize};
use toml::Value;

/// The key.
pub(super) const KEY: &str = "login_providers";
/// What it takes.
pub(super) const WANTED: &str = "a list of tables, each below [[login_providers]]; CONFIG.md says what is in one";

/// A login provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoginProviderConfig {
    /// What it is called in addresses and beside identities.
    pub(crate) name: String,
    /// What it speaks.
    pub(crate) kind: Kind,
    /// What people read; empty: the name, or the preset's.
    pub(crate) label: String,
    /// Its address; empty of a preset.
    pub(crate) issuer: String,
    /// As what this deployment is known there.
    pub(crate) client_id: String,
    /// A file with the secret that goes with it; empty: there is none.
    pub(crate) client_secret_file: PathBuf,
    /// What is asked for; none: what a login needs.
    pub(crate) scopes: Vec<String>,
    /// Where it sends browsers back, as it is registered there.
    pub(crate) redirect_uri: String,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// OpenID Connect, found by discovery.
    #[default]
    Oidc,
    /// That of Google.
    Google,
    /// GitHub's OAuth 2.0.
    Github,
}

impl LoginProviderConfig {
    /// The provider, without its secret.
    ///
    /// # Errors
    /// Which field of it is wrong, and why.
    fn described(&self) -> Result<LoginProvider, (&'static str, String)> {
        let name = ProviderName::parse(&self.name).map_err(|error| ("name", error.to_string()))?;
        let (kind, issuer, label) = match self.kind {
            Kind::Oidc => (ProviderKind::OpenIdConnect, "", self.name.as_str()),
            Kind::Google => (ProviderKind::OpenIdConnect, GOOGLE, "Google"),
            Kind::Github => (ProviderKind::GitHub, GITHUB, "GitHub"),
        };
        let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
        if self.kind == Kind::Google && !self.issuer.is_empty() {
            return Err(("issuer", "is Google's where `kind` is \"google\": leave it out".to_owned()));
        }
        let provider = LoginProvider {
            name,
            kind,
            label: or(&self.label, label),
            issuer: or(&self.issuer, issuer),
            client_id: self.client_id.clone(),
            client_secret: None,
            scopes: self.scopes.clone(),
            redirect_uri: self.redirect_uri.clone(),
        };
        provider.check()?;
        Ok(provider)
    }

    /// The provider.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn provider(&self) -> anyhow::Result<LoginProvider> {
        let described = self.described();
        let described = described.map_err(|(field, why)| anyhow::anyhow!("`{field}` of {:?} {why}", self.name))?;
        Ok(LoginProvider { client_secret: self.secret()?, ..described })
    }

    /// The secret, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    fn secret(&self) -> anyhow::Result<Option<String>> {
        let path: &Path = &self.client_secret_file;
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).with_context(|| format!("read the secret in {}", path.display()))?;
        let secret = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!secret.is_empty(), "there is no secret in {}", path.display());
        Ok(Some(secret.to_owned()))
    }
}

/// What is wrong with the value of the key, if anything is.
pub(super) fn check(value: &Value) -> Result<(), String> {
    let told = |why: &str| Err(format!("`{KEY}` {why}"));
    let Value::Array(tables) = value else { return told(&format!("is {WANTED}, not {value}")) };
    if tables.len() > LOGIN_PROVIDERS_MAX {
        return told(&format!("has at most {LOGIN_PROVIDERS_MAX} tables"));
    }
    let mut names = std::collections::BTreeSet::new();
    for (index, table) in tables.iter().enumerate() {
        let number = index + 1;
        // The message alone: no value of it is repeated.
        let provider: LoginProviderConfig = match table.clone().try_into() {
            Ok(provider) => provider,
            Err(error) => return told(&format!("has a wrong table {number}: {}", error.message())),
        };
        if let Err((field, why)) = provider.described() {
            return told(&format!("has a wrong table {number}: `{field}` {why}"));
        }
        if !names.insert(provider.name.clone()) {
            return told(&format!("names {:?} twice", provider.name));
        }
    }
    Ok(())
}

/// A variable's text: the list in brackets, as TOML has it.
pub(super) fn of_variable(text: &str) -> Option<Value> {
    if text.trim().is_empty() {
        return Some(Value::Array(Vec::new()));
    }
    toml::from_str::<toml::Table>(&format!("list = {text}")).ok()?.remove("list")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Value {
        toml::from_str::<toml::Table>(text).unwrap().remove(KEY).unwrap()
    }

    fn table(more: &str) -> String {
        format!("[[login_providers]]\nclient_id = \"panda\"\n{more}\n")
    }

    const CORP: &str = "name = \"corp\"\nissuer = \"https://login.corp.example\"\n\
                        redirect_uri = \"https://chat.example/login/corp/callback\"";
    const HUB: &str = "name = \"hub\"\nkind = \"github\"\nredirect_uri = \"https://chat.example/login/hub/callback\"";

    #[test]
    fn tables_are_providers_and_presets_know_their_addresses() {
        check(&list(&format!("{}{}", table(CORP), table(HUB)))).unwrap();
        let hub: LoginProviderConfig = list(&table(HUB)).as_array().unwrap()[0].clone().try_into().unwrap();
        let hub = hub.provider().unwrap();
        assert_eq!((hub.issuer.as_str(), hub.label.as_str(), hub.client_secret), (GITHUB, "GitHub", None));
        let variable = format!(
            "[{{name = \"corp\", client_id = \"panda\", {}}}]",
            "issuer = \"https://x.example\", redirect_uri = \"https://chat.example/login/corp/callback\""
        );
        check(&of_variable(&variable).unwrap()).unwrap();
        assert_eq!(of_variable(""), Some(Value::Array(Vec::new())));
        assert_eq!(of_variable("google"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_table_and_field_and_no_secret_is_repeated() {
        for (text, start) in [
            (table(""), "`login_providers` has a wrong table 1: `name` a login provider's name has"),
            (
                table(&CORP.replace("https://login", "http://login")),
                "`login_providers` has a wrong table 1: `issuer` begins",
            ),
            (
                table(&CORP.replace("/callback", "/back")),
                "`login_providers` has a wrong table 1: `redirect_uri` is this",
            ),
            (
                table(&format!("{CORP}\nclient_secret = \"sesame\"")),
                "`login_providers` has a wrong table 1: unknown field",
            ),
            (
                table(&format!("{CORP}\nkind = \"google\"")),
                "`login_providers` has a wrong table 1: `issuer` is Google's",
            ),
            (format!("{0}{0}", table(CORP)), "`login_providers` names \"corp\" twice"),
            (table(HUB).repeat(17), "`login_providers` has at most 16 tables"),
            ("login_providers = \"google\"".to_owned(), "`login_providers` is a list of tables"),
        ] {
            let told = check(&list(&text)).unwrap_err();
            assert!(told.starts_with(start) && !told.contains("sesame"), "{told}");
        }
    }

    #[test]
    fn a_secret_is_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut corp: LoginProviderConfig = list(&table(CORP)).as_array().unwrap()[0].clone().try_into().unwrap();
        corp.client_secret_file = folder.path().join("secret");
        assert!(format!("{:#}", corp.provider().unwrap_err()).starts_with("read the secret in /"));
        std::fs::write(&corp.client_secret_file, "sesame\n").unwrap();
        assert_eq!(corp.provider().unwrap().client_secret.as_deref(), Some("sesame"));
    }
}
