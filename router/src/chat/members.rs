//! Who is in a group, with which role.
//!
//! A command that names several users is applied to those for whom there is something to do; it is
//! refused as a whole if one of them may not be touched, or if there is nothing to do for any.

use panda_protocol::event::{Event, EventBody, Role};
use panda_protocol::limits::CHAT_MEMBERS_MAX;
use panda_protocol::{ErrorCode, Seq, UserId};

use super::{Deciding, live_member};
use crate::fold::{Decision, nothing_to_do};
use crate::rows::{MemberRow, RowId, RowValue};

fn each_once(mut members: Vec<UserId>) -> Result<Vec<UserId>, Decision> {
    members.sort_unstable();
    members.dedup();
    if members.is_empty() { Err(ErrorCode::InvalidRequest.into()) } else { Ok(members) }
}

pub(super) fn add(
    deciding: &mut Deciding<'_>,
    role: Role,
    with_history: bool,
    members: Vec<UserId>,
) -> Result<(), Decision> {
    let present = deciding.group()?.members;
    let own = deciding.role(Role::Admin)?;
    if role >= own && own != Role::Owner {
        return Err(ErrorCode::Forbidden.into());
    }
    let rows = deciding.rows;
    let members = each_once(members)?;
    let new: Vec<UserId> = members.iter().copied().filter(|user| live_member(rows, *user).is_none()).collect();
    if new.is_empty() {
        return Err(nothing_to_do(live_member(rows, members[0]).map_or(Seq(0), |member| member.joined)));
    }
    if present as usize + new.len() > CHAT_MEMBERS_MAX as usize {
        return Err(ErrorCode::LimitReached.into());
    }
    let (head, _, _) = rows.head_stamp();
    for (user, own_event) in new.into_iter().zip(head.0 + 1..) {
        // A member sees from its own event on, unless it is given what was said before.
        let visible_from = if with_history { Seq(1) } else { Seq(own_event) };
        deciding.push(Some(user), EventBody::MemberAdded { role, visible_from });
    }
    Ok(())
}

pub(super) fn remove(deciding: &mut Deciding<'_>, members: Vec<UserId>) -> Result<(), Decision> {
    deciding.group()?;
    let own = deciding.role(Role::Reader)?;
    let actor = deciding.command.actor;
    let rows = deciding.rows;
    let members = each_once(members)?;
    let mut present = Vec::new();
    for user in &members {
        let Some(member) = live_member(rows, *user) else { continue };
        if *user != actor && (own < Role::Admin || member.role >= own) {
            return Err(ErrorCode::Forbidden.into());
        }
        present.push(*user);
    }
    if present.is_empty() {
        if own < Role::Admin {
            return Err(ErrorCode::Forbidden.into());
        }
        return Err(nothing_to_do(rows.member(members[0]).and_then(|member| member.ended).unwrap_or_default()));
    }
    for user in present {
        deciding.push(Some(user), EventBody::MemberRemoved);
    }
    Ok(())
}

pub(super) fn set_role(deciding: &mut Deciding<'_>, user: UserId, role: Role) -> Result<(), Decision> {
    deciding.group()?;
    deciding.role(Role::Owner)?;
    let Some(member) = live_member(deciding.rows, user) else { return Err(ErrorCode::NotFound.into()) };
    if member.role == role {
        // The last event that named a live member gave it its role.
        return Err(nothing_to_do(deciding.rows.row(&RowId::Member(user)).map_or(member.joined, |row| row.seq)));
    }
    deciding.push(Some(user), EventBody::RoleChanged { role });
    Ok(())
}

/// A member's row after an event that names it.
pub(super) fn advance(old: Option<RowValue>, event: &Event) -> RowValue {
    let mut member = match old {
        Some(RowValue::Member(member)) => member,
        _ => MemberRow { role: Role::Reader, joined: event.seq, visible_from: event.seq, ended: None },
    };
    match &event.body {
        EventBody::MemberAdded { role, visible_from } => {
            member = MemberRow { role: *role, joined: event.seq, visible_from: *visible_from, ended: None };
        }
        EventBody::MemberRemoved => member.ended = Some(event.seq),
        EventBody::RoleChanged { role } => member.role = *role,
        _ => {}
    }
    RowValue::Member(member)
}
