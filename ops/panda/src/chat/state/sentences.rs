//! How events are told.

use panda_protocol::event::{Event, EventBody, Role};

use super::people::People;

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Sentence {
    /// The actor said something.
    Said(String),
    /// Something happened.
    Happened(String),
}

/// An event in words, if there is something to show.
pub(in crate::chat) fn sentence(people: &People, event: &Event) -> Option<Sentence> {
    let actor = people.name(event.actor);
    let target = event.target.map_or_else(String::new, |target| people.name(target));
    Some(Sentence::Happened(match &event.body {
        EventBody::MessageSent { text, .. } => return Some(Sentence::Said(text.to_string())),
        EventBody::MemberAdded { .. } if event.target == Some(event.actor) => format!("{actor} joined"),
        EventBody::MemberAdded { .. } => format!("{actor} added {target}"),
        EventBody::MemberRemoved if event.target == Some(event.actor) => format!("{actor} left"),
        EventBody::MemberRemoved => format!("{actor} removed {target}"),
        EventBody::RoleChanged { role } => format!("{actor} made {target} {}", role_name(*role)),
        EventBody::ChatRenamed { name } => format!("{actor} named this chat {name}"),
        EventBody::ChatCreated { .. } => format!("{actor} made this chat"),
        EventBody::Blanked { .. } => format!("something that {actor} said was erased"),
        _ => return None,
    }))
}

/// Whether [`sentence`] has something to show.
pub(in crate::chat) const fn is_shown(event: &Event) -> bool {
    matches!(
        event.body,
        EventBody::MessageSent { .. }
            | EventBody::MemberAdded { .. }
            | EventBody::MemberRemoved
            | EventBody::RoleChanged { .. }
            | EventBody::ChatRenamed { .. }
            | EventBody::ChatCreated { .. }
            | EventBody::Blanked { .. }
    )
}

/// A role for a person.
pub(in crate::chat) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}
