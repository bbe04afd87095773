//! Who somebody is: passwords, and the keys that a deployment is born with.

mod bootstrap;
mod ended;
mod password;

pub(crate) use bootstrap::{API_KEY_PREFIX, api_key_digest};
pub use bootstrap::{Bootstrap, BootstrapError, bootstrap};
pub use ended::EndedLogins;
pub(crate) use ended::follow;
pub(crate) use password::{HashError, PasswordHasher};
