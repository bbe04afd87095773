//! Subscribing, resuming, and passing events on: in order, each once.

use alloc::vec::Vec;

use bytes::Bytes;

use super::follow::{Place, Subscription, place};
use super::hear::Trouble;
use super::output::{Notice, Refusal, Reply, Unexpected, refusal_of};
use super::questions::Asked;
use super::{ClientSession, Phase, Ready, Timer, repeat_wait_ms};
use crate::error_code::{ErrorCode, Recovery};
use crate::event::peek_seq;
use crate::frame::{Admission, Ended, EventFrame, Frame, RequestId, Subscribe, Sync, SyncEntry, Synced, Unsubscribe};
use crate::ids::{ChatId, Cursor};
use crate::limits::SYNC_CHATS_MAX;

impl<W> ClientSession<W> {
    /// Listens to a chat from behind `cursor` on, or to what happens from now on. It is resumed over
    /// every connection until [`Self::unsubscribe`] or [`Notice::Lost`]. Again: begins anew there.
    pub fn subscribe(&mut self, chat: ChatId, cursor: Option<Cursor>, waiter: W) {
        let subscription = self.chats.entry(chat).or_insert_with(|| Subscription::new(cursor));
        subscription.restart(cursor);
        subscription.waiters.push(waiter);
        self.ready.push_back(Ready::Subscribe(chat));
    }

    /// No event of the chat comes any more, from now on.
    pub fn unsubscribe(&mut self, chat: ChatId, waiter: W) {
        if let Some(gone) = self.chats.remove(&chat) {
            for waiter in gone.waiters {
                self.answer(waiter, Err(ErrorCode::NotFound.into()));
            }
        }
        // While the Welcome is waited for, a Sync that names the chat is out already.
        if matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            self.ready.push_back(Ready::Unsubscribe(chat, waiter));
        } else {
            self.answer(waiter, Ok(Reply::Done));
        }
    }

    /// What the application has of a chat: every event up to this cursor was passed on.
    pub fn cursor(&self, chat: ChatId) -> Option<Cursor> {
        self.chats.get(&chat).and_then(|subscription| subscription.cursor)
    }

    /// As [`Self::cursor`], of the inbox.
    pub const fn inbox_cursor(&self) -> Option<Cursor> {
        self.inbox
    }

    pub(super) fn send_subscribe(&mut self, chat: ChatId) -> Option<Bytes> {
        let request = RequestId(self.last_request + 1);
        let subscription = self.chats.get_mut(&chat)?;
        if !subscription.is_idle() {
            return None;
        }
        subscription.asked = Some(request);
        let entry = subscription.entry(chat);
        self.last_request += 1;
        self.requests.insert(request, Asked::Subscribe(chat));
        Some(Frame::from(Subscribe { request, entry }).to_bytes())
    }

    pub(super) fn send_unsubscribe(&mut self, chat: ChatId, waiter: W) -> Bytes {
        let request = self.next_request();
        self.requests.insert(request, Asked::Unsubscribe(chat, waiter));
        if let Some(subscription) = self.chats.get_mut(&chat) {
            // Whoever subscribed again did so behind this, and may have been asked for in the turn of an
            // earlier Subscribe: the server drops that, and the later one, which waits its turn, begins anew.
            subscription.suspend();
        }
        Frame::from(Unsubscribe { request, chat }).to_bytes()
    }

    /// Every chat, to be resumed, right behind the Hello.
    pub(super) fn send_syncs(&mut self) {
        let mut page: Vec<SyncEntry> = Vec::new();
        let mut request = self.next_request();
        let mut chats = core::mem::take(&mut self.chats);
        for (chat, subscription) in &mut chats {
            if page.len() == SYNC_CHATS_MAX {
                self.send_sync(request, core::mem::take(&mut page));
                request = self.next_request();
            }
            subscription.suspend();
            subscription.asked = Some(request);
            page.push(subscription.entry(*chat));
        }
        self.chats = chats;
        if !page.is_empty() {
            self.send_sync(request, page);
        }
    }

    fn send_sync(&mut self, request: RequestId, chats: Vec<SyncEntry>) {
        self.requests.insert(request, Asked::Sync);
        self.control.push_back(Frame::from(Sync { request, chats }).to_bytes());
    }

    pub(super) fn synced(&mut self, synced: Synced, now_ms: u64) {
        if synced.last {
            self.requests.remove(&synced.request);
        }
        for entry in synced.chats {
            match entry.outcome {
                Ok(admission) => self.admitted(entry.chat, synced.request, admission),
                Err((code, wait)) => self.not_admitted(entry.chat, synced.request, refusal_of(code, wait), now_ms),
            }
        }
    }

    /// The whole Sync was refused.
    pub(super) fn sync_refused(&mut self, request: RequestId, refusal: &Refusal, now_ms: u64) {
        let of_it = |(chat, of): (&ChatId, &Subscription<W>)| (of.asked == Some(request)).then_some(*chat);
        let chats: Vec<ChatId> = self.chats.iter().filter_map(of_it).collect();
        for chat in chats {
            self.not_admitted(chat, request, refusal.clone(), now_ms);
        }
    }

    pub(super) fn admitted(&mut self, chat: ChatId, request: RequestId, admission: Admission) {
        let Some(subscription) = self.chats.get_mut(&chat) else { return };
        if subscription.asked != Some(request) {
            return subscription.admitted_before();
        }
        subscription.admitted(&admission);
        let waiters = core::mem::take(&mut subscription.waiters);
        if waiters.is_empty() {
            return self.notice(Notice::Resumed { chat, admission });
        }
        for waiter in waiters {
            self.answer(waiter, Ok(Reply::Admitted(admission.clone())));
        }
    }

    pub(super) fn not_admitted(&mut self, chat: ChatId, request: RequestId, refusal: Refusal, now_ms: u64) {
        let Some(subscription) = self.chats.get_mut(&chat) else { return };
        if subscription.asked != Some(request) {
            return;
        }
        subscription.suspend();
        if matches!(Recovery::of(refusal.code), Recovery::Repeat | Recovery::Ask) {
            self.subscribe_later(chat, refusal.retry_after_ms, now_ms);
        } else {
            self.lose(chat, refusal, true);
        }
    }

    fn subscribe_later(&mut self, chat: ChatId, retry_after_ms: u64, now_ms: u64) {
        let Some(subscription) = self.chats.get_mut(&chat) else { return };
        let wait_ms = retry_after_ms.max(repeat_wait_ms(subscription.repeats));
        subscription.repeats = subscription.repeats.saturating_add(1);
        self.timers.insert((now_ms.saturating_add(wait_ms), Timer::Chat(chat)));
    }

    fn lose(&mut self, chat: ChatId, refusal: Refusal, resuming: bool) {
        let Some(gone) = self.chats.remove(&chat) else { return };
        if gone.waiters.is_empty() {
            return self.notice(Notice::Lost { entity: chat.into(), code: refusal.code, resuming });
        }
        for waiter in gone.waiters {
            self.answer(waiter, Err(refusal.clone()));
        }
    }

    pub(super) fn subscription_ended(&mut self, ended: Ended, now_ms: u64) -> Result<(), Trouble> {
        let may_again = matches!(Recovery::of(ended.code), Recovery::Repeat | Recovery::Ask);
        let Some(chat) = ended.entity.chat() else {
            if may_again {
                // An inbox is followed from the Hello on: only a new session begins it anew.
                return Err(Trouble::StartAnew);
            }
            self.notice(Notice::Lost { entity: ended.entity, code: ended.code, resuming: false });
            return Ok(());
        };
        let Some(subscription) = self.chats.get_mut(&chat) else { return Ok(()) };
        subscription.over();
        if subscription.asked.is_some() {
            return Ok(()); // It was of the subscription before.
        }
        subscription.suspend();
        if may_again {
            self.subscribe_later(chat, ended.retry_after_ms, now_ms);
        } else {
            self.lose(chat, refusal_of(ended.code, ended.retry_after_ms), false);
        }
        Ok(())
    }

    pub(super) fn event(&mut self, frame: EventFrame) -> Result<(), Trouble> {
        let EventFrame { entity, event } = frame;
        let seq = peek_seq(&event)?;
        let Some(chat) = entity.chat() else {
            let Some(cursor) = self.inbox.as_mut() else { return Ok(()) };
            match place(cursor, seq) {
                Place::Next => self.notice(Notice::Event { entity, seq, event }),
                Place::Gap(_) => return Err(Trouble::StartAnew),
                Place::Old | Place::Late | Place::Unasked => {}
            }
            return Ok(());
        };
        let place = self.chats.get_mut(&chat).map_or(Place::Unasked, |subscription| subscription.place(seq));
        let how = match place {
            Place::Next => {
                self.notice(Notice::Event { entity, seq, event });
                return Ok(());
            }
            Place::Old => Unexpected::Repeated,
            Place::Gap(expected) => {
                if let Some(subscription) = self.chats.get_mut(&chat) {
                    subscription.suspend();
                }
                self.ready.push_back(Ready::Subscribe(chat));
                Unexpected::Gap { expected }
            }
            Place::Unasked if !self.is_leaving(chat) => Unexpected::NotListening,
            Place::Late | Place::Unasked => return Ok(()),
        };
        self.notice(Notice::Unexpected { chat, seq, how });
        Ok(())
    }

    /// Whether the server may not have heard yet that the application left the chat. Looked for only where an event
    /// came that nobody asked for.
    fn is_leaving(&self, chat: ChatId) -> bool {
        self.requests.values().any(|asked| matches!(asked, Asked::Unsubscribe(of, _) if *of == chat))
            || self.ready.iter().any(|ready| matches!(ready, Ready::Unsubscribe(of, _) if *of == chat))
    }
}
