//! What is said, and the chat's name.

use panda_protocol::event::{EventBody, MessageFormat, Role};
use panda_protocol::{ErrorCode, Text};

use super::Deciding;
use crate::fold::{Decision, nothing_to_do};

pub(super) fn send(deciding: &mut Deciding<'_>, format: MessageFormat, text: Text) -> Result<(), Decision> {
    deciding.head()?;
    deciding.role(Role::Member)?;
    if text.is_empty() {
        return Err(ErrorCode::InvalidRequest.into());
    }
    deciding.push(None, EventBody::MessageSent { format, text });
    Ok(())
}

pub(super) fn rename(deciding: &mut Deciding<'_>, name: Text) -> Result<(), Decision> {
    let chat = deciding.group()?;
    deciding.role(Role::Admin)?;
    if chat.name == name {
        return Err(nothing_to_do(chat.named));
    }
    deciding.push(None, EventBody::ChatRenamed { name });
    Ok(())
}
