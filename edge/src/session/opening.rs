//! From Hello to Welcome.

use panda_access::{Access, AccessError, Ticket, TicketError};
use panda_protocol::frame::{Admission, Auth, Hello, InboxState, LimitKind, PROTOCOL_VERSION, Start, Welcome};
use panda_protocol::limits::{COMMAND_MEMBERS_MAX, FRAME_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, TEXT_BYTES_MAX};
use panda_protocol::link::Rejection;
use panda_protocol::session::server::Close;
use panda_protocol::{DeviceId, ErrorCode, LoginId, SessionId, UserId};
use panda_storage::command_log::CommandLog;

use super::{Member, SessionKey, Waiting};
use crate::subscriptions::SubscriptionKey;
use crate::worker::Core;

/// Who may come in, and until when in seconds since 1970.
struct Right {
    user: UserId,
    login: Option<LoginId>,
    expires_unix_s: u64,
}

impl<L: CommandLog> Core<L> {
    /// Checks the token or ticket, takes a session's place and asks for the inbox.
    pub(super) fn hello(&mut self, key: SessionKey, hello: Hello) {
        let right = match self.right(&hello.auth, hello.device) {
            Ok(right) => right,
            Err(code) => return self.end(key, code.into()),
        };
        let place = match self.session_mut(key).and_then(|session| session.handshake.take()) {
            Some(handshake) => match handshake.authenticated() {
                Ok(place) => place,
                Err(refusal) => {
                    let retry_after_ms = refusal.retry_after_s() * 1_000;
                    return self.end(key, Close { code: refusal.code(), retry_after_ms });
                }
            },
            None => return,
        };
        let now_ms = self.now_ms();
        let left_ms = (right.expires_unix_s * 1_000).saturating_sub(self.unix_ms());
        let inbox = self.subscriptions.add(key, right.user.into());
        let (device, id) = (hello.device, SessionId::from_random(rand::random()));
        let member = Member {
            _place: place,
            user: right.user,
            device,
            id,
            login: right.login,
            expires_unix_s: right.expires_unix_s,
            inbox,
            chats: Default::default(),
            under_way: None,
        };
        if let Some(session) = self.session_mut(key) {
            session.member = Some(member);
        }
        let right_ends_ms = now_ms.saturating_add(left_ms);
        let waiting = Waiting::Open { session: key, inbox, entity: right.user.into(), device, id, right_ends_ms };
        self.subscriptions.asked(right.user.into());
        let asked = self.links.open(now_ms, right.user, hello.inbox, (device, id), waiting);
        self.stir();
        if let Err((rejection, _)) = asked {
            self.subscriptions.answered(right.user.into(), false);
            self.end(key, Close { code: ErrorCode::Overloaded, retry_after_ms: rejection.retry_after_ms });
        }
    }

    fn right(&self, auth: &Auth, device: DeviceId) -> Result<Right, ErrorCode> {
        let now_unix_s = self.unix_ms() / 1_000;
        let right = match auth {
            Auth::Token(token) => match self.keys.verify(token, now_unix_s) {
                Ok(Access { user, login, expires_unix_s }) => Right { user, login, expires_unix_s },
                Err(AccessError::Expired) => return Err(ErrorCode::TokenExpired),
                Err(AccessError::Invalid) => return Err(ErrorCode::TokenInvalid),
                // It may be good: the client keeps it, and comes back later or elsewhere.
                Err(AccessError::KeysUnread) => return Err(ErrorCode::Overloaded),
            },
            Auth::Ticket(ticket) => match self.tickets.open(ticket, now_unix_s) {
                Ok(Ticket { user, device: of, login, expires_unix_s }) if of == device => {
                    Right { user, login, expires_unix_s }
                }
                Ok(_) | Err(TicketError::Invalid | TicketError::Expired) => return Err(ErrorCode::TicketInvalid),
            },
        };
        if self.revocations.has_ended(right.user, right.login) {
            return Err(ErrorCode::Revoked);
        }
        Ok(right)
    }

    /// The inbox's owner has answered. Returns whether the session is open.
    pub(crate) fn opened(
        &mut self,
        key: SessionKey,
        inbox: SubscriptionKey,
        right_ends_ms: u64,
        outcome: Result<Admission, Rejection>,
    ) -> bool {
        // The session may have ended while the owner was asked.
        if self.ending(key).is_some() {
            return false;
        }
        let Some((user, id)) = self.member(key).map(|member| (member.user, member.id)) else { return false };
        // Its login may have ended since its Hello was heard.
        if self.has_lost_login(key) {
            self.end(key, ErrorCode::Revoked.into());
            return false;
        }
        let admission = match outcome {
            Ok(admission) => admission,
            Err(rejection) => {
                let code = match rejection.code {
                    ErrorCode::Damaged => ErrorCode::InboxDamaged,
                    _ => ErrorCode::Overloaded,
                };
                self.end(key, Close { code, retry_after_ms: rejection.retry_after_ms });
                return false;
            }
        };
        let Some(welcome) = self.welcome(key, &admission) else { return false };
        if let Some(session) = self.session_mut(key) {
            session.machine.open(right_ends_ms);
        }
        self.send(key, &welcome.into());
        self.metrics.opened.inc();
        self.metrics.sessions.inc();
        self.by_id.insert(id, key.index, &self.sessions);
        tracing::debug!(session = %id, %user, "session opened");
        self.go_away_too(key);
        self.begin(inbox, user.into(), &admission);
        self.catch_up(key);
        self.look_at(key);
        self.wake(key);
        true
    }

    fn welcome(&self, key: SessionKey, admission: &Admission) -> Option<Welcome> {
        let member = self.member(key)?;
        let limit = |kind: LimitKind, value: usize| (kind as u8, value as u64);
        Some(Welcome {
            version: PROTOCOL_VERSION,
            capabilities: 0,
            session: member.id,
            user: member.user,
            heartbeat_ms: self.limits.heartbeat_ms,
            expires_in_ms: (member.expires_unix_s * 1_000).saturating_sub(self.unix_ms()),
            ticket: self.ticket(member),
            inbox: InboxState {
                incarnation: admission.incarnation,
                head: admission.head,
                from: admission.from,
                reset: admission.start == Start::Reset,
            },
            limits: vec![
                limit(LimitKind::FrameBytes, FRAME_BYTES_MAX),
                limit(LimitKind::TextBytes, TEXT_BYTES_MAX),
                limit(LimitKind::Subscriptions, self.limits.subscriptions_max),
                limit(LimitKind::RequestsInFlight, REQUESTS_IN_FLIGHT_MAX),
                limit(LimitKind::CommandMembers, COMMAND_MEMBERS_MAX),
                (LimitKind::CommandsPerSecond as u8, u64::from(self.limits.commands_per_second)),
            ],
        })
    }

    /// What opens this device's next session; empty if none can be made, so that it uses its token.
    pub(crate) fn ticket(&self, member: &Member) -> bytes::Bytes {
        let &Member { user, device, login, expires_unix_s, .. } = member;
        let ticket = Ticket { user, device, login, expires_unix_s };
        self.tickets.seal(&ticket).unwrap_or_default()
    }

    /// A newer token of the same user takes the older one's place.
    pub(super) fn refresh(&mut self, key: SessionKey, refresh: &panda_protocol::frame::Refresh) {
        let (now_ms, now_unix_ms) = (self.now_ms(), self.unix_ms());
        // A signature costs more than any other frame: it is checked within the rate of commands.
        if let Err(rejection) = self.take_command(key) {
            return self.refuse(key, refresh.request, rejection);
        }
        let verified = self.keys.verify(&refresh.token, now_unix_ms / 1_000);
        let Some(user) = self.member(key).map(|member| member.user) else { return };
        let access = match verified {
            Ok(access) if access.user == user && !self.revocations.has_ended(user, access.login) => access,
            Err(AccessError::Expired) => {
                return self.refuse(key, refresh.request, Rejection::new(ErrorCode::TokenExpired));
            }
            Err(AccessError::KeysUnread) => {
                return self.refuse(key, refresh.request, Rejection::new(ErrorCode::Unavailable));
            }
            _ => return self.refuse(key, refresh.request, Rejection::new(ErrorCode::TokenInvalid)),
        };
        if let Some(member) = self.member_mut(key) {
            // From now on it lives and ends with the login of the newer token.
            (member.login, member.expires_unix_s) = (access.login, access.expires_unix_s);
        }
        let expires_in_ms = (access.expires_unix_s * 1_000).saturating_sub(now_unix_ms);
        if let Some(session) = self.session_mut(key) {
            session.machine.refresh(now_ms.saturating_add(expires_in_ms));
        }
        let Some(ticket) = self.member(key).map(|member| self.ticket(member)) else { return };
        let refreshed = panda_protocol::frame::Refreshed { request: refresh.request, expires_in_ms, ticket };
        self.reply(key, &refreshed.into());
        self.look_at(key);
    }
}
