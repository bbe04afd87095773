//! The users and chats of a workload, with the tokens of the users: made through the HTTP API, kept in a file between the
//! run that makes them and the one that measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use panda_loadtest::provision::{self, ChatPlan, Http};
use panda_protocol::{ChatId, Text};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// How long a request may be refused for now before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Times in a token are whole seconds: two of one user within one of them are the same.
const TOKENS_DIFFER_AFTER: Duration = Duration::from_secs(1);

/// Where and how to make them.
#[derive(Debug)]
pub(super) struct Provisioning {
    /// Of the HTTP API.
    pub(super) base: String,
    /// The file of the API key.
    pub(super) key: PathBuf,
    /// The file of the certificate that is believed, of an API over HTTPS.
    pub(super) authority: Option<PathBuf>,
}

/// Users by their places in the plan, chats by the numbers of their channels.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct World {
    /// Of each user.
    tokens: Vec<Vec<String>>,
    chats: Vec<String>,
    #[serde(skip)]
    chat_ids: Vec<ChatId>,
}

impl World {
    pub(super) fn users(&self) -> usize {
        self.tokens.len()
    }

    /// The token of a user's connection, of which `round` were before.
    pub(super) fn token(&self, user: usize, round: usize) -> Result<Text> {
        let token = self.tokens.get(user).and_then(|tokens| tokens.get(round));
        let token = token.context("no token is left that was not used; plan more (--connections)")?;
        Ok(Text::from(token.as_str()))
    }

    pub(super) fn chat(&self, channel: u32) -> Result<ChatId> {
        self.chat_ids.get(channel as usize).copied().with_context(|| format!("there is no chat {channel}"))
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_vec(self)?;
        fs::write(file, json).with_context(|| file.display().to_string())
    }

    pub(super) fn read(file: &Path) -> Result<Self> {
        let json = fs::read(file).with_context(|| file.display().to_string())?;
        let mut world: Self = serde_json::from_slice(&json).with_context(|| file.display().to_string())?;
        let ids = world.chats.iter().map(|id| id.parse());
        world.chat_ids = ids.collect::<Result<_, _>>().with_context(|| file.display().to_string())?;
        Ok(world)
    }
}

/// Makes the users, each with so many tokens, and the chats. Whoever is there already gets new tokens.
pub(super) fn make(with: &Provisioning, plan: &Plan, tokens_each: usize) -> Result<World> {
    let key = fs::read_to_string(&with.key).with_context(|| with.key.display().to_string())?;
    let http = match &with.authority {
        None => Http::new(&with.base, key.trim()),
        Some(file) => {
            let authority = fs::read(file).with_context(|| file.display().to_string())?;
            Http::with_authority(&with.base, key.trim(), &authority)?
        }
    };
    let names: Vec<String> = (0..plan.users()).map(|user| format!("bench{user}")).collect();
    let members_of = plan.users_of()?;
    let plan_of = |(channel, members): (usize, Vec<usize>)| {
        let (key, name) = (format!("bench{channel}"), format!("channel {channel}"));
        ChatPlan { key, name, members }
    };
    let plans: Vec<ChatPlan> = members_of.into_iter().enumerate().map(plan_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tokens = vec![Vec::with_capacity(tokens_each); names.len()];
        let mut users = provision::users(&http, &names, PATIENCE).await?;
        let chats = provision::chats(&http, &users, &plans, PATIENCE).await?;
        loop {
            tokens.iter_mut().zip(&users).for_each(|(tokens, user)| tokens.push(user.token.to_string()));
            if tokens.first().is_none_or(|tokens| tokens.len() >= tokens_each) {
                break;
            }
            tokio::time::sleep(TOKENS_DIFFER_AFTER).await;
            users = provision::users(&http, &names, PATIENCE).await?;
        }
        Ok(World { tokens, chats: chats.iter().map(ToString::to_string).collect(), chat_ids: chats })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_comes_back_from_its_file_and_its_tokens_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("world.json");
        let chat = ChatId::group(
            panda_protocol::UserId::from_random([1; 16]),
            panda_protocol::DeviceId::from_random([2; 16]),
            panda_protocol::Counter(1),
        );
        let tokens = vec![vec!["a".to_owned(), "b".to_owned()]];
        World { tokens, chats: vec![chat.to_string()], chat_ids: Vec::new() }.write(&file).unwrap();
        let world = World::read(&file).unwrap();
        assert_eq!((world.users(), world.chat(0).unwrap()), (1, chat));
        assert!(world.chat(1).is_err());
        assert_eq!(world.token(0, 1).unwrap().as_str(), "b");
        assert!(world.token(0, 2).unwrap_err().to_string().contains("--connections"));
    }

    #[test]
    fn a_file_with_something_else_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("world.json");
        for json in ["{}", "[]", r#"{"tokens":[],"chats":["nobody"]}"#] {
            fs::write(&file, json).unwrap();
            assert!(World::read(&file).unwrap_err().to_string().contains("world.json"), "{json}");
        }
    }
}
