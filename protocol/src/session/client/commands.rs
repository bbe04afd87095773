//! Commands of the application: counters, limits, answers.

use alloc::vec::Vec;

use super::lane::{Lane, Returned};
use super::output::{Notice, Refusal, Reply};
use super::{ClientSession, LANES_MAX, Ready, Timer};
use crate::error_code::{ErrorCode, Recovery};
use crate::frame::CommandBody;
use crate::ids::{ChatId, Counter, EntityId, Seq, UserId};
use crate::limits::{
    CHAT_NAME_BYTES_MAX, COMMAND_MEMBERS_MAX, SETTING_KEY_BYTES_MAX, SETTING_VALUE_BYTES_MAX, TEXT_BYTES_MAX,
    VARINT_MAX,
};
use crate::text::Text;
use crate::trace::TraceContext;

impl<W> ClientSession<W> {
    /// Whether another command of this entity can be taken now.
    pub fn has_room(&self, entity: EntityId) -> bool {
        self.lanes.get(&entity).is_none_or(Lane::has_room)
    }

    /// Takes a command and gives its counter.
    ///
    /// # Errors
    /// The waiter is handed back if 64 commands of the entity wait for their answers, with
    /// [`ErrorCode::TooLarge`] if a part of the body is above its limit, or with
    /// [`ErrorCode::LimitReached`] if this device used the highest counter that there is.
    pub fn submit(&mut self, entity: EntityId, body: CommandBody, waiter: W) -> Result<Counter, (W, ErrorCode)> {
        self.submit_traced(entity, body, None, waiter)
    }

    /// Takes a command that is to be followed in a context, and gives its counter.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_traced(
        &mut self,
        entity: EntityId,
        body: CommandBody,
        trace: Option<TraceContext>,
        waiter: W,
    ) -> Result<Counter, (W, ErrorCode)> {
        if !self.has_room(entity) {
            return Err((waiter, ErrorCode::TooManyInFlight));
        }
        if is_too_large(&body) {
            return Err((waiter, ErrorCode::TooLarge));
        }
        let Some(counter) = self.next_counter() else { return Err((waiter, ErrorCode::LimitReached)) };
        self.push(entity, counter, body, trace, waiter);
        Ok(counter)
    }

    /// Takes a command that makes a group, and gives the group's identifier and the counter.
    ///
    /// # Errors
    /// The waiter is handed back as by [`Self::submit`], or with [`ErrorCode::Unavailable`] before the
    /// first Welcome.
    pub fn create_group(
        &mut self,
        name: Text,
        members: Vec<UserId>,
        waiter: W,
    ) -> Result<(ChatId, Counter), (W, ErrorCode)> {
        let Some(user) = self.user else { return Err((waiter, ErrorCode::Unavailable)) };
        let body = CommandBody::CreateGroup { name, members };
        if is_too_large(&body) {
            return Err((waiter, ErrorCode::TooLarge));
        }
        let Some(counter) = self.next_counter() else { return Err((waiter, ErrorCode::LimitReached)) };
        let chat = ChatId::group(user, self.parameters.device, counter);
        self.push(chat.into(), counter, body, None, waiter);
        Ok((chat, counter))
    }

    fn next_counter(&mut self) -> Option<Counter> {
        let counter = Counter(self.parameters.counter.0.max(1));
        if counter.0 > VARINT_MAX {
            return None;
        }
        self.parameters.counter = Counter(counter.0 + 1);
        Some(counter)
    }

    fn push(&mut self, entity: EntityId, counter: Counter, body: CommandBody, trace: Option<TraceContext>, waiter: W) {
        if !self.lanes.contains_key(&entity) && self.lanes.len() >= LANES_MAX {
            self.forget_a_lane();
        }
        let lane = self.lanes.entry(entity).or_insert_with(Lane::new);
        let was_ready = lane.is_ready();
        lane.push(counter, body, trace, waiter);
        if lane.is_ready() && !was_ready {
            self.ready.push_back(Ready::Lane(entity));
        }
    }

    fn forget_a_lane(&mut self) {
        let idle = self.lanes.iter().find(|(_, lane)| lane.is_forgettable()).map(|(entity, _)| *entity);
        if let Some(entity) = idle {
            self.lanes.remove(&entity);
        }
    }

    pub(super) fn command_applied(&mut self, entity: EntityId, counter: Counter, seq: Seq, now_ms: u64) {
        let waiter = self.lanes.get_mut(&entity).and_then(|lane| lane.applied(counter));
        if let Some(waiter) = waiter {
            self.answer(waiter, Ok(Reply::Applied(seq)));
        }
        self.settle(entity, now_ms);
    }

    pub(super) fn command_refused(&mut self, entity: EntityId, counter: Counter, refusal: Refusal, now_ms: u64) {
        if let Some(details) = &refusal.details {
            // The device's clock may have gone back since its last start: never take a used counter.
            let above = Counter(details.counter.0.saturating_add(1));
            self.parameters.counter = self.parameters.counter.max(above);
        }
        let Some(lane) = self.lanes.get_mut(&entity) else { return };
        let (code, retry_after_ms) = (refusal.code, refusal.retry_after_ms);
        match lane.refused(counter, refusal) {
            Returned::Failed(waiter, refusal) => self.answer(waiter, Err(refusal)),
            // What only came back because one before it did is no refusal of its own.
            Returned::Again if matches!(Recovery::of(code), Recovery::Repeat | Recovery::Ask) => {
                self.notice(Notice::Repeating { entity, counter, code, retry_after_ms });
            }
            Returned::Again | Returned::Unknown => {}
        }
        self.settle(entity, now_ms);
    }

    fn settle(&mut self, entity: EntityId, now_ms: u64) {
        let Some(lane) = self.lanes.get_mut(&entity) else { return };
        if lane.is_unused() {
            self.lanes.remove(&entity);
            return;
        }
        match lane.settle() {
            Some(0) if lane.is_ready() => self.ready.push_back(Ready::Lane(entity)),
            Some(wait_ms) if !lane.is_empty() => {
                lane.held = true;
                self.timers.insert((now_ms.saturating_add(wait_ms), Timer::Lane(entity)));
            }
            _ => {}
        }
    }

    pub(super) fn release_lane(&mut self, entity: EntityId) {
        let Some(lane) = self.lanes.get_mut(&entity) else { return };
        lane.held = false;
        if lane.is_ready() {
            self.ready.push_back(Ready::Lane(entity));
        }
    }
}

/// Whether a part is above its limit. The server would refuse it, or end the connection if the frame
/// is too large as well, and with it everything else.
fn is_too_large(body: &CommandBody) -> bool {
    match body {
        CommandBody::Send { text, .. } => text.len() > TEXT_BYTES_MAX,
        CommandBody::CreateGroup { name, members } => {
            name.len() > CHAT_NAME_BYTES_MAX || members.len() > COMMAND_MEMBERS_MAX
        }
        CommandBody::AddMembers { members, .. } | CommandBody::RemoveMembers { members } => {
            members.len() > COMMAND_MEMBERS_MAX
        }
        CommandBody::Rename { name } => name.len() > CHAT_NAME_BYTES_MAX,
        CommandBody::SetSetting { key, value } => {
            key.len() > SETTING_KEY_BYTES_MAX || value.len() > SETTING_VALUE_BYTES_MAX
        }
        CommandBody::CreateDirect { .. } | CommandBody::SetRole { .. } | CommandBody::MarkRead { .. } => false,
    }
}
