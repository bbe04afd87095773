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
    pub(in crate::chat) act: Act,
}

/// What to do there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Act {
    /// Says something; the number is the draft's.
    Say {
        number: u64,
        text: Text,
    },
    /// Adds people by their `@names`.
    Add(Vec<String>),
    /// Removes people by their `@names`.
    Remove(Vec<String>),
    Leave,
}

impl Act {
    /// What came of it, if it is to be told.
    pub(in crate::chat) fn done(&self, chat: ChatId, outcome: Result<Seq, String>) -> Option<Done> {
        match (self, outcome) {
            (Self::Say { number, .. }, outcome) => Some(Done::Said { chat, number: *number, outcome }),
            (_, Ok(_)) => None,
            (_, Err(why)) => Some(Done::Failed(format!("{} failed: {why}", self.command()))),
        }
    }

    /// How a person types it.
    const fn command(&self) -> &'static str {
        match self {
            Self::Say { .. } => "saying it",
            Self::Add(_) => "/add",
            Self::Remove(_) => "/remove",
            Self::Leave => "/leave",
        }
    }
}

/// Does one after the other, and tells what came of each. The next is sent before the one before it is answered.
pub(in crate::chat) async fn do_in_order(mut deeds: mpsc::Receiver<(Desk, Deed)>, told: mpsc::Sender<Done>) {
    let mut answers = JoinSet::new();
    while let Some((desk, Deed { chat, act })) = deeds.recv().await {
        let submitted = match command(&desk, &act).await {
            Ok(body) => desk.client.submit(chat.into(), body).await.map_err(|error| words(&error)),
            Err(why) => Err(why),
        };
        let told = told.clone();
        answers.spawn(async move {
            let outcome = match submitted {
                Ok(submitted) => submitted.outcome().await.map_err(|error: RequestError| words(&error)),
                Err(why) => Err(why),
            };
            if let Some(done) = act.done(chat, outcome)
                && told.send(done).await.is_err()
            {
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
        Act::Say { text, .. } => CommandBody::Send { format: MessageFormat::Text, text: text.clone() },
        Act::Add(names) => {
            let members = desk.find_all(names.clone()).await?;
            CommandBody::AddMembers { role: Role::Member, with_history: false, members }
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
        let failed = |act: Act| act.done(chat(1), Err("you may not".to_owned()));
        let Some(Done::Failed(why)) = failed(Act::Add(vec!["@ben".to_owned()])) else { panic!("nothing is told") };
        assert_eq!(why, "/add failed: you may not");
        assert!(matches!(failed(Act::Say { number: 1, text: "x".into() }), Some(Done::Said { outcome: Err(_), .. })));
    }
}
