//! Bodies of records as bytes. A version's records have no room to grow: another form is another version.

use bytes::Bytes;
use panda_protocol::codec::{DecodeError, Reader, Writer};
use panda_protocol::limits::EVENT_BYTES_MAX;
use panda_storage::event_store::ROW_KEY_BYTES_MAX;
use panda_storage::user_store::{
    AccountState, ApiKey, ApiKeyLabel, Credential, EMAIL_BYTES_MAX, Email, PICTURE_URL_BYTES_MAX, PasswordHash,
    PictureUrl, Scopes, SealedSigningKey, USERNAME_CHARS_MAX, User, Username,
};
use panda_storage::{EventRow, RowKey, StateRow};

use super::{ArchiveDigest, Counts, Header, RECORD_BYTES_MAX, Record};

const HEADER: u8 = 1;
const SIGNING_KEY: u8 = 2;
const API_KEY: u8 = 3;
const USER: u8 = 4;
const ENTITY: u8 = 5;
const EVENT: u8 = 6;
const ROW: u8 = 7;
pub(super) const TRAILER: u8 = 255;

/// Bytes of names of keys, and of hashes and sealed keys: more than any has.
const NAME_BYTES_MAX: usize = 256;
const SECRET_BYTES_MAX: usize = 4 * 1024;

impl Record {
    /// Its kind and body.
    pub(super) fn to_bytes(&self) -> (u8, Bytes) {
        let mut out = Writer::with_capacity(256);
        let kind = match self {
            Self::Header(header) => {
                out.value(&header.incarnation);
                out.varint(header.epoch.into());
                out.u16(header.rules);
                out.value(&header.made);
                HEADER
            }
            Self::SigningKey(key) => {
                out.bytes(key.kid.as_bytes());
                out.bytes(&key.sealed);
                out.value(&key.created);
                SIGNING_KEY
            }
            Self::ApiKey(key) => {
                out.raw(&key.digest);
                out.bytes(key.label.as_str().as_bytes());
                out.varint(key.scopes.0.into());
                out.value(&key.created);
                // Absent where it has none, as archives were before keys could have one.
                if let Some(ends) = &key.ends {
                    out.value(ends);
                }
                API_KEY
            }
            Self::User(Credential { user, password }) => {
                out.value(&user.id);
                out.bytes(user.username.as_str().as_bytes());
                out.option(user.email.as_ref(), |out, email| out.bytes(email.as_str().as_bytes()));
                out.option(user.picture.as_ref(), |out, picture| out.bytes(picture.as_str().as_bytes()));
                out.varint(user.version);
                out.value(&user.created);
                out.option(password.as_ref(), |out, PasswordHash(hash)| out.bytes(hash.as_bytes()));
                USER
            }
            Self::Entity(entity) => {
                out.value(entity);
                ENTITY
            }
            Self::Event(row) => {
                out.value(&row.seq);
                out.value(&row.position);
                out.u8(row.index);
                out.u8(row.count);
                out.value(&row.time);
                out.bytes(&row.event);
                EVENT
            }
            Self::Row(row) => {
                out.u8(row.key.kind);
                out.bytes(&row.key.key);
                out.option(row.value.as_ref(), |out, value| out.bytes(value));
                out.value(&row.time);
                ROW
            }
        };
        (kind, out.freeze())
    }

    /// Reads what [`Self::to_bytes`] made.
    pub(super) fn from_bytes(kind: u8, body: Bytes) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(body);
        let record = match kind {
            HEADER => Self::Header(Header {
                incarnation: input.value()?,
                epoch: small(input)?,
                rules: input.u16()?,
                made: input.value()?,
            }),
            // Nothing runs while it is imported, so when it was to sign is of no matter. How long its tokens are is not
            // written: it is kept for as long as any may be.
            SIGNING_KEY => Self::SigningKey(SealedSigningKey::at_once(
                text(input, NAME_BYTES_MAX)?,
                input.bytes(SECRET_BYTES_MAX)?.to_vec(),
                input.value()?,
            )),
            API_KEY => {
                let (digest, label) = (input.array()?, field(&text(input, NAME_BYTES_MAX)?, ApiKeyLabel::parse)?);
                let key = ApiKey::new(digest, label, Scopes(small(input)?), input.value()?);
                Self::ApiKey(ApiKey { ends: if input.is_empty() { None } else { Some(input.value()?) }, ..key })
            }
            USER => Self::User(Credential {
                user: User {
                    id: input.value()?,
                    username: field(&text(input, USERNAME_CHARS_MAX)?, Username::parse)?,
                    email: input.option(|input| field(&text(input, EMAIL_BYTES_MAX)?, Email::parse))?,
                    email_verified: false,
                    state: AccountState::Active,
                    picture: input.option(|input| field(&text(input, PICTURE_URL_BYTES_MAX)?, PictureUrl::stored))?,
                    version: input.varint()?,
                    created: input.value()?,
                },
                password: input.option(|input| text(input, SECRET_BYTES_MAX).map(PasswordHash))?,
            }),
            ENTITY => Self::Entity(input.value()?),
            EVENT => Self::Event(EventRow {
                seq: input.value()?,
                position: input.value()?,
                index: input.u8()?,
                count: input.u8()?,
                time: input.value()?,
                event: input.bytes(EVENT_BYTES_MAX)?,
            }),
            ROW => Self::Row(StateRow {
                key: RowKey { kind: input.u8()?, key: input.bytes(ROW_KEY_BYTES_MAX)? },
                value: input.option(|input| input.bytes(RECORD_BYTES_MAX))?,
                time: input.value()?,
            }),
            _ => return Err(DecodeError::Invalid),
        };
        end(input)?;
        Ok(record)
    }
}

/// The trailer's body.
pub(super) fn trailer(counts: &Counts, digest: ArchiveDigest) -> Bytes {
    let mut out = Writer::with_capacity(96);
    for count in [counts.signing_keys, counts.api_keys, counts.users, counts.entities, counts.events, counts.rows] {
        out.u64(count);
    }
    out.raw(&digest.0);
    out.freeze()
}

/// Reads what [`trailer`] made.
pub(super) fn read_trailer(body: Bytes) -> Result<(Counts, ArchiveDigest), DecodeError> {
    let input = &mut Reader::new(body);
    let counts = Counts {
        signing_keys: input.u64()?,
        api_keys: input.u64()?,
        users: input.u64()?,
        entities: input.u64()?,
        events: input.u64()?,
        rows: input.u64()?,
    };
    let digest = ArchiveDigest(input.array()?);
    end(input)?;
    Ok((counts, digest))
}

fn end(input: &Reader) -> Result<(), DecodeError> {
    if input.is_empty() { Ok(()) } else { Err(DecodeError::Invalid) }
}

fn small(input: &mut Reader) -> Result<u32, DecodeError> {
    u32::try_from(input.varint()?).map_err(|_| DecodeError::Invalid)
}

fn text(input: &mut Reader, max: usize) -> Result<String, DecodeError> {
    String::from_utf8(input.bytes(max)?.to_vec()).map_err(|_| DecodeError::Utf8)
}

fn field<T, E>(text: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, DecodeError> {
    parse(text).map_err(|_| DecodeError::Invalid)
}
