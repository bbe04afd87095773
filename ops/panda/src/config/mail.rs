//! How mail is sent.

use std::path::PathBuf;

use anyhow::Context as _;
use panda_api::{FIRST_WAIT, MailWay, SmtpConfig, SmtpTls};
use serde::{Deserialize, Serialize};

/// A mail server. Where none is named, `panda serve` logs links instead, and an API of a cluster refuses what needs mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MailConfig {
    /// `host:port`.
    pub(crate) server: String,
    /// How the way there is encrypted.
    pub(crate) tls: TlsMode,
    /// A PEM file with the authorities whose certificates are believed; empty: those that browsers believe.
    pub(crate) authorities: PathBuf,
    /// User name, if it asks for one.
    pub(crate) user: String,
    /// A file with that user's password.
    pub(crate) password_file: PathBuf,
    /// The sender.
    pub(crate) from: String,
    /// What links in mails begin with: the origin of the page.
    pub(crate) links_base: String,
}

/// `starttls`, `implicit` or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TlsMode {
    Starttls,
    Implicit,
    None,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            server: String::new(),
            tls: TlsMode::Starttls,
            authorities: PathBuf::new(),
            user: String::new(),
            password_file: PathBuf::new(),
            from: String::new(),
            links_base: String::new(),
        }
    }
}

impl MailConfig {
    /// How mail is sent; `own`: the address of a process that logs links where no server is named. None: not at all.
    ///
    /// # Errors
    /// It cannot be used; says why.
    pub(crate) fn way(&self, own: Option<String>) -> anyhow::Result<Option<panda_api::MailConfig>> {
        let base = if self.links_base.is_empty() { own.clone() } else { Some(self.links_base.clone()) };
        let way = match own {
            _ if !self.server.is_empty() => MailWay::Smtp(self.smtp()?),
            Some(_) => MailWay::Log,
            None => return Ok(None),
        };
        let links_base = base.context("`mail.links_base` is needed where `mail.server` is named")?;
        Ok(Some(panda_api::MailConfig { way, links_base, first_wait: FIRST_WAIT }))
    }

    /// The mail server.
    ///
    /// # Errors
    /// It cannot be used; says why.
    pub(crate) fn smtp(&self) -> anyhow::Result<SmtpConfig> {
        let (host, port) = self.server.rsplit_once(':').context("`mail.server` has no port")?;
        let authorities = if self.authorities.as_os_str().is_empty() {
            None
        } else {
            let path = self.authorities.display();
            Some(std::fs::read(&self.authorities).with_context(|| format!("read `mail.authorities`, {path}"))?)
        };
        let login = if self.user.is_empty() { None } else { Some((self.user.clone(), self.password()?)) };
        let tls = match self.tls {
            TlsMode::Starttls => SmtpTls::Starttls,
            TlsMode::Implicit => SmtpTls::Implicit,
            TlsMode::None => SmtpTls::None,
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let smtp = SmtpConfig { host, port: port.parse()?, tls, authorities, login, from: self.from.clone() };
        smtp.check()?;
        Ok(smtp)
    }

    /// The password of the mail server.
    fn password(&self) -> anyhow::Result<String> {
        let path = self.password_file.display();
        let text =
            std::fs::read_to_string(&self.password_file).with_context(|| format!("read the password in {path}"))?;
        let password = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!password.is_empty(), "there is no password in {path}");
        Ok(password.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_server_links_are_logged_by_who_serves_alone_and_nothing_is_sent_by_others() {
        let nothing = MailConfig::default();
        assert!(nothing.way(None).unwrap().is_none());
        let logged = nothing.way(Some("http://127.0.0.1:1".into())).unwrap().unwrap();
        assert!(matches!(logged.way, MailWay::Log) && logged.links_base == "http://127.0.0.1:1");
        let named = MailConfig { links_base: "https://chat.example".into(), ..nothing };
        assert_eq!(named.way(Some("http://127.0.0.1:1".into())).unwrap().unwrap().links_base, "https://chat.example");
    }

    #[test]
    fn a_server_is_used_as_it_is_configured() {
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        let config = MailConfig {
            server: "mail.example:587".into(),
            user: "panda".into(),
            password_file: password_file.clone(),
            from: "Panda <panda@chat.example>".into(),
            links_base: "https://chat.example".into(),
            ..MailConfig::default()
        };
        let refused = format!("{:#}", config.way(None).err().unwrap());
        assert!(refused.starts_with("read the password in /"), "{refused}");
        std::fs::write(&password_file, "sesame\n").unwrap();
        let smtp = config.smtp().unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port, smtp.tls), ("mail.example", 587, SmtpTls::Starttls));
        assert_eq!(smtp.login, Some(("panda".into(), "sesame".into())));
        assert!(matches!(config.way(None).unwrap().unwrap().way, MailWay::Smtp(_)));
        let nobody = MailConfig { from: "panda".into(), ..config };
        assert!(format!("{:#}", nobody.smtp().err().unwrap()).contains("`mail.from` is no mail address"));
    }
}
