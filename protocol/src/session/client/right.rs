//! Tokens and tickets: what lets a session in, and for how long.

use bytes::Bytes;

use super::output::{Refusal, Reply};
use super::questions::Asked;
use super::{ClientSession, Phase, Ready};
use crate::error_code::ErrorCode;
use crate::frame::{Bye, Frame, Refresh, Refreshed};
use crate::limits::TOKEN_BYTES_MAX;
use crate::text::Text;

pub(super) fn is_usable(token: &Text) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&token.len())
}

impl<W> ClientSession<W> {
    /// A newer token of the same user. Answered when the server took it.
    pub fn refresh(&mut self, token: Text, waiter: W, now_ms: u64) {
        if !is_usable(&token) {
            return self.answer(waiter, Err(ErrorCode::TokenInvalid.into()));
        }
        self.parameters.token = token;
        self.token_spent = false;
        self.token_unsaid = true;
        // The ticket stands for the older right.
        self.ticket = Bytes::new();
        self.refreshing.push_back(waiter);
        match self.phase {
            Phase::NeedToken => self.phase = Phase::Waiting(now_ms),
            Phase::Open(_) => self.ready.push_back(Ready::Refresh),
            _ => {}
        }
    }

    pub(super) fn send_refresh(&mut self) -> Option<Bytes> {
        if self.refreshing.is_empty() {
            return None;
        }
        let request = self.next_request();
        self.requests.insert(request, Asked::Refresh);
        self.token_unsaid = false;
        let token = self.parameters.token.clone();
        Some(Frame::from(Refresh { request, token }).to_bytes())
    }

    pub(super) fn refreshed(&mut self, refreshed: &Refreshed, now_ms: u64) {
        if self.requests.remove(&refreshed.request).is_none() {
            return;
        }
        self.take_right(refreshed.expires_in_ms, &refreshed.ticket, now_ms);
        self.answer_refreshing(&Ok(Reply::Done));
    }

    pub(super) fn answer_refreshing(&mut self, answer: &Result<Reply, Refusal>) {
        while let Some(waiter) = self.refreshing.pop_front() {
            self.answer(waiter, answer.clone());
        }
    }

    pub(super) fn take_right(&mut self, expires_in_ms: u64, ticket: &Bytes, now_ms: u64) {
        // Copied: the frame that it came in would live as long.
        self.ticket = Bytes::copy_from_slice(ticket);
        // Somewhere between 60 and 90 % of the time, so that clients of one moment spread.
        let share = expires_in_ms / 10;
        let wait = share.saturating_mul(6).saturating_add(self.random(share.saturating_mul(3)));
        self.live.refresh_ms = Some(now_ms.saturating_add(wait));
    }

    /// A ticket that is not good leaves the token; a token that is not good leaves nothing.
    pub(super) fn lose_right(&mut self, bye: &Bye) {
        self.ticket = Bytes::new();
        if self.is_open() {
            // What opened the session is over. A newer token that the server did not take yet is good.
            self.token_spent = self.refreshing.is_empty();
        } else if !self.by_ticket && !self.token_unsaid {
            self.token_spent = true;
            let text = Text::from(bye.text.as_str());
            let refusal = Refusal { code: bye.code, retry_after_ms: bye.retry_after_ms, details: None, text };
            self.answer_refreshing(&Err(refusal));
        }
    }
}
