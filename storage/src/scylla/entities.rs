//! Which entities there are: the first buckets among all partitions, in the order of their tokens.
//!
//! Every entity has a first bucket, because an event is blanked and never deleted. Partitions of later
//! buckets lie between, and are read and left out.

use panda_protocol::EntityId;
use panda_protocol::ids::ID_LEN;

use super::numbers::to_table;
use super::{Inner, failure};
use crate::entity_store::{Copies, ENTITIES_AT_ONCE_MAX};
use crate::error::StoreError;

/// Partitions that one request asks for.
const PAGE_PARTITIONS: usize = 512;
/// Partitions of one token, at most: there is one, and of billions a few have another beside them.
const TOKEN_PARTITIONS_MAX: usize = 8;
/// The bucket that every entity has.
const FIRST_BUCKET: u64 = 0;

/// A partition's key.
type Columns = (Vec<u8>, i64);

impl Inner {
    pub(super) async fn entities(
        &self,
        copies: Copies,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<EntityId>, StoreError> {
        let limit = limit.min(ENTITIES_AT_ONCE_MAX);
        let first = to_table(FIRST_BUCKET)?;
        let mut last: Option<Columns> = after.map(|after| (after.as_bytes().to_vec(), first));
        let mut found = Vec::new();
        while found.len() < limit {
            let asked = PAGE_PARTITIONS.min(limit - found.len()) + TOKEN_PARTITIONS_MAX;
            let page = self.partitions(copies, last.as_ref(), asked).await?;
            let ends = page.len() < asked;
            // Those of the last one's token come again, it among them.
            let behind = last.as_ref().and_then(|last| page.iter().position(|key| key == last)).map_or(0, |at| at + 1);
            for (entity, bucket) in page.into_iter().skip(behind) {
                if bucket == first && found.len() < limit {
                    let bytes: [u8; ID_LEN] = entity.as_slice().try_into().map_err(failure::value)?;
                    found.push(EntityId::from_bytes(bytes).map_err(failure::value)?);
                }
                last = Some((entity, bucket));
            }
            if ends {
                break;
            }
        }
        Ok(found)
    }

    /// Partitions from the token of `from` on.
    async fn partitions(
        &self,
        copies: Copies,
        from: Option<&Columns>,
        limit: usize,
    ) -> Result<Vec<Columns>, StoreError> {
        let token = match from {
            Some((entity, bucket)) => {
                let token = self.statements.bucket_exists.calculate_token(&(&entity[..], *bucket));
                token.map_err(failure::tables)?.ok_or_else(|| failure::tables("a partition has no token"))?.value()
            }
            None => i64::MIN,
        };
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let statement = self.statements.partitions.of(copies);
        self.requests.read::<Columns, _>(statement, (token, limit), Ok).await
    }
}
