//! `panda admin rebuild`: rows of one chat or inbox are damaged, and are made anew from its events.

use std::path::Path;

use anyhow::{Context as _, ensure};
use panda_protocol::EntityId;
use panda_router::rebuild::{Rebuilt, rebuild};
use panda_storage::embedded::{DataFolder, EmbeddedEvents};

use super::EVENT_STORE;
use crate::cluster::services::{self, patiently};
use crate::config::Config;
use crate::lifecycle::now;

/// Makes the rows of `entity` anew, in the cluster of the configuration or, where it names none, in the data folder of a
/// stopped `panda serve`. Says what was done, and what is next.
///
/// # Errors
/// There is no such chat or inbox, its events are damaged, too, or the folder is in use. A cluster that is away is
/// waited for.
#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) async fn run(config: &Config, in_folder: bool, entity: EntityId) -> anyhow::Result<()> {
    let in_folder = in_folder || config.events.nodes.is_empty();
    let rebuilt = if in_folder { of_folder(&config.data, entity).await? } else { of_cluster(config, entity).await? };
    let Rebuilt { events, rows, mended } = rebuilt;
    println!(
        "{entity} has {rows} rows of {events} events: {mended} were damaged or behind, and are as they should be."
    );
    if in_folder {
        println!("Start 'panda serve' again.");
    } else {
        println!("Start the router again whose log named it, and what waits for it is taken.");
    }
    Ok(())
}

async fn of_cluster(config: &Config, entity: EntityId) -> anyhow::Result<Rebuilt> {
    let events = services::events(config).await?;
    // Commands may wait in the log since its newest event.
    there(entity, patiently(EVENT_STORE, async || rebuild(&events, entity, None).await).await?)
}

async fn of_folder(data: &Path, entity: EntityId) -> anyhow::Result<Rebuilt> {
    let folder = DataFolder::open_existing(data)?;
    let events = EmbeddedEvents::open(&folder).context("open the events")?;
    // Its log ended with the process that wrote it: whatever comes is of the next one.
    let rebuilt = rebuild(&events, entity, Some(now())).await;
    events.close().await.context("close the event store")?;
    there(entity, rebuilt?)
}

fn there(entity: EntityId, rebuilt: Rebuilt) -> anyhow::Result<Rebuilt> {
    ensure!(rebuilt.events > 0, "there is no chat or inbox {entity}: the log of the router says which is damaged");
    Ok(rebuilt)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use panda_protocol::event::{Event, EventBody};
    use panda_protocol::{Counter, DeviceId, Seq, Time, UserId};
    use panda_router::rows::RowId;
    use panda_storage::{EventBatch, EventRow, EventStore as _, StateRow};

    use super::*;

    #[tokio::test]
    async fn rows_in_a_data_folder_are_made_anew_and_a_wrong_name_is_told() {
        let place = tempfile::tempdir().unwrap();
        let user = UserId::from_random([1; 16]);
        let inbox = EntityId::from(user);
        let folder = DataFolder::open(place.path()).unwrap();
        let events = EmbeddedEvents::open(&folder).unwrap();
        let event = Event {
            seq: Seq(1),
            time: Time(7),
            actor: user,
            device: DeviceId::from_random([1; 16]),
            counter: Counter(1),
            digest: Default::default(),
            target: None,
            body: EventBody::SettingChanged { new: true, key: "theme".into(), value: Bytes::from_static(b"dark") },
        };
        let (position, event) = (Default::default(), event.to_bytes());
        let row = EventRow { seq: Seq(1), position, index: 0, count: 1, time: Time(7), event };
        let batch = EventBatch { entity: inbox, rows: vec![row], owes: Vec::new(), settles: Vec::new() };
        events.write_events(batch).await.unwrap();
        let damaged = StateRow { key: RowId::Head.key(), value: Some(Bytes::new()), time: Time(7) };
        events.write_state(inbox, vec![damaged]).await.unwrap();
        let in_use = of_folder(place.path(), inbox).await.unwrap_err().to_string();
        assert!(in_use.contains("in use"), "{in_use}");
        events.close().await.unwrap();
        drop((events, folder));

        // The head, the window, the setting, and through which event they are stored.
        let rebuilt = of_folder(place.path(), inbox).await.unwrap();
        assert_eq!(rebuilt, Rebuilt { events: 1, rows: 3, mended: 4 });
        assert_eq!(of_folder(place.path(), inbox).await.unwrap(), Rebuilt { mended: 0, ..rebuilt });
        let other = EntityId::from(UserId::from_random([2; 16]));
        let nobody = of_folder(place.path(), other).await.unwrap_err().to_string();
        assert!(nobody.contains(&format!("there is no chat or inbox {other}")), "{nobody}");
    }
}
