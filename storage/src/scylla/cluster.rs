//! The connection to the cluster: one session for the process, and what every request has: a place,
//! a deadline, and an error that says whether to repeat.

use std::ops::ControlFlow;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::deserialize::row::DeserializeRow;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::response::PagingState;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use tokio::time::timeout;

use super::config::ScyllaConfig;
use super::failure;
use super::gate::Gate;
use crate::error::StoreError;
use crate::send_while::SendWhile;

/// A node that is silent for so long is asked whether it lives, and left if it does not answer in as
/// long again; the next request then goes to another.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Nodes of a cluster agree on its tables within this, or something is wrong with one of them.
const SCHEMA_AGREEMENT: Duration = Duration::from_secs(30);

/// Opens the session. The driver's tasks run on the runtime that this is called on.
pub(super) async fn connect(config: &ScyllaConfig) -> Result<Session, StoreError> {
    let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &config.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    // Whoever uses the store does so in one datacenter, so conditions are decided there, as everything else is
    // read and written there: another one that is away holds nothing up.
    // Only what is marked as idempotent is sent twice by the driver. No request is sent to a second
    // node while the first works on it: the cluster's own coordinators do that for reads.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .load_balancing_policy(policy.build())
        .retry_policy(std::sync::Arc::new(DefaultRetryPolicy::new()))
        .speculative_execution_policy(None)
        .request_timeout(Some(config.request_timeout))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .pool_size(PoolSize::default())
        .default_execution_profile_handle(profile.into_handle())
        .connection_timeout(config.request_timeout)
        .keepalive_interval(KEEPALIVE)
        .keepalive_timeout(KEEPALIVE)
        .keyspaces_to_fetch([&config.keyspace])
        .schema_agreement_timeout(SCHEMA_AGREEMENT);
    if let Some(datacenter) = &config.datacenter {
        builder = builder.prefer_datacenter(datacenter.clone());
    }
    if let Some((user, password)) = &config.credentials {
        builder = builder.user(user, password);
    }
    builder.build().await.map_err(failure::unavailable)
}

/// Sends requests.
pub(super) struct Requests {
    pub(super) session: Session,
    writes: Gate,
    reads: Gate,
    timeout: Duration,
}

impl Requests {
    pub(super) fn new(session: Session, config: &ScyllaConfig) -> Self {
        let gate = || Gate::new(config.requests_in_flight_max, config.requests_waiting_max);
        Self { session, writes: gate(), reads: gate(), timeout: config.request_timeout }
    }

    /// Runs one statement for each row of values, as one change of one partition: all or nothing. Sends it only
    /// if it may be sent once it has its place.
    pub(super) async fn write(
        &self,
        statement: &PreparedStatement,
        mut values: Vec<impl SerializeRow>,
        may: &SendWhile,
    ) -> Result<(), StoreError> {
        let single = if values.len() == 1 { values.pop() } else { None };
        let write = async {
            let _place = self.writes.enter_while(may).await?;
            let answer = match single {
                Some(values) => self.session.execute_unpaged(statement, values).await,
                None => {
                    let mut batch = Batch::new(BatchType::Unlogged);
                    batch.set_is_idempotent(true);
                    for _ in &values {
                        batch.append_statement(statement.clone());
                    }
                    self.session.batch(&batch, values).await
                }
            };
            answer.map(drop).map_err(|error| failure::request(&error))
        };
        self.in_time(write).await
    }

    /// Reads every row of a statement that has a limit of its own, in as many pages as the cluster
    /// makes of it.
    pub(super) async fn read<R, T>(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
        take: impl Fn(R) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError>
    where
        R: for<'frame, 'metadata> DeserializeRow<'frame, 'metadata>,
    {
        let read = async {
            let _place = self.reads.enter().await?;
            let mut taken = Vec::new();
            let mut page = PagingState::start();
            loop {
                let (answer, next) = self
                    .session
                    .execute_single_page(statement, &values, page)
                    .await
                    .map_err(|error| failure::request(&error))?;
                let rows = answer.into_rows_result().map_err(failure::tables)?;
                for row in rows.rows::<R>().map_err(failure::tables)? {
                    taken.push(take(row.map_err(failure::value)?)?);
                }
                match next.into_paging_control_flow() {
                    ControlFlow::Break(()) => return Ok(taken),
                    ControlFlow::Continue(state) => page = state,
                }
            }
        };
        self.in_time(read).await
    }

    async fn in_time<T>(&self, request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match timeout(self.timeout, request).await {
            Ok(answer) => answer,
            Err(_) => Err(failure::unavailable(format!("no answer in {} ms", self.timeout.as_millis()))),
        }
    }
}
