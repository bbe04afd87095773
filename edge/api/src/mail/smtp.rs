//! The way to a mail server (RFC 5321).

use std::time::Duration;

use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use tokio::time::timeout;

/// Within this a connection is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Within this a mail is taken. lettre's own limit is that of the connection alone.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How the way to the server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// By STARTTLS (RFC 3207), or nothing is sent.
    Starttls,
    /// From the first byte on (RFC 8314).
    Implicit,
    /// Not at all: for a server on this machine.
    None,
}

/// A mail server, and who sends.
#[derive(Clone)]
pub struct SmtpConfig {
    /// Its name, as its certificate has it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the way there is encrypted.
    pub tls: SmtpTls,
    /// Certificates (PEM) of the authorities that are believed; none: those that browsers believe.
    pub authorities: Option<Vec<u8>>,
    /// Name and password, where it asks for them.
    pub login: Option<(String, String)>,
    /// The sender: `panda@chat.example`, or `Panda <panda@chat.example>`.
    pub from: String,
}

/// Why no way to the server can be made.
#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// The sender is no mailbox.
    #[error("`mail.from` is no mail address: name one such as Panda <panda@chat.example>")]
    From,
    /// The certificates cannot be used.
    #[error("the authorities of the mail server cannot be used: {0}")]
    Tls(String),
}

/// Why a mail was not taken.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may be taken later.
    Passing(String),
    /// It will not be.
    Lasting(String),
}

impl SmtpConfig {
    /// Looks at what can be looked at without the server.
    ///
    /// # Errors
    /// [`SmtpConfigError`].
    pub fn check(&self) -> Result<(), SmtpConfigError> {
        Smtp::new(self).map(drop)
    }

    fn tls(&self) -> Result<Tls, SmtpConfigError> {
        let fault = |error: &dyn std::fmt::Display| SmtpConfigError::Tls(error.to_string());
        let mut parameters = TlsParameters::builder(self.host.clone());
        parameters = match &self.authorities {
            None => parameters.certificate_store(CertificateStore::WebpkiRoots),
            Some(pem) if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") => {
                return Err(fault(&"there is no certificate in them"));
            }
            Some(pem) => {
                parameters = parameters.certificate_store(CertificateStore::None);
                parameters.add_root_certificate(Certificate::from_pem(pem).map_err(|error| fault(&error))?)
            }
        };
        let parameters = parameters.build_rustls().map_err(|error| fault(&error))?;
        Ok(match self.tls {
            SmtpTls::Starttls => Tls::Required(parameters),
            SmtpTls::Implicit => Tls::Wrapper(parameters),
            SmtpTls::None => Tls::None,
        })
    }
}

/// A mail server. Each mail takes a connection of its own.
pub(super) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Smtp {
    pub(super) fn new(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        let from: Mailbox = config.from.parse().map_err(|_| SmtpConfigError::From)?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.as_str())
            .port(config.port)
            .tls(config.tls()?)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(CONNECT_TIMEOUT));
        if let Some((name, password)) = &config.login {
            builder = builder.credentials(Credentials::new(name.clone(), password.clone()));
        }
        Ok(Self { transport: builder.build(), from })
    }

    /// A mail of plain text.
    pub(super) fn message(&self, to: Address, subject: &'static str, text: String) -> Result<Message, String> {
        let id = format!("<{:032x}@{}>", rand::random::<u128>(), self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .date_now()
            .message_id(Some(id))
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| error.to_string())
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let sent = timeout(SEND_TIMEOUT, self.transport.send(message.clone())).await;
        let Ok(sent) = sent else {
            return Err(Failure::Passing(format!("the mail server took none within {} s", SEND_TIMEOUT.as_secs())));
        };
        sent.map(drop).map_err(|error| {
            // A server that refuses for good says so; what this end cannot do it cannot do later.
            let lasts = error.is_permanent() || error.is_client();
            if lasts { Failure::Lasting(error.to_string()) } else { Failure::Passing(error.to_string()) }
        })
    }
}

/// No person sent it, and no program is to answer it (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(from: &str) -> SmtpConfig {
        SmtpConfig {
            host: "localhost".into(),
            port: 25,
            tls: SmtpTls::None,
            authorities: None,
            login: None,
            from: from.into(),
        }
    }

    #[test]
    fn a_mail_has_one_recipient_and_no_header_that_nobody_wrote() {
        let smtp = Smtp::new(&config("Panda <panda@chat.example>")).unwrap();
        let text = "Hello eve,\n\nBcc: all@example.org\n.\nQUIT\n".to_owned();
        let message = smtp.message("ada@example.org".parse().unwrap(), "A subject", text).unwrap();
        assert_eq!(message.envelope().to(), ["ada@example.org".parse::<Address>().unwrap()]);
        let formatted = String::from_utf8(message.formatted()).unwrap();
        let (head, body) = formatted.split_once("\r\n\r\n").unwrap();
        let mut names: Vec<_> = head.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        names.sort_unstable();
        let expected = [
            "Auto-Submitted",
            "Content-Transfer-Encoding",
            "Content-Type",
            "Date",
            "From",
            "Message-ID",
            "Subject",
            "To",
        ];
        assert_eq!(names, expected, "{head}");
        assert!(body.contains("Bcc: all@example.org"), "{body}");
        assert!(head.contains("From: Panda <panda@chat.example>"), "{head}");
    }

    #[test]
    fn a_sender_or_authorities_that_are_none_are_told() {
        for from in ["", "panda", "panda@chat.example\r\nBcc: eve@example.org", "<panda@chat.example"] {
            assert!(matches!(config(from).check(), Err(SmtpConfigError::From)), "{from:?}");
        }
        let authorities = Some(b"no certificate".to_vec());
        let config = SmtpConfig { authorities, tls: SmtpTls::Starttls, ..config("panda@chat.example") };
        assert!(matches!(config.check(), Err(SmtpConfigError::Tls(_))));
    }
}
