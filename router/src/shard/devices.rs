//! Which session of a device is live, and where.

use hashbrown::hash_map::Entry;
use panda_protocol::link::{Down, LinkId};
use panda_protocol::{DeviceId, SessionId, UserId};
use smallvec::SmallVec;

use super::{Output, Shard};

/// The live sessions of the users whose inboxes are of a shard.
pub(super) type Devices = hashbrown::HashMap<UserId, SmallVec<[Attached; 1]>>;

pub(super) struct Attached {
    device: DeviceId,
    link: LinkId,
    session: SessionId,
}

impl Shard {
    pub(super) fn attach(&mut self, link: LinkId, user: UserId, device: DeviceId, session: SessionId) {
        let attached = self.devices.entry(user).or_default();
        if let Some(older) = attached.iter_mut().find(|attached| attached.device == device) {
            if older.session != session {
                self.outputs.push(Output::Send(older.link, Down::Replaced { session: older.session }));
            }
            *older = Attached { device, link, session };
        } else {
            attached.push(Attached { device, link, session });
        }
    }

    pub(super) fn detach(&mut self, user: UserId, device: DeviceId, session: SessionId) {
        if let Entry::Occupied(mut entry) = self.devices.entry(user) {
            entry.get_mut().retain(|attached| attached.device != device || attached.session != session);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    pub(super) fn detach_link(&mut self, link: LinkId) {
        self.devices.retain(|_, attached| {
            attached.retain(|attached| attached.link != link);
            !attached.is_empty()
        });
    }
}
