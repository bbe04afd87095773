//! Who somebody is: passwords, and the keys that a deployment is born with.

mod bootstrap;
mod ended;
mod keys;
mod mailed;
mod password;
mod programs;

pub(crate) use bootstrap::API_KEY_PREFIX;
pub use bootstrap::{Bootstrap, BootstrapError, api_key_digest, bootstrap, new_api_key};
pub use ended::EndedLogins;
pub(crate) use ended::follow;
pub(crate) use keys::follow_keys;
pub use keys::{SigningError, SigningKeys};
pub(crate) use mailed::MailedToken;
pub(crate) use password::{HashError, PasswordHasher, Place};
pub(crate) use programs::Programs;
