//! What the server says.

use super::connection::{BACKOFF_FIRST_MS, bye};
use super::output::{Notice, Output, Refusal, Reply};
use super::questions::Asked;
use super::{ClientSession, Phase, Ready, Timer};
use crate::codec::DecodeError;
use crate::error_code::{ErrorCode, Recovery};
use crate::frame::{Bye, ErrorReply, Frame, LimitKind, PROTOCOL_VERSION, Welcome};
use crate::framing::RawFrame;
use crate::ids::{Cursor, Seq};
use crate::limits::REQUESTS_IN_FLIGHT_MAX;
use crate::text::Text;

/// Why a frame ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server sent what it may not.
    Defect(ErrorCode),
    /// Only a new session can go on.
    StartAnew,
}

impl From<DecodeError> for Trouble {
    fn from(error: DecodeError) -> Self {
        Self::Defect(match error {
            DecodeError::UnknownFrame => ErrorCode::UnknownFrame,
            _ => ErrorCode::Malformed,
        })
    }
}

impl<W> ClientSession<W> {
    /// Takes a frame of the server. Frames are to be taken only between [`Self::connected`] and the
    /// connection's end.
    pub fn hear(&mut self, raw: RawFrame, now_ms: u64) {
        if !matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            return;
        }
        self.live.heard_ms = now_ms;
        let heard = Frame::decode(raw).map_err(Trouble::from).and_then(|frame| match frame {
            Some(Frame::Bye(bye)) => {
                self.hear_bye(bye, now_ms);
                Ok(())
            }
            Some(frame) if self.is_open() => self.hear_open(frame, now_ms),
            Some(Frame::Welcome(welcome)) => self.hear_welcome(&welcome, now_ms),
            Some(_) => Err(Trouble::Defect(ErrorCode::UnexpectedFrame)),
            None => Ok(()),
        });
        match heard {
            Ok(()) => {}
            Err(Trouble::Defect(code)) => {
                self.outputs.push_back(Output::Close(bye(code)));
                self.come_back(None, 0, now_ms);
            }
            Err(Trouble::StartAnew) => {
                self.outputs.push_back(Output::Close(bye(ErrorCode::Going)));
                self.come_back(None, 0, now_ms);
            }
        }
    }

    /// The transport could not make a frame of what came.
    pub fn defect(&mut self, code: ErrorCode, now_ms: u64) {
        if matches!(self.phase, Phase::Greeting(_) | Phase::Open(_)) {
            self.outputs.push_back(Output::Close(bye(code)));
            self.come_back(None, 0, now_ms);
        }
    }

    fn hear_open(&mut self, frame: Frame, now_ms: u64) -> Result<(), Trouble> {
        match frame {
            Frame::Synced(synced) => self.synced(synced, now_ms),
            Frame::Refreshed(refreshed) => self.refreshed(&refreshed, now_ms),
            Frame::Ping(ping) => self.live.pong = Some(ping.nonce),
            Frame::Pong(_) => {}
            Frame::GoAway(goaway) => self.hear_goaway(&goaway, now_ms),
            Frame::Error(error) => self.hear_error(error, now_ms),
            Frame::Ack(ack) => {
                if let Some(Asked::Command(entity, counter)) = self.requests.remove(&ack.request) {
                    self.command_applied(entity, counter, ack.seq, now_ms);
                }
            }
            Frame::Event(event) => self.event(event)?,
            Frame::Subscribed(subscribed) => {
                if let Some(Asked::Subscribe(chat)) = self.requests.remove(&subscribed.request) {
                    self.admitted(chat, subscribed.request, subscribed.admission);
                }
            }
            Frame::Unsubscribed(unsubscribed) => {
                if let Some(Asked::Unsubscribe(_, waiter)) = self.requests.remove(&unsubscribed.request) {
                    self.answer(waiter, Ok(Reply::Done));
                }
            }
            Frame::Ended(ended) => self.subscription_ended(ended, now_ms)?,
            Frame::PageChunk(chunk) => self.page_chunk(chunk),
            Frame::MembersPage(page) => {
                self.question_answered(page.request, Reply::Members { more: page.more, members: page.members });
            }
            Frame::ChatsPage(page) => {
                let reply = Reply::Chats { more: page.more, inbox: page.inbox, chats: page.chats };
                self.question_answered(page.request, reply);
            }
            Frame::ChatInfoReply(info) => self.question_answered(info.request, Reply::ChatInfo(info)),
            Frame::Signal(signal) => self.notice(Notice::Signal(signal)),
            Frame::Head(head) => self.notice(Notice::Lagging { entity: head.entity, head: head.head }),
            _ => return Err(Trouble::Defect(ErrorCode::UnexpectedFrame)),
        }
        Ok(())
    }

    fn hear_welcome(&mut self, welcome: &Welcome, now_ms: u64) -> Result<(), Trouble> {
        if welcome.version != PROTOCOL_VERSION || welcome.heartbeat_ms == 0 {
            return Err(Trouble::Defect(ErrorCode::Malformed));
        }
        self.phase = Phase::Open(welcome.session);
        self.user = Some(welcome.user);
        self.live.opened_ms = now_ms;
        self.live.heartbeat_ms = welcome.heartbeat_ms;
        self.live.capabilities = welcome.capabilities;
        let announced = welcome.limits.iter().find(|(kind, _)| *kind == LimitKind::RequestsInFlight as u8);
        let announced = announced.and_then(|(_, value)| usize::try_from(*value).ok());
        self.live.requests_max = announced.unwrap_or(REQUESTS_IN_FLIGHT_MAX).clamp(1, REQUESTS_IN_FLIGHT_MAX);
        self.take_right(welcome.expires_in_ms, &welcome.ticket, now_ms);
        let seq = Seq(welcome.inbox.from.0.saturating_sub(1));
        self.inbox = Some(Cursor { incarnation: welcome.inbox.incarnation, seq });
        let (session, user, inbox) = (welcome.session, welcome.user, welcome.inbox);
        self.notice(Notice::Connected { session, user, inbox });
        if !self.refreshing.is_empty() {
            if self.by_ticket || self.token_unsaid {
                // Another right opened the session, so the newer token is still to be taken.
                self.ready.push_back(Ready::Refresh);
            } else {
                self.answer_refreshing(&Ok(Reply::Done));
            }
        }
        Ok(())
    }

    fn hear_error(&mut self, error: ErrorReply, now_ms: u64) {
        let request = error.request;
        let Some(asked) = self.requests.remove(&request) else { return };
        let refusal = Refusal::from(error);
        match asked {
            Asked::Command(entity, counter) => self.command_refused(entity, counter, refusal, now_ms),
            Asked::Sync => self.sync_refused(request, &refusal, now_ms),
            Asked::Subscribe(chat) => self.not_admitted(chat, request, refusal, now_ms),
            // Nothing comes of a chat that is not subscribed to here, whatever the server thinks.
            Asked::Unsubscribe(_, waiter) => self.answer(waiter, Ok(Reply::Done)),
            Asked::Question(asking) => self.question_refused(asking, refusal, now_ms),
            Asked::Refresh if matches!(Recovery::of(refusal.code), Recovery::Repeat | Recovery::Ask) => {
                let wait_ms = refusal.retry_after_ms.max(BACKOFF_FIRST_MS);
                self.timers.insert((now_ms.saturating_add(wait_ms), Timer::Refresh));
            }
            Asked::Refresh => self.answer_refreshing(&Err(refusal)),
        }
    }

    pub(super) fn hear_bye(&mut self, bye: Bye, now_ms: u64) {
        self.outputs.push_back(Output::Close(None));
        match Recovery::of(bye.code) {
            Recovery::Stop => self.end(bye.code, Text::from(bye.text.as_str())),
            Recovery::Authenticate => {
                self.lose_right(&bye);
                self.come_back(Some(bye.code), bye.retry_after_ms, now_ms);
            }
            _ => self.come_back(Some(bye.code), bye.retry_after_ms, now_ms),
        }
    }
}
