//! What an end of a link may hold, and for how long.

use panda_protocol::limits::USER_CHATS_MAX;

/// What an end of a link may hold.
#[derive(Clone, Copy, Debug)]
pub struct LinkLimits {
    /// Commands, admissions and reads that may wait for their answers.
    pub waiting_max: usize,
    /// Questions that may wait to go up; signals wait in half of the room. Goodbyes always find room: each
    /// follows a question.
    pub up_max: usize,
    /// How long an answer is waited for, in milliseconds.
    pub answer_timeout_ms: u64,
    /// How old a shard's oldest unanswered command may be before it takes no new ones, in milliseconds.
    pub backlog_max_ms: u64,
    /// The wait that a refusal for want of room names, in milliseconds.
    pub retry_after_ms: u64,
    /// Chats that a user may be in: a command that would add one who is in so many to another is refused.
    pub user_chats_max: u64,
    /// How long a command waits to learn in how many chats the users are whom it would add, in milliseconds. Then it
    /// goes on without.
    pub withheld_ms: u64,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            waiting_max: 65_536,
            up_max: 8_192,
            answer_timeout_ms: 10_000,
            backlog_max_ms: 5_000,
            retry_after_ms: 1_000,
            user_chats_max: USER_CHATS_MAX as u64,
            withheld_ms: 1_000,
        }
    }
}
