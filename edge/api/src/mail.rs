//! Mail to users.
//!
//! What is to be sent waits in memory, within a bound, and is tried a few times; the end of the process loses it, and whoever
//! waits for it asks again. Nothing that a user fills in becomes a header but the address, which is held to its grammar;
//! links begin with what the configuration says, never with what a request names.

mod letter;
mod smtp;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use panda_protocol::UserId;
use panda_storage::user_store::Email;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

pub(crate) use letter::Letter;
use smtp::{Failure, Smtp};
pub use smtp::{SmtpConfig, SmtpConfigError, SmtpTls};

use crate::metrics::Metrics;

/// Mails that wait to be sent, or to be tried again; a further one is refused.
pub(crate) const WAITING_MAX: usize = 256;
/// Connections to the mail server at a time.
const SENDING_MAX: usize = 2;
/// How often a mail is tried.
const ATTEMPTS_MAX: u32 = 5;
/// Each wait between two attempts is so many times the one before.
const WAIT_GROWS: u32 = 5;
/// The wait between the first two attempts where nothing else is said: the last attempt is 13 minutes after the first.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);

/// How mail leaves the deployment.
#[derive(Clone)]
pub enum MailWay {
    /// It does not: links are logged, for one person who runs everything at home. Whoever reads the log can use them.
    Log,
    /// Through a mail server.
    Smtp(SmtpConfig),
}

/// Mail of a deployment.
#[derive(Clone)]
pub struct MailConfig {
    /// How it leaves.
    pub way: MailWay,
    /// What links in it begin with: an origin, such as `https://chat.example`.
    pub links_base: String,
    /// The wait between the first two attempts.
    pub first_wait: Duration,
}

/// Why a mail is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MailRefused {
    /// Too many wait.
    Busy,
    /// No mail can be sent to this address.
    Address,
}

enum Carrier {
    Log,
    Smtp(Box<Smtp>),
}

/// Sends mail; clones share its bounds.
#[derive(Clone)]
pub(crate) struct Mailer {
    shared: Arc<Shared>,
}

struct Shared {
    carrier: Carrier,
    links_base: String,
    first_wait: Duration,
    waiting: Arc<Semaphore>,
    sending: Semaphore,
    metrics: Metrics,
}

/// The right to send one mail to one address.
pub(crate) struct Place {
    shared: Arc<Shared>,
    to: Address,
    permit: OwnedSemaphorePermit,
}

impl Mailer {
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn start(config: MailConfig, metrics: Metrics) -> io::Result<Self> {
        let carrier = match config.way {
            MailWay::Log => Carrier::Log,
            MailWay::Smtp(smtp) => Carrier::Smtp(Box::new(Smtp::new(&smtp).map_err(io::Error::other)?)),
        };
        let shared = Shared {
            carrier,
            links_base: config.links_base,
            first_wait: config.first_wait,
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            sending: Semaphore::new(SENDING_MAX),
            metrics,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A place for a mail to this address.
    pub(crate) fn place(&self, to: &Email) -> Result<Place, MailRefused> {
        let to: Address = to.as_str().parse().map_err(|_| MailRefused::Address)?;
        let Ok(permit) = Arc::clone(&self.shared.waiting).try_acquire_owned() else {
            self.shared.metrics.mails_refused.inc();
            return Err(MailRefused::Busy);
        };
        Ok(Place { shared: Arc::clone(&self.shared), to, permit })
    }
}

impl Place {
    /// Sends this letter, to a user who is named in the log. It is tried behind this call.
    pub(crate) fn send(self, user: UserId, letter: Letter) {
        let Self { shared, to, permit } = self;
        shared.metrics.mails_waiting.inc();
        tokio::spawn(async move {
            shared.carry(user, to, &letter).await;
            shared.metrics.mails_waiting.dec();
            drop(permit);
        });
    }
}

impl Shared {
    async fn carry(&self, user: UserId, to: Address, letter: &Letter) {
        let smtp = match &self.carrier {
            Carrier::Smtp(smtp) => smtp,
            Carrier::Log => {
                let (subject, link) = (letter.subject(), letter.link(&self.links_base).unwrap_or_default());
                tracing::info!(%user, subject, link, "no mail server is configured (`mail.server`): this was not sent");
                return;
            }
        };
        let message = match smtp.message(to, letter.subject(), letter.text(&self.links_base)) {
            Ok(message) => message,
            Err(why) => return self.failed(user, &why),
        };
        let mut wait = self.first_wait;
        for attempt in 1..=ATTEMPTS_MAX {
            let sending = self.sending.acquire().await;
            let sent = smtp.send(&message).await;
            drop(sending);
            match sent {
                Ok(()) => {
                    self.metrics.mails_sent.inc();
                    return;
                }
                Err(Failure::Passing(why)) if attempt < ATTEMPTS_MAX => {
                    self.metrics.mails_retried.inc();
                    tracing::warn!(%user, why, attempt, "a mail was not taken; it is tried again");
                    sleep(wait).await;
                    wait *= WAIT_GROWS;
                }
                Err(Failure::Passing(why) | Failure::Lasting(why)) => return self.failed(user, &why),
            }
        }
    }

    fn failed(&self, user: UserId, why: &str) {
        self.metrics.mails_failed.inc();
        tracing::error!(%user, why, "a mail was given up; if its address is right, look at `mail` in the configuration");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer() -> Mailer {
        let config =
            MailConfig { way: MailWay::Log, links_base: "https://chat.example".into(), first_wait: FIRST_WAIT };
        Mailer::start(config, Metrics::default()).unwrap()
    }

    #[test]
    fn more_than_may_wait_are_refused_until_one_has_gone() {
        let mailer = mailer();
        let to = Email::parse("ada@example.org").unwrap();
        let mut places: Vec<_> = (0..WAITING_MAX).map(|_| mailer.place(&to).ok().unwrap()).collect();
        assert_eq!(mailer.place(&to).err(), Some(MailRefused::Busy));
        places.pop();
        assert!(mailer.place(&to).is_ok());
    }

    #[test]
    fn an_address_that_says_more_than_an_address_gets_no_mail() {
        let mailer = mailer();
        for address in [
            "ada@example.org>,<eve@example.org",
            "ada@example.org,eve@example.org",
            "<ada@example.org>",
            "Ada<ada@example.org",
            "ada(x)@example.org",
            "ada@[example",
            "ada@exa_mple..org",
            "ada;eve@example.org",
        ] {
            // What is no mail address even by its field's rule comes no further than that.
            let Ok(email) = Email::parse(address) else { continue };
            assert_eq!(mailer.place(&email).err(), Some(MailRefused::Address), "{address}");
        }
        // Line ends and other control characters are stopped by the field's rule.
        for address in
            ["ada@example.org\r\nBcc: eve@example.org", "ada\n@example.org", "ada@example.org\0", "a b@c.org"]
        {
            assert!(Email::parse(address).is_err(), "{address:?}");
        }
    }
}
