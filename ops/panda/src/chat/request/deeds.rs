//! What changes a chat, done in the order in which it was typed: who is added hears the next message.

use panda_client::RequestError;
use panda_protocol::event::{MessageFormat, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::{ChatId, Seq, Text};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Desk, Done, words};

/// Something to do in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Deed {
    pub(in crate::chat) chat: ChatId,
    /// The line that was typed; a message's draft has this number.
    pub(in crate::chat) line: u64,
    pub(in crate::chat) act: Act,
}

/// What to do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Act {
    /// Says something.
    Say(Text),
    /// Adds people by their `@names`.
    Add {
        members: Vec<String>,
        /// They see what was said before.
        with_history: bool,
    },
    /// Removes people by their `@names`.
    Remove(Vec<String>),
    Leave,
}

impl Deed {
    /// What came of it.
    pub(in crate::chat) fn done(self, outcome: Result<Seq, String>) -> Done {
        let Self { chat, line, act } = self;
        match (act, outcome) {
            (Act::Say(_), outcome) => Done::Said { chat, line, outcome },
            (_, Ok(seq)) => Done::Changed { chat, line, seq },
            (act, Err(why)) => Done::Undone { line, why: format!("{} failed: {why}", act.typed()) },
        }
    }
}

impl Act {
    /// How a person types it.
    pub(in crate::chat) fn typed(&self) -> String {
        match self {
            Self::Say(text) => text.to_string(),
            Self::Add { members, with_history: false } => format!("/add {}", members.join(" ")),
            Self::Add { members, with_history: true } => format!("/add {} +history", members.join(" ")),
            Self::Remove(names) => format!("/remove {}", names.join(" ")),
            Self::Leave => "/leave".to_owned(),
        }
    }
}

/// Does one after the other, and tells what came of each. The next is sent before the one before it is answered.
pub(in crate::chat) async fn do_in_order(mut deeds: mpsc::Receiver<(Desk, Deed)>, told: mpsc::Sender<Done>) {
    let mut answers = JoinSet::new();
    while let Some((desk, deed)) = deeds.recv().await {
        let submitted = match command(&desk, &deed.act).await {
            Ok(body) => desk.client.submit(deed.chat.into(), body).await.map_err(|error| words(&error)),
            Err(why) => Err(why),
        };
        let told = told.clone();
        answers.spawn(async move {
            let outcome = match submitted {
                Ok(submitted) => submitted.outcome().await.map_err(|error: RequestError| words(&error)),
                Err(why) => Err(why),
            };
            let chat = deed.chat;
            if told.send(deed.done(outcome)).await.is_err() {
                tracing::debug!(%chat, "nobody listens any more to what came of a command");
            }
        });
        while answers.try_join_next().is_some() {}
    }
    while answers.join_next().await.is_some() {}
}

/// The command, for which names may have to be looked up.
async fn command(desk: &Desk, act: &Act) -> Result<CommandBody, String> {
    Ok(match act {
        Act::Say(text) => CommandBody::Send { format: MessageFormat::Text, text: text.clone() },
        Act::Add { members, with_history } => {
            let members = desk.find_all(members.clone()).await?;
            CommandBody::AddMembers { role: Role::Member, with_history: *with_history, members }
        }
        Act::Remove(names) => CommandBody::RemoveMembers { members: desk.find_all(names.clone()).await? },
        Act::Leave => CommandBody::RemoveMembers { members: vec![desk.me] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::state::tests::chat;

    #[test]
    fn what_failed_is_named() {
        let failed = |act: Act| Deed { chat: chat(1), line: 7, act }.done(Err("you may not".to_owned()));
        let add = Act::Add { members: vec!["@ben".to_owned()], with_history: true };
        let Done::Undone { line: 7, why } = failed(add) else { panic!("nothing is told") };
        assert_eq!(why, "/add @ben +history failed: you may not");
        assert!(matches!(failed(Act::Say("x".into())), Done::Said { line: 7, outcome: Err(_), .. }));
    }
}
