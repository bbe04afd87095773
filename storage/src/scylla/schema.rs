//! The keyspace and its tables: made, migrated and checked by whichever process comes first.
//!
//! Of several processes that start at once one does the work. It holds a row that the cluster deletes
//! by its own clock, so a process that dies while it works is followed by another, and every
//! statement may be run again. The table of that row is the only one that several may make at once:
//! all give it the same ID, so it is the same table. Statements that change tables are not repeated
//! by the driver.

use std::time::Duration;

use panda_protocol::Incarnation;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use scylla::client::session::Session;
use scylla::cluster::metadata::{Keyspace, Strategy};
use scylla::value::{CqlValue, Row};
use tokio::time::{sleep, timeout};

use super::config::{Replication, ScyllaConfig};
use super::failure;
use crate::error::StoreError;

/// What brings the tables from one version to the next, the first from none.
pub(super) const MIGRATIONS: &[&str] =
    &[include_str!("../../migrations/scylla/1.cql"), include_str!("../../migrations/scylla/2.cql")];

/// Rows of the table `meta`.
const VERSION: &str = "version";
pub(super) const INCARNATION: &str = "incarnation";
const MIGRATING: &str = "migrating";

/// How long a process waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What one process or node has made, another may not know at once: a statement is refused so often
/// before it is taken for wrong.
const REFUSALS_MAX: u32 = 50;
/// A start ends within so many leases, whoever dies meanwhile.
const LEASES_MAX: u32 = 4;

/// Makes the keyspace and its tables what this program knows. Returns the store's incarnation.
pub(super) async fn prepare(
    session: &Session,
    config: &ScyllaConfig,
    migrations: &[&str],
) -> Result<Incarnation, StoreError> {
    let schema = Schema { session, config, migrations, holder: random()? };
    let limit = config.migration_lease.saturating_mul(LEASES_MAX);
    let mut why = String::from("another process has not finished them");
    match timeout(limit, schema.attempts(&mut why)).await {
        Ok(prepared) => prepared,
        Err(_) => Err(failure::unavailable(format!("the tables are not ready in {} s: {why}", limit.as_secs()))),
    }
}

struct Schema<'a> {
    session: &'a Session,
    config: &'a ScyllaConfig,
    migrations: &'a [&'a str],
    /// Names this process while it works.
    holder: String,
}

impl Schema<'_> {
    /// Tries until the tables are ready. Nodes and processes that are behind answer with errors that
    /// pass; every step may be repeated.
    async fn attempts(&self, why: &mut String) -> Result<Incarnation, StoreError> {
        let mut refusals = 0;
        loop {
            match self.attempt().await {
                Ok(Some(incarnation)) => return Ok(incarnation),
                Ok(None) => {}
                Err(error @ StoreError::Unusable(_)) if refusals < REFUSALS_MAX => {
                    refusals += 1;
                    *why = error.to_string();
                }
                Err(error) if error.is_retryable() => *why = error.to_string(),
                Err(error) => return Err(error),
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Goes as far as it can. Absent: another process is at work.
    async fn attempt(&self) -> Result<Option<Incarnation>, StoreError> {
        self.make_keyspace().await?;
        self.make_meta().await?;
        let (version, known) = (self.version().await?, self.migrations.len());
        if version == known {
            // Others may have made the tables on other nodes.
            self.session.await_schema_agreement().await.map_err(failure::unavailable)?;
            return self.incarnation().await;
        }
        if version > known {
            let number = |version| u32::try_from(version).unwrap_or(u32::MAX);
            let what = format!("keyspace {}", self.config.keyspace);
            return Err(StoreError::Newer { what, found: number(version), known: number(known) });
        }
        if !self.claim().await? {
            return Ok(None);
        }
        let done = self.run_migrations().await;
        if done.as_ref().is_err_and(StoreError::is_retryable) {
            // The lease stays, and the next attempt goes on.
            return done.map(|()| None);
        }
        self.decide("DELETE FROM {} WHERE name = ? IF value = ?", &[MIGRATING, &self.holder]).await?;
        done.map(|()| None)
    }

    /// Whether this process is the one that works. A claim whose answer was lost is recognised.
    async fn claim(&self) -> Result<bool, StoreError> {
        let lease = self.config.migration_lease.as_secs().max(1);
        let claim = format!("INSERT INTO {{}} (name, value) VALUES (?, ?) IF NOT EXISTS USING TTL {lease}");
        let found = self.conditional(&claim, &[MIGRATING, &self.holder]).await?;
        let mine = |column: &Option<CqlValue>| column.as_ref().and_then(CqlValue::as_text) == Some(&self.holder);
        Ok(applied(&found)? || found.columns.iter().any(mine))
    }

    async fn make_keyspace(&self) -> Result<(), StoreError> {
        let (name, replication) = (&self.config.keyspace, self.config.replication.to_cql());
        if self.session.get_cluster_state().get_keyspace(name).is_none() {
            let make = format!(
                "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication} AND durable_writes = true"
            );
            self.run(&make, ()).await?;
        }
        self.session.refresh_metadata().await.map_err(failure::unavailable)?;
        match self.session.get_cluster_state().get_keyspace(name) {
            Some(keyspace) => self.check_keyspace(keyspace),
            None => Err(failure::unavailable(format!("keyspace {name} is not there yet"))),
        }
    }

    fn check_keyspace(&self, keyspace: &Keyspace) -> Result<(), StoreError> {
        let (name, replication) = (&self.config.keyspace, self.config.replication.to_cql());
        let found = match &keyspace.strategy {
            Strategy::SimpleStrategy { replication_factor } => {
                u8::try_from(*replication_factor).ok().map(|factor| Replication::Simple { factor })
            }
            Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
                let factor = |(name, factor): (&String, &usize)| Some((name.clone(), u8::try_from(*factor).ok()?));
                datacenter_repfactors.iter().map(factor).collect::<Option<_>>().map(Replication::Datacenters)
            }
            _ => None,
        };
        if found.as_ref() != Some(&self.config.replication) {
            return Err(StoreError::Misconfigured(format!(
                "keyspace {name} is replicated by {:?}, the configuration says {replication}: change one of them",
                keyspace.strategy
            )));
        }
        if !keyspace.durable_writes {
            return Err(StoreError::Misconfigured(format!(
                "keyspace {name} has durable_writes = false, so a confirmed write could be lost: set it to true"
            )));
        }
        Ok(())
    }

    async fn make_meta(&self) -> Result<(), StoreError> {
        let name = &self.config.keyspace;
        let exists = |keyspace: &Keyspace| keyspace.tables.contains_key("meta");
        if !self.session.get_cluster_state().get_keyspace(name).is_some_and(exists) {
            let id = table_id(name);
            let make =
                format!("CREATE TABLE IF NOT EXISTS {name}.meta (name text PRIMARY KEY, value text) WITH id = {id}");
            self.run(&make, ()).await?;
        }
        Ok(())
    }

    async fn run_migrations(&self) -> Result<(), StoreError> {
        // It is made before the version is; only a restore replaces it.
        let make = "INSERT INTO {} (name, value) VALUES (?, ?) IF NOT EXISTS";
        self.decide(make, &[INCARNATION, &random()?]).await?;
        let done = self.version().await?;
        for (index, migration) in self.migrations.iter().enumerate().skip(done) {
            for statement in statements(migration) {
                if let Some((table, column)) = added(&statement)
                    && self.has_column(table, column).await?
                {
                    continue;
                }
                self.run(&statement.replace("{keyspace}", &self.config.keyspace), ()).await?;
            }
            // Only upwards: a process that was taken for dead may come back.
            let (before, after) = (index.to_string(), (index + 1).to_string());
            if index == 0 {
                self.decide("INSERT INTO {} (name, value) VALUES (?, ?) IF NOT EXISTS", &[VERSION, &after]).await?;
            } else {
                let raise = "UPDATE {} SET value = ? WHERE name = ? IF value = ?";
                self.decide(raise, &[&after, VERSION, &before]).await?;
            }
        }
        Ok(())
    }

    /// Whether a statement that adds columns was run already.
    async fn has_column(&self, table: &str, column: &str) -> Result<bool, StoreError> {
        self.session.refresh_metadata().await.map_err(failure::unavailable)?;
        let state = self.session.get_cluster_state();
        let table = state.get_keyspace(&self.config.keyspace).and_then(|keyspace| keyspace.tables.get(table));
        Ok(table.is_some_and(|table| table.columns.contains_key(column)))
    }

    async fn version(&self) -> Result<usize, StoreError> {
        let Some(version) = self.meta(VERSION).await? else { return Ok(0) };
        version.parse().map_err(|_| failure::tables(format!("{version:?} is no version")))
    }

    async fn incarnation(&self) -> Result<Option<Incarnation>, StoreError> {
        let Some(text) = self.meta(INCARNATION).await? else { return Ok(None) };
        parse_incarnation(&text).map(Some)
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let read = format!("SELECT value FROM {}.meta WHERE name = ?", self.config.keyspace);
        let rows = self.run(&read, (name,)).await?;
        Ok(rows.into_iter().next().and_then(|row| row.columns.into_iter().next()?).and_then(CqlValue::into_string))
    }

    /// Runs a conditional statement on the table `meta`. Returns whether its condition held.
    async fn decide(&self, statement: &str, values: &[&str]) -> Result<bool, StoreError> {
        applied(&self.conditional(statement, values).await?)
    }

    async fn conditional(&self, statement: &str, values: &[&str]) -> Result<Row, StoreError> {
        let statement = statement.replace("{}", &format!("{}.meta", self.config.keyspace));
        let answer = self.run(&statement, values).await?.into_iter().next();
        answer.ok_or_else(|| failure::tables("a conditional write has no answer"))
    }

    async fn run(
        &self,
        statement: &str,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<Vec<Row>, StoreError> {
        let answer = self.session.query_unpaged(statement, values).await.map_err(|error| failure::request(&error))?;
        if !answer.is_rows() {
            return Ok(Vec::new());
        }
        let rows = answer.into_rows_result().map_err(failure::tables)?;
        rows.rows::<Row>().map_err(failure::tables)?.collect::<Result<_, _>>().map_err(failure::tables)
    }
}

/// An incarnation as it stands in the table `meta`.
pub(super) fn incarnation_text(Incarnation(bytes): Incarnation) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn parse_incarnation(text: &str) -> Result<Incarnation, StoreError> {
    let number = u64::from_str_radix(text, 16).ok().filter(|_| text.len() == 16);
    let number = number.ok_or_else(|| failure::tables(format!("{text:?} is no incarnation")))?;
    Ok(Incarnation(number.to_be_bytes()))
}

/// Whether a condition held: the first column, whatever else a cluster answers.
fn applied(answer: &Row) -> Result<bool, StoreError> {
    let applied = answer.columns.first().and_then(|column| column.as_ref()?.as_boolean());
    applied.ok_or_else(|| failure::tables("a conditional write has another answer"))
}

/// The statements of a migration, without comments.
fn statements(migration: &str) -> Vec<String> {
    let lines: Vec<&str> = migration.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let text = lines.join("\n");
    text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(Into::into).collect()
}

/// The table to which a statement adds columns, and the first of them.
fn added(statement: &str) -> Option<(&str, &str)> {
    let (table, columns) = statement.strip_prefix("ALTER TABLE {keyspace}.")?.split_once(" ADD (")?;
    Some((table, columns.split_whitespace().next()?))
}

/// The ID of the table `meta` in a keyspace, the same whoever makes it: a UUID of version 8.
fn table_id(keyspace: &str) -> String {
    let digest = digest(&SHA256, format!("panda meta {keyspace}").as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// 8 random bytes, as hexadecimal digits.
fn random() -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| StoreError::Unavailable("the system gave no random bytes".into()))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_cut_into_statements_that_may_be_run_again() {
        assert_eq!(statements("-- a; comment\nONE\n  (two);\n\nTHREE;\n"), ["ONE\n  (two)", "THREE"]);
        assert_eq!(added("ALTER TABLE {keyspace}.one ADD (two int, three int)"), Some(("one", "two")));
        assert_eq!(added("CREATE TABLE {keyspace}.one ADD (two int)"), None);
        for statement in MIGRATIONS.iter().flat_map(|migration| statements(migration)) {
            assert!(statement.contains("IF NOT EXISTS") || added(&statement).is_some(), "{statement}");
            assert!(statement.contains("{keyspace}."), "{statement}");
        }
    }

    #[test]
    fn a_keyspace_has_one_table_id() {
        assert_eq!(table_id("panda"), table_id("panda"));
        assert_ne!(table_id("panda"), table_id("panda2"));
        let id = table_id("panda");
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
