//! Requests that wait for their reply, and questions that are asked again until they have one.

use alloc::vec::Vec;

use bytes::Bytes;

use super::output::{HistoryPage, Question, Refusal, Reply};
use super::{ClientSession, Ready, Timer, repeat_wait_ms};
use crate::error_code::Recovery;
use crate::frame::{ChatInfo, Chats, Frame, Members, Page, PageChunk, RequestId};
use crate::ids::{ChatId, Counter, EntityId};
use crate::limits::PAGE_EVENTS_MAX;

/// A question and who asks it.
pub(super) struct Asking<W> {
    question: Question,
    waiter: W,
    /// The chunks that came.
    page: Option<HistoryPage>,
    repeats: u32,
}

/// What a request that waits is about.
pub(super) enum Asked<W> {
    Command(EntityId, Counter),
    Sync,
    Subscribe(ChatId),
    Unsubscribe(ChatId, W),
    Refresh,
    Question(Asking<W>),
}

impl<W> ClientSession<W> {
    /// Asks something that changes nothing.
    pub fn ask(&mut self, question: Question, waiter: W) {
        self.ready.push_back(Ready::Ask(Asking { question, waiter, page: None, repeats: 0 }));
    }

    pub(super) fn send_question(&mut self, asking: Asking<W>) -> Bytes {
        let request = self.next_request();
        let frame: Frame = match asking.question {
            Question::Page { entity, direction, from, limit } => {
                Page { request, entity, direction, from, limit }.into()
            }
            Question::Members { chat, after, limit } => Members { request, chat, after, limit }.into(),
            Question::Chats { after, limit } => Chats { request, after, limit }.into(),
            Question::ChatInfo(chat) => ChatInfo { request, chat }.into(),
        };
        self.requests.insert(request, Asked::Question(asking));
        frame.to_bytes()
    }

    pub(super) fn page_chunk(&mut self, chunk: PageChunk) {
        let Some(Asked::Question(asking)) = self.requests.get_mut(&chunk.request) else { return };
        let PageChunk { incarnation, begins_at, head, events, .. } = chunk;
        let page = asking.page.get_or_insert(HistoryPage { incarnation, begins_at, head, events: Vec::new() });
        page.head = page.head.max(head);
        // A server that sends more than a page holds does not make us keep it.
        let room = PAGE_EVENTS_MAX.saturating_sub(page.events.len());
        page.events.extend(events.into_iter().take(room));
        if chunk.last
            && let Some(Asked::Question(Asking { waiter, page: Some(page), .. })) = self.requests.remove(&chunk.request)
        {
            self.answer(waiter, Ok(Reply::Page(page)));
        }
    }

    /// A reply of one frame.
    pub(super) fn question_answered(&mut self, request: RequestId, reply: Reply) {
        if let Some(Asked::Question(asking)) = self.requests.remove(&request) {
            self.answer(asking.waiter, Ok(reply));
        }
    }

    pub(super) fn question_refused(&mut self, mut asking: Asking<W>, refusal: Refusal, now_ms: u64) {
        if !matches!(Recovery::of(refusal.code), Recovery::Repeat | Recovery::Ask) {
            return self.answer(asking.waiter, Err(refusal));
        }
        let wait_ms = refusal.retry_after_ms.max(repeat_wait_ms(asking.repeats));
        asking.repeats = asking.repeats.saturating_add(1);
        asking.page = None;
        let held = self.next_request();
        self.held.insert(held, asking);
        self.timers.insert((now_ms.saturating_add(wait_ms), Timer::Ask(held)));
    }

    pub(super) fn release_question(&mut self, held: RequestId) {
        if let Some(asking) = self.held.remove(&held) {
            self.ready.push_back(Ready::Ask(asking));
        }
    }
}

impl<W> Asking<W> {
    /// To be asked over another connection.
    pub(super) fn afresh(mut self) -> Self {
        self.page = None;
        self
    }
}
