//! What comes down the link, and who of the worker's sessions it is for.

use panda_link::Arrived;
use panda_protocol::frame::Signal;
use panda_protocol::link::{Down, Rejection};
use panda_protocol::{EntityId, ErrorCode, Seq, ShardId};
use panda_storage::command_log::CommandLog;

use super::Core;
use crate::session::Waiting;

impl<L: CommandLog> Core<L> {
    /// What came down the link.
    pub(crate) fn arrive(&mut self, batch: Vec<Down>) {
        for down in batch {
            // A part's waiter stays in the table, so what is wanted of it is copied out first.
            match self.links.arrive(down) {
                Some(Arrived::Part { waiting, body }) => match *waiting {
                    Waiting::Read { session } => self.read_part(session, &body),
                    Waiting::CatchUp { session, key } => self.missed(session, key, &body),
                    _ => {}
                },
                Some(Arrived::Command { waiting, outcome }) => self.take(Arrived::Command { waiting, outcome }),
                Some(Arrived::Full { waiting, users }) => self.take(Arrived::Full { waiting, users }),
                Some(Arrived::Admission { waiting, outcome }) => self.take(Arrived::Admission { waiting, outcome }),
                Some(Arrived::Read { waiting, outcome }) => self.take(Arrived::Read { waiting, outcome }),
                Some(Arrived::Events(events)) => self.fan_out(events),
                Some(Arrived::Head { entity, head, readmit }) => self.head(entity, head, readmit),
                Some(Arrived::Signal { chat, user, kind, payload }) => {
                    self.signal_down(&Signal { chat, user: Some(user), kind, payload });
                }
                Some(Arrived::Replaced { session }) => {
                    if let Some(key) = self.key_of(session) {
                        self.end(key, ErrorCode::Replaced.into());
                    }
                }
                Some(Arrived::Owner { shard }) => self.attach_again(shard),
                Some(Arrived::Readmit { shard }) => self.readmit_shard(shard),
                None => {}
            }
        }
        self.readmit_on();
    }

    /// The owner of these inboxes knows no device: those that are live here are told to it.
    fn attach_again(&mut self, shard: ShardId) {
        let shards = self.links.shards();
        for place in self.by_id.places() {
            let Some(member) = self.sessions.get(place).and_then(|session| session.member.as_ref()) else { continue };
            if EntityId::from(member.user).shard(shards) == shard {
                self.links.attach(member.user, member.device, member.id);
            }
        }
        self.stir();
    }

    /// Something of the shard was missed, nobody knows what.
    fn readmit_shard(&mut self, shard: ShardId) {
        let shards = self.links.shards();
        let entities: Vec<EntityId> =
            self.subscriptions.entities().filter(|entity| entity.shard(shards) == shard).collect();
        for entity in entities {
            self.head(entity, Seq(0), true);
        }
    }

    /// An answer, or its absence.
    pub(crate) fn take(&mut self, arrived: Arrived<'_, Waiting>) {
        match arrived {
            Arrived::Command { waiting: Waiting::Command { session, request }, outcome } => {
                self.commanded(session, request, outcome);
            }
            Arrived::Full { waiting: Waiting::Command { session, request }, .. } => {
                self.commanded(session, request, Err(Rejection::new(ErrorCode::LimitReached)));
            }
            Arrived::Admission { waiting, outcome } => {
                // A refusal for want of an answer says nothing of what the owner noted.
                let stated = outcome.as_ref().err().is_none_or(|rejection| rejection.code == ErrorCode::Unavailable);
                let Some(entity) = self.entity_of(&waiting) else { return };
                self.answered(entity, stated);
                match waiting {
                    Waiting::Open { session, inbox, device, id, right_ends_ms, .. } => {
                        let open = self.opened(session, inbox, right_ends_ms, outcome);
                        if let (false, true, Some(user)) = (open, stated, entity.inbox()) {
                            // The owner attached it when it admitted it.
                            self.links.detach(user, device, id);
                            self.stir();
                        }
                    }
                    Waiting::Subscribe { session, request, key, entity } => {
                        self.admission_answered(session);
                        self.subscribed(session, request, key, entity, outcome);
                    }
                    Waiting::Sync { session, request, sync, key, entity } => {
                        self.admission_answered(session);
                        self.synced(session, (request, sync), key, entity, outcome);
                    }
                    Waiting::Readmit { key, entity } => {
                        self.readmissions.answered();
                        self.readmitted(key, entity, outcome);
                    }
                    _ => {}
                }
                self.forget_unheard(entity);
            }
            Arrived::Read { waiting: Waiting::Read { session }, outcome } => self.read_last(session, outcome),
            Arrived::Read { waiting: Waiting::CatchUp { session, key }, outcome } => {
                self.missed_last(session, key, outcome);
            }
            _ => {}
        }
    }

    const fn entity_of(&self, waiting: &Waiting) -> Option<EntityId> {
        match waiting {
            Waiting::Open { entity, .. }
            | Waiting::Subscribe { entity, .. }
            | Waiting::Sync { entity, .. }
            | Waiting::Readmit { entity, .. } => Some(*entity),
            _ => None,
        }
    }
}
