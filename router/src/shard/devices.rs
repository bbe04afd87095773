//! Which session of a device is live, and where.
//!
//! The order in which Hellos reached the owner says which session of a device is the newest. Sessions that
//! are stated again, after a break or to a new owner, come in any order: none of them takes another's place.

use hashbrown::hash_map::Entry;
use panda_protocol::link::{Down, LinkId, Opens};
use panda_protocol::{DeviceId, SessionId, UserId};
use smallvec::SmallVec;

use super::{Output, Shard, room};

/// The live sessions of the users whose inboxes are of a shard.
pub(super) type Devices = hashbrown::HashMap<UserId, SmallVec<[Attached; 1]>>;

pub(super) struct Attached {
    device: DeviceId,
    link: LinkId,
    session: SessionId,
    /// No Hello of the device came later, as far as this owner can tell.
    newest: bool,
}

impl Shard {
    /// The inbox has admitted a session.
    pub(super) fn open(&mut self, link: LinkId, user: UserId, opens: Opens) {
        let Opens { device, session, again } = opens;
        let attached = self.devices.entry(user).or_default();
        attached.retain(|other| {
            if other.device != device {
                return true;
            }
            if other.session != session && !again {
                self.outputs.push(Output::Send(other.link, Down::Replaced { session: other.session }));
            }
            // Of two neither of which is known to be the newer, both stay: the one that is dead ends by its
            // silence, but a live one whose place was taken would never come back.
            other.newest = false;
            other.session != session && again
        });
        attached.push(Attached { device, link, session, newest: !again });
    }

    /// A session that an owner admitted before is live.
    pub(super) fn attach(&mut self, link: LinkId, user: UserId, device: DeviceId, session: SessionId) {
        let attached = self.devices.entry(user).or_default();
        let is_replaced = |other: &Attached| other.device == device && other.session != session && other.newest;
        if attached.iter().any(is_replaced) {
            self.outputs.push(Output::Send(link, Down::Replaced { session }));
        } else if let Some(known) = attached.iter_mut().find(|known| known.session == session) {
            known.link = link;
        } else {
            attached.push(Attached { device, link, session, newest: false });
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
        room::give_back(&mut self.devices);
    }
}

#[cfg(test)]
mod tests;
