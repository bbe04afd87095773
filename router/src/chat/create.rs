//! Making chats.

use panda_protocol::event::{ChatKind, EventBody, Role};
use panda_protocol::{ChatId, ErrorCode, Seq, Text, UserId};

use super::{Deciding, chat_of};
use crate::fold::{Decision, nothing_to_do};

/// The creator is the owner; the others named are members, each once.
pub(super) fn group(deciding: &mut Deciding<'_>, name: Text, mut members: Vec<UserId>) -> Result<(), Decision> {
    let command = deciding.command;
    if chat_of(command.entity)? != ChatId::group(command.actor, command.device, command.counter) {
        return Err(ErrorCode::InvalidRequest.into());
    }
    if deciding.rows.chat_head().is_some() {
        return Err(nothing_to_do(Seq(1)));
    }
    let creator = command.actor;
    deciding.push(None, EventBody::ChatCreated { kind: ChatKind::Group, name });
    deciding.push(Some(creator), EventBody::MemberAdded { role: Role::Owner, visible_from: Seq(1) });
    members.sort_unstable();
    members.dedup();
    for member in members.into_iter().filter(|member| *member != creator) {
        deciding.push(Some(member), EventBody::MemberAdded { role: Role::Member, visible_from: Seq(1) });
    }
    Ok(())
}

/// The one chat of two users, whoever asks first.
pub(super) fn direct(deciding: &mut Deciding<'_>, peer: UserId) -> Result<(), Decision> {
    let actor = deciding.command.actor;
    if peer == actor || chat_of(deciding.command.entity)? != ChatId::direct(actor, peer) {
        return Err(ErrorCode::InvalidRequest.into());
    }
    if deciding.rows.chat_head().is_some() {
        return Err(nothing_to_do(Seq(1)));
    }
    deciding.push(None, EventBody::ChatCreated { kind: ChatKind::Direct, name: Text::default() });
    for member in [actor, peer] {
        deciding.push(Some(member), EventBody::MemberAdded { role: Role::Member, visible_from: Seq(1) });
    }
    Ok(())
}
