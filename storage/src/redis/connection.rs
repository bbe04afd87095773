//! The one connection, and the rest after a failure.
//!
//! Calls share a connection. One that fails or gets no answer in its time gives the connection up, and for
//! a while all calls are told at once that there is none. Then a single call tries again.

use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::time::{Instant, timeout};

use super::config::{RedisConfig, RedisLimits};
use crate::cache::CacheUnavailable;

/// Commands that wait for an answer; further ones wait for their turn, within the time of an answer.
const IN_FLIGHT_MAX: usize = 1_024;

pub(super) struct Connection {
    client: Client,
    limits: RedisLimits,
    state: Mutex<State>,
}

enum State {
    /// `number` tells a connection from those before it.
    Open { connection: MultiplexedConnection, number: u64 },
    /// No call asks before `until`; the next one makes the connection of this number.
    Away { until: Instant, number: u64 },
}

impl Connection {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, CacheUnavailable> {
        let client = config.client()?;
        let state = Mutex::new(State::Away { until: Instant::now(), number: 0 });
        Ok(Self { client, limits: config.limits, state })
    }

    /// Asks the server something, within the limits.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, CacheUnavailable> {
        let (connection, number) = self.connection().await?;
        match timeout(self.limits.answer, question(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if !concerns_the_question(&error) {
                    self.give_up(number);
                }
                Err(CacheUnavailable(error.to_string()))
            }
            Err(_) => {
                self.give_up(number);
                Err(CacheUnavailable(format!("no answer within {:?}", self.limits.answer)))
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), CacheUnavailable> {
        let number = {
            let mut state = self.state.lock();
            let now = Instant::now();
            match &mut *state {
                State::Open { connection, number } => return Ok((connection.clone(), *number)),
                State::Away { until, .. } if now < *until => {
                    return Err(CacheUnavailable("the server is away".into()));
                }
                State::Away { until, number } => {
                    // Others go on without; also when this call is dropped in the middle.
                    *until = now + self.limits.connect;
                    *number
                }
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.limits.connect))
            .set_response_timeout(Some(self.limits.answer))
            .set_concurrency_limit(IN_FLIGHT_MAX);
        let made =
            timeout(self.limits.connect, self.client.get_multiplexed_async_connection_with_config(&config)).await;
        match made {
            Ok(Ok(connection)) => {
                *self.state.lock() = State::Open { connection: connection.clone(), number };
                Ok((connection, number))
            }
            Ok(Err(error)) => {
                self.rest(number);
                Err(CacheUnavailable(error.to_string()))
            }
            Err(_) => {
                self.rest(number);
                Err(CacheUnavailable(format!("no connection within {:?}", self.limits.connect)))
            }
        }
    }

    /// Gives a connection up, unless another one has taken its place.
    fn give_up(&self, failed: u64) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Open { number, .. } if *number == failed) {
            *state = State::Away { until: Instant::now() + self.rest_time(), number: failed + 1 };
        }
    }

    /// Lets the server rest after a connection was not made.
    fn rest(&self, failed: u64) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Away { number, .. } if *number == failed) {
            *state = State::Away { until: Instant::now() + self.rest_time(), number: failed };
        }
    }

    fn rest_time(&self) -> Duration {
        self.limits.rest.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}

/// Whether another question may well be answered: the server is there and works.
fn concerns_the_question(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoScript | ServerErrorKind::ExecAbort)
            | ErrorKind::Extension
            | ErrorKind::UnexpectedReturnType
    )
}
