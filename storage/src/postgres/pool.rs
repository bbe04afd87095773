//! Connections, lent for one call each.
//!
//! A connection goes back to the pool only when its call came to an end that leaves it clean. One whose
//! call was dropped, ran out of time or failed may be within a transaction or owe an answer: it is
//! closed, and the server rolls back what it had begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Client, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;

use super::config::{PostgresConfig, driver_config, tls};
use super::errors::pool_error;
use crate::error::StoreError;
use crate::user_store::UserStoreError;

/// Calls that wait for a connection; a further one is refused at once.
pub(super) const WAITING_MAX: usize = 4_096;
/// How long a connection that lay idle is looked at before it is lent.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool,
    call_timeout: Duration,
    /// Calls so far; all clones count together.
    calls: Arc<AtomicU64>,
}

impl Connections {
    /// A pool that has not connected yet.
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, StoreError> {
        let driver = driver_config(config)?;
        // A connection that comes back is clean, and one that the server closed is noticed without a
        // question; TCP notices the rest.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if driver.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(driver, NoTls, manager)
        } else {
            Manager::from_config(driver, tls(config)?, manager)
        };
        let pool = Pool::builder(manager)
            .max_size(config.connections_max.max(1))
            .wait_timeout(Some(config.limits.wait))
            .create_timeout(Some(config.limits.connect))
            .recycle_timeout(Some(RECYCLE_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { pool, call_timeout: config.limits.call, calls: Arc::default() })
    }

    /// Runs one call on a connection of its own, within the time that a call may take. Dropping the
    /// future closes the connection.
    pub(super) async fn call<T>(
        &self,
        job: impl AsyncFnOnce(&mut Client) -> Result<T, UserStoreError>,
    ) -> Result<T, UserStoreError> {
        self.call_within(self.call_timeout, job).await
    }

    /// As [`Self::call`], within another time.
    pub(super) async fn call_within<T>(
        &self,
        timeout: Duration,
        job: impl AsyncFnOnce(&mut Client) -> Result<T, UserStoreError>,
    ) -> Result<T, UserStoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.uncounted(timeout, job).await
    }

    /// As [`Self::call`], for what a process asks at all times, whatever its users do: it is not counted.
    pub(super) async fn watch<T>(
        &self,
        job: impl AsyncFnOnce(&mut Client) -> Result<T, UserStoreError>,
    ) -> Result<T, UserStoreError> {
        self.uncounted(self.call_timeout, job).await
    }

    async fn uncounted<T>(
        &self,
        timeout: Duration,
        job: impl AsyncFnOnce(&mut Client) -> Result<T, UserStoreError>,
    ) -> Result<T, UserStoreError> {
        let lent = async {
            let mut lease = self.lend().await?;
            let result = job(lease.client()).await;
            lease.settle(&result, &self.pool);
            result
        };
        let Ok(result) = tokio::time::timeout(timeout, lent).await else {
            close_idle(&self.pool);
            return Err(StoreError::Unavailable(format!("no answer within {timeout:?}")).into());
        };
        result
    }

    /// Calls that were begun so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn lend(&self) -> Result<Lease, StoreError> {
        if self.pool.status().waiting >= WAITING_MAX {
            return Err(StoreError::Unavailable("too many requests to the user store are waiting".into()));
        }
        Ok(Lease(Some(self.pool.get().await.map_err(pool_error)?)))
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }
}

/// What happened to one connection has most likely happened to those that lie idle: they are closed, so
/// that not each of them costs a call.
fn close_idle(pool: &Pool) {
    pool.retain(|_, _| false);
}

/// A lent connection; there until it is settled.
struct Lease(Option<Object>);

impl Lease {
    fn client(&mut self) -> &mut Client {
        self.0.as_mut().expect("a lease is settled last")
    }

    /// Gives the connection back if the call ended as calls do.
    fn settle<T>(&mut self, result: &Result<T, UserStoreError>, pool: &Pool) {
        if !matches!(result, Err(UserStoreError::Store(_))) {
            self.0 = None;
        } else if self.0.as_ref().is_some_and(|client| client.is_closed()) {
            close_idle(pool);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
