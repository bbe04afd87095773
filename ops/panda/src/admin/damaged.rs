//! Chats and inboxes that cannot be read, and an epoch that is to be opened.

use anyhow::bail;
use panda_router::new_log::Damaged;

use crate::cli::DamagedArgs;

/// Whether the epoch may be opened. Says in the log what is left as it is.
///
/// # Errors
/// Something is damaged, and nobody said to leave it.
pub(super) fn accept(damaged: &Damaged, given: DamagedArgs) -> anyhow::Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    if !given.leave_damaged {
        bail!(
            "{damaged}. No epoch was opened: mend them with 'panda admin rebuild' and run this again, or leave them as \
             they are with --leave-damaged, whose help says what that costs"
        );
    }
    tracing::warn!(%damaged, "the epoch is opened without what is damaged");
    Ok(())
}

#[cfg(test)]
mod tests {
    use panda_protocol::codec::Writer;
    use panda_protocol::{ChatId, EntityId, Seq, Time, UserId};
    use panda_router::new_log::make_whole;
    use panda_router::rows::RowId;
    use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog};
    use panda_storage::{EventBatch, EventRow, EventStore as _, StateRow};

    use super::*;

    /// One whose event is none, and one whose row is none.
    #[tokio::test]
    async fn an_epoch_over_damaged_chats_is_opened_by_who_says_so_only() {
        let place = tempfile::tempdir().unwrap();
        let events = EmbeddedEvents::open(&DataFolder::open(place.path()).unwrap()).unwrap();
        let (ann, ben) = (UserId::from_random([1; 16]), UserId::from_random([2; 16]));
        let inbox = EntityId::from(ann);
        let chat = EntityId::from(ChatId::direct(ann, ben));
        let mut none = Writer::with_capacity(1);
        none.u8(0);
        let event = none.freeze();
        for entity in [inbox, chat] {
            let position = Default::default();
            let row = EventRow { seq: Seq(1), position, index: 0, count: 1, time: Time(7), event: event.clone() };
            let batch = EventBatch { entity, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
            events.write_events(batch).await.unwrap();
        }
        let row = StateRow { key: RowId::Head.key(), value: Some(event), time: Time(7) };
        events.write_state(inbox, vec![row]).await.unwrap();
        let whole = make_whole(&events, &EmbeddedLog::new(16, 9, || Time(1))).await.unwrap();
        assert_eq!((whole.entities, whole.newest), (0, Time(7)), "their times are known");
        let refused = accept(&whole.damaged, DamagedArgs { leave_damaged: false }).unwrap_err().to_string();
        assert!(refused.starts_with("2 chats and inboxes are damaged: "), "{refused}");
        for named in [inbox, chat].map(|entity| entity.to_string()) {
            assert!(refused.contains(&format!("{named} (the store is corrupt: ")), "{refused}");
        }
        assert!(refused.contains("No epoch was opened") && refused.contains("--leave-damaged"), "{refused}");
        accept(&whole.damaged, DamagedArgs { leave_damaged: true }).unwrap();
        accept(&Damaged::default(), DamagedArgs { leave_damaged: false }).unwrap();
    }
}
