//! Every maximum on the wire. `SPEC.md` has the same table, and `tests/spec.rs` compares them.

/// Bytes of a frame behind its length: type and body.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the first frame of a connection, the Hello, behind its length.
pub const HELLO_BYTES_MAX: usize = 4 * 1024;
/// Bytes of an access token.
pub const TOKEN_BYTES_MAX: usize = 3 * 1024;
/// Bytes of a resume ticket.
pub const TICKET_BYTES_MAX: usize = 512;
/// Bytes of a membership proof.
pub const PROOF_BYTES_MAX: usize = 64;
/// Bytes of a client's own name and version in Hello.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;
/// UTF-8 bytes of a message's text.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// UTF-8 bytes of a chat's name.
pub const CHAT_NAME_BYTES_MAX: usize = 256;
/// Bytes of a signal's payload.
pub const SIGNAL_BYTES_MAX: usize = 1024;
/// Bytes of the name of an inbox setting.
pub const SETTING_KEY_BYTES_MAX: usize = 64;
/// Bytes of the value of an inbox setting.
pub const SETTING_VALUE_BYTES_MAX: usize = 4 * 1024;
/// Settings in an inbox.
pub const SETTINGS_MAX: usize = 256;
/// UTF-8 bytes of the text that explains an error.
pub const ERROR_TEXT_BYTES_MAX: usize = 256;
/// Bytes of an address that GoAway points to.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// Members named in one command.
pub const COMMAND_MEMBERS_MAX: usize = 100;
/// Events that one command makes, and events of one write.
pub const COMMAND_EVENTS_MAX: usize = 128;
/// Bytes of the events of one write.
pub const WRITE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one event.
pub const EVENT_BYTES_MAX: usize = 20 * 1024;
/// Cursors in one Sync.
pub const SYNC_CHATS_MAX: usize = 256;
/// Subscriptions of a session.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Chats that a user is in.
pub const USER_CHATS_MAX: usize = 10_000;
/// Members of a chat.
pub const CHAT_MEMBERS_MAX: u32 = 1_000_000;
/// Requests of a session that may wait for their reply.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// Commands of a sender in one chat that may wait for their answer.
pub const UNANSWERED_COMMANDS_MAX: usize = 64;
/// Applied commands that a window remembers.
pub const WINDOW_COMMANDS: usize = 128;
/// Events in one page.
pub const PAGE_EVENTS_MAX: usize = 256;
/// Rows in one page of members or chats.
pub const PAGE_ROWS_MAX: usize = 256;
/// Bytes of the events in one chunk of a page.
pub const PAGE_CHUNK_BYTES_MAX: usize = 16 * 1024;
/// The largest number that a varint carries (RFC 9000, section 16).
pub const VARINT_MAX: u64 = (1 << 62) - 1;

const _: () = {
    assert!(HELLO_BYTES_MAX < FRAME_BYTES_MAX);
    assert!(TOKEN_BYTES_MAX + CLIENT_NAME_BYTES_MAX + 256 < HELLO_BYTES_MAX);
    assert!(TICKET_BYTES_MAX < TOKEN_BYTES_MAX);
    // An event is a text and at most 256 bytes around it, and fits a frame with its entity.
    assert!(TEXT_BYTES_MAX + 256 < EVENT_BYTES_MAX);
    assert!(EVENT_BYTES_MAX + 64 < FRAME_BYTES_MAX);
    // A chunk always has room for one event more than its limit.
    assert!(PAGE_CHUNK_BYTES_MAX + EVENT_BYTES_MAX + 64 < FRAME_BYTES_MAX);
    // Creating a chat makes one event and one for each member named, the creator included.
    assert!(COMMAND_MEMBERS_MAX + 2 <= COMMAND_EVENTS_MAX);
    assert!(UNANSWERED_COMMANDS_MAX < WINDOW_COMMANDS);
    // A cursor is 40 bytes and its proof at most 66.
    assert!(SYNC_CHATS_MAX * (48 + PROOF_BYTES_MAX + 2) < FRAME_BYTES_MAX);
};
