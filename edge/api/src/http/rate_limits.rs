//! Limits that all processes share, and what an answer tells of them: `RateLimit` and `RateLimit-Policy` of the IETF's draft
//! "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers).

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use panda_protocol::ErrorCode;
use panda_storage::Cache as _;
use panda_storage::cache::RateLimit;

use super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::Backend;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A limit that a request used or was refused by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    name: &'static str,
    limit: RateLimit,
    left: u32,
    renewed_in: Duration,
}

tokio::task_local! {
    /// Of the request that this task answers.
    static USED: RefCell<Vec<Used>>;
}

/// Runs what answers a request, and gives the limits that it used beside its answer.
pub(crate) async fn told_of<T>(answering: impl Future<Output = T>) -> (T, Vec<Used>) {
    USED.scope(RefCell::default(), async {
        let answer = answering.await;
        (answer, USED.with(RefCell::take))
    })
    .await
}

/// Uses a shared limit once. `name` is what the answer calls it; a limit without a name is told to nobody, because others use
/// it, too. A cache that is away limits nobody: what it protects has bounds of its own.
pub(crate) async fn take<B: Backend>(
    api: &Api<B>,
    name: Option<&'static str>,
    key: &[u8],
    limit: RateLimit,
) -> Answer<()> {
    let taken = match api.parts.cache.take(key, limit, api.now()).await {
        Ok(taken) => taken,
        Err(error) => {
            tracing::debug!(%error, "no shared rate limit");
            return Ok(());
        }
    };
    if let Some(name) = name {
        let (left, renewed_in) = taken.map_or_else(|wait| (0, wait), |left| (left.uses, left.renewed_in));
        // Outside of a request nobody is told.
        USED.try_with(|used| used.borrow_mut().push(Used { name, limit, left, renewed_in })).ok();
    }
    taken.map(drop).map_err(|wait| Problem::new(ErrorCode::RateLimited).retry_after_ms(whole_ms(wait)))
}

/// Says in an answer's head what is left of the limits.
pub(crate) fn tell(used: &[Used], headers: &mut HeaderMap) {
    if used.is_empty() {
        return;
    }
    let (mut policies, mut limits) = (String::new(), String::new());
    for Used { name, limit, left, renewed_in } in used {
        let between = if policies.is_empty() { "" } else { ", " };
        let (window, renewed) = (whole_s(limit.window), whole_s(*renewed_in));
        // Writing to a string does not fail.
        write!(policies, "{between}\"{name}\";q={};w={window}", limit.count).ok();
        write!(limits, "{between}\"{name}\";r={left};t={renewed}").ok();
    }
    for (name, value) in [(POLICY, policies), (LIMIT, limits)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Up to the next whole one: whoever comes then does not come too early.
fn whole_s(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_every_limit_with_what_is_left_of_it() {
        let limit = |count, seconds| RateLimit { count, window: Duration::from_secs(seconds) };
        let used =
            |name, limit, left, renewed_ms| Used { name, limit, left, renewed_in: Duration::from_millis(renewed_ms) };
        let mut headers = HeaderMap::new();
        tell(&[], &mut headers);
        assert!(headers.is_empty());
        tell(&[used("user", limit(1_200, 60), 1_199, 59_001), used("picture", limit(10, 60), 0, 500)], &mut headers);
        assert_eq!(headers[POLICY], "\"user\";q=1200;w=60, \"picture\";q=10;w=60");
        assert_eq!(headers[LIMIT], "\"user\";r=1199;t=60, \"picture\";r=0;t=1");
    }
}
