//! Users and chats through the bulk API: batches, several at a time, repeated where the answer says so.

mod batches;
mod http;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

pub use http::{Http, ProvisionError, Question};
use panda_protocol::{ChatId, Text, UserId};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Users of a request.
pub const USERS_A_REQUEST: usize = 1_000;
/// Requests at a time: more than a server's cores, so that none of them waits for the network.
const REQUESTS_AT_ONCE: usize = 8;

/// A provisioned user.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// The user.
    pub id: UserId,
    /// The name under which a new token is got.
    pub username: String,
    /// An access token.
    pub token: Text,
}

/// A chat to make. Members are places in the list of users; the first one creates it.
#[derive(Clone, Debug)]
pub struct ChatPlan {
    /// Makes it one chat however often it is asked for.
    pub key: String,
    /// Its name.
    pub name: String,
    /// At least one.
    pub members: Vec<usize>,
}

#[derive(Serialize)]
struct UsersBody {
    users: Vec<UserBody>,
}

#[derive(Serialize)]
struct UserBody {
    username: String,
}

#[derive(Deserialize)]
struct UsersAnswer {
    users: Vec<UserAnswer>,
}

#[derive(Deserialize)]
struct UserAnswer {
    id: String,
    username: String,
    access_token: String,
}

#[derive(Serialize)]
struct ChatsBody {
    chats: Vec<ChatBody>,
}

#[derive(Serialize)]
struct ChatBody {
    key: String,
    name: String,
    creator: String,
    members: Vec<String>,
}

#[derive(Deserialize)]
struct ChatsAnswer {
    chats: Vec<ChatAnswer>,
}

#[derive(Deserialize)]
struct ChatAnswer {
    id: String,
}

/// Makes the users, in the order of `names`. Who is there stays as it is. A request that is refused for now is repeated
/// for at most `patience`.
///
/// # Errors
/// [`ProvisionError`] of the first request that failed for good.
pub async fn users(http: &Arc<Http>, names: &[String], patience: Duration) -> Result<Vec<Provisioned>, ProvisionError> {
    let bodies = names
        .chunks(USERS_A_REQUEST)
        .map(|names| UsersBody { users: names.iter().map(|name| UserBody { username: name.clone() }).collect() });
    let answers: Vec<UsersAnswer> = all(http, "/bulk/users", bodies, patience).await?;
    let mut made = Vec::with_capacity(names.len());
    for user in answers.into_iter().flat_map(|answer| answer.users) {
        let id = UserId::from_str(&user.id).map_err(|error| ProvisionError::Answer(error.to_string()))?;
        made.push(Provisioned { id, username: user.username, token: Text::from(user.access_token) });
    }
    expect_count(made.len(), names.len(), "users")?;
    Ok(made)
}

/// Makes the chats, in the order of `plans`. A request that is refused for now is repeated for at most `patience`.
///
/// # Errors
/// [`ProvisionError`] of the first request that failed for good.
pub async fn chats(
    http: &Arc<Http>,
    users: &[Provisioned],
    plans: &[ChatPlan],
    patience: Duration,
) -> Result<Vec<ChatId>, ProvisionError> {
    let bodies = batches::of_chats(plans).map(|plans| {
        let chat = |plan: &ChatPlan| {
            let mut members = plan.members.iter().map(|&member| users[member].id.to_string());
            let creator = members.next().unwrap_or_default();
            ChatBody { key: plan.key.clone(), name: plan.name.clone(), creator, members: members.collect() }
        };
        ChatsBody { chats: plans.iter().map(chat).collect() }
    });
    let answers: Vec<ChatsAnswer> = all(http, "/bulk/chats", bodies, patience).await?;
    let ids = answers.iter().flat_map(|answer| &answer.chats).map(|chat| ChatId::from_str(&chat.id));
    let made: Vec<ChatId> = ids.collect::<Result<_, _>>().map_err(|error| ProvisionError::Answer(error.to_string()))?;
    expect_count(made.len(), plans.len(), "chats")?;
    Ok(made)
}

fn expect_count(got: usize, asked: usize, what: &str) -> Result<(), ProvisionError> {
    if got == asked {
        return Ok(());
    }
    Err(ProvisionError::Answer(format!("{got} {what} came back where {asked} were asked for")))
}

/// Posts every body, [`REQUESTS_AT_ONCE`] at a time; answers come in the order of the bodies.
async fn all<B, A>(
    http: &Arc<Http>,
    path: &'static str,
    bodies: impl Iterator<Item = B>,
    patience: Duration,
) -> Result<Vec<A>, ProvisionError>
where
    B: Serialize,
    A: for<'a> Deserialize<'a> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut answers = Vec::new();
    for (place, body) in bodies.enumerate() {
        if running.len() >= REQUESTS_AT_ONCE {
            answers.extend(next(&mut running).await?);
        }
        let body = serde_json::to_vec(&body).map_err(|error| ProvisionError::Answer(error.to_string()))?;
        let http = Arc::clone(http);
        running.spawn(async move { http.post_until(path, body, patience).await.map(|a| (place, a)) });
    }
    while !running.is_empty() {
        answers.extend(next(&mut running).await?);
    }
    answers.sort_by_key(|(place, _)| *place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

async fn next<A: 'static>(
    running: &mut JoinSet<Result<(usize, A), ProvisionError>>,
) -> Result<Option<(usize, A)>, ProvisionError> {
    match running.join_next().await {
        None => Ok(None),
        Some(Ok(answer)) => answer.map(Some),
        Some(Err(_)) => Err(ProvisionError::Answer("a request's task ended early".into())),
    }
}
