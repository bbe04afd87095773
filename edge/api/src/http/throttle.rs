//! Who tries passwords waits, longer each time; who has the right one and never failed here does not.
//!
//! Failures are counted in the user store, for all processes and over restarts, under three keys: the account together with the
//! address from which it was tried, tightly; the address, loosely; and the account alone, which makes nobody wait by itself. Where
//! many fail for an account from wherever, the first failure from an address costs a wait already, instead of the sixth. So
//! nobody is kept out of an account by those who fail elsewhere: whoever comes from an address (an IPv6 /64) where nobody failed
//! is let try at once. Names that nobody has are counted as all others. Only failures are written, and a success behind them.

use std::time::Duration;

use panda_access::Neighbourhood;
use panda_protocol::ErrorCode;
use panda_storage::UserStore as _;
use panda_storage::user_store::{FailureKey, FailureRule, Failures, Username};
use ring::digest::{SHA256, digest};

use super::Peer;
use super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::Backend;

/// Of an account from one address.
const PAIR: FailureRule =
    FailureRule { free: 5, forget_one: Duration::from_secs(600), wait_max: Duration::from_secs(900) };
/// The same, where many fail for that account.
const PAIR_UNDER_ATTACK: FailureRule = FailureRule { free: 0, ..PAIR };
/// Of an account from everywhere: it is under attack with more than are free.
const ACCOUNT: FailureRule = FailureRule { free: 100, forget_one: Duration::from_secs(36), wait_max: Duration::ZERO };
/// From one address, whatever the account: many people may share it.
const ADDRESS: FailureRule =
    FailureRule { free: 100, forget_one: Duration::from_secs(6), wait_max: Duration::from_secs(60) };

/// A try of a password that may go on.
pub(crate) struct Try {
    pair: FailureKey,
    account: FailureKey,
    address: FailureKey,
    /// Failures from before, for this account.
    of_pair: Option<Failures>,
    of_account: Option<Failures>,
}

/// Lets somebody try a password of a name, or says how long to wait.
pub(crate) async fn begin<B: Backend>(api: &Api<B>, username: &Username, peer: Peer) -> Answer<Try> {
    let (name, address) = (username.key(), Neighbourhood::of(peer.address.ip()).to_bits().to_be_bytes());
    let pair = key("pair", &[&address, name.as_bytes()]);
    let (account, address) = (key("account", &[name.as_bytes()]), key("address", &[&address]));
    let found = api.parts.users.login_failures(vec![pair, account, address]).await?;
    let [of_pair, of_account, of_address] = found[..] else { return Err(Problem::new(ErrorCode::Internal)) };
    let waits = [of_pair, of_address].into_iter().flatten().filter_map(|failures| failures.wait(api.now()));
    if let Some(wait) = waits.max() {
        api.metrics.logins_throttled.inc();
        let wait = u64::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        let refused = Problem::new(ErrorCode::RateLimited).title("Too many wrong passwords; wait, then try again.");
        return Err(refused.retry_after_ms(wait));
    }
    Ok(Try { pair, account, address, of_pair, of_account })
}

impl Try {
    /// It was wrong. A store that does not take this refuses the next try, too.
    pub(crate) async fn failed<B: Backend>(self, api: &Api<B>) {
        let now = api.now();
        let is_attacked = self.of_account.is_some_and(|failures| failures.count(&ACCOUNT, now) >= ACCOUNT.free);
        let pair = if is_attacked { PAIR_UNDER_ATTACK } else { PAIR };
        let failures = vec![(self.pair, pair), (self.account, ACCOUNT), (self.address, ADDRESS)];
        if let Err(error) = api.parts.users.note_login_failures(failures, now).await {
            tracing::warn!(%error, "a failed login was not counted");
        }
    }

    /// It was right. What was counted for the account is forgotten, and what was for the address is not: whoever has an account
    /// may try others.
    pub(crate) async fn succeeded<B: Backend>(self, api: &Api<B>) {
        if self.of_pair.is_none() && self.of_account.is_none() {
            return;
        }
        if let Err(error) = api.parts.users.forget_login_failures(vec![self.pair, self.account]).await {
            tracing::warn!(%error, "failed logins were not forgotten");
        }
    }
}

fn key(kind: &str, parts: &[&[u8]]) -> FailureKey {
    let said = [&[kind.as_bytes(), &[0][..]][..], parts].concat().concat();
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &said).as_ref());
    key
}
