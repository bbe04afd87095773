//! Memberships change at random: by the owner and, of those who leave, by themselves; over sessions and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use panda_client::RequestError;
use panda_protocol::event::Role;
use panda_protocol::frame::CommandBody;
use panda_protocol::{EntityId, ErrorCode};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::super::task_ended;
use super::Shared;
use super::follower::Follower;
use crate::api::{Answered, Call, Method, parsed};
use crate::checker::Change;
use crate::run::RunError;

/// Between two changes of a chat: some follow at once, most leave time to say something between.
const SOON_MS: std::ops::Range<u64> = 0..30;
const LATER_MS: std::ops::Range<u64> = 100..1_200;

/// Who changes whose membership, and how.
struct Plan {
    /// Place of the change in its chat's history.
    number: u64,
    chat: usize,
    user: u32,
    /// The owner, or the user itself.
    by: u32,
    change: Change,
    over_http: bool,
    target: usize,
}

/// When the changes of a chat are enough.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// The run's clock shows this.
    Time(Duration),
    /// There were so many.
    Count(u64),
}

/// Changes memberships of all chats, in each until then; ends when all changes are answered.
pub(super) async fn go_on(shared: &Arc<Shared>, followers: &Arc<[Follower]>, until: Until) -> Result<(), RunError> {
    let mut chats = JoinSet::new();
    for chat in 0..shared.casts.len() {
        let (shared, followers) = (Arc::clone(shared), Arc::clone(followers));
        chats.spawn(async move { of_chat(&shared, &followers, chat, until).await });
    }
    while let Some(ended) = chats.join_next().await {
        ended.map_err(|_| task_ended())??;
    }
    Ok(())
}

async fn of_chat(shared: &Arc<Shared>, followers: &[Follower], chat: usize, until: Until) -> Result<(), RunError> {
    let mut random = StdRng::seed_from_u64(shared.seed ^ (chat as u64 + 1) << 40);
    let cast = &shared.casts[chat];
    let mut members: Vec<(u32, bool)> = cast.all().skip(1).collect();
    for number in 0.. {
        let pause = if random.random_bool(0.3) { SOON_MS } else { LATER_MS };
        tokio::time::sleep(Duration::from_millis(random.random_range(pause))).await;
        let place = random.random_range(0..members.len());
        let (user, is_member) = members[place];
        let with_history = random.random_bool(0.4);
        let leaves = random.random_bool(0.25);
        let change = if is_member { Change::Remove } else { Change::Add { with_history } };
        let by = if is_member && leaves { user } else { cast.owner };
        let over_http = random.random_bool(0.5);
        let target = random.random_range(0..shared.run.targets.len());
        match until {
            Until::Time(until) if shared.run.now() >= until => return Ok(()),
            Until::Count(count) if number >= count => return Ok(()),
            Until::Time(_) | Until::Count(_) => {}
        }
        if shared.carry_out(followers, &Plan { number, chat, user, by, change, over_http, target }).await? {
            members[place].1 = !is_member;
        }
    }
    Ok(())
}

impl Shared {
    /// Whether it was done; the checker tells why not.
    async fn carry_out(&self, followers: &[Follower], plan: &Plan) -> Result<bool, RunError> {
        let (run, chat) = (&self.run, plan.chat);
        let user = run.users[plan.user as usize].id;
        let id = self.check(chat).changing(user, plan.change, run.now());
        let outcome =
            if plan.over_http { self.over_http(plan).await? } else { self.over_session(followers, plan).await? };
        self.check(chat).changed(id, outcome, run.now());
        Ok(outcome.is_ok())
    }

    async fn over_session(&self, followers: &[Follower], plan: &Plan) -> Result<Result<u64, u16>, RunError> {
        let members = vec![self.run.users[plan.user as usize].id];
        let body = match plan.change {
            Change::Add { with_history } => CommandBody::AddMembers { role: Role::Member, with_history, members },
            Change::Remove => CommandBody::RemoveMembers { members },
        };
        let client = followers[plan.by as usize].client();
        let answer = async { client.submit(EntityId::from(self.run.chats[plan.chat]), body).await?.outcome().await };
        match tokio::time::timeout(self.run.patience, answer).await {
            Ok(Ok(seq)) => Ok(Ok(seq.0)),
            Ok(Err(RequestError::Refused { code, .. })) => Ok(Err(code)),
            Ok(Err(RequestError::Ended)) => Err(RunError::Unreachable(format!("session {} was ended", plan.by))),
            Err(_) => {
                let patience = self.run.patience;
                Err(RunError::Unreachable(format!("a change of a membership was not answered within {patience:?}")))
            }
        }
    }

    async fn over_http(&self, plan: &Plan) -> Result<Result<u64, u16>, RunError> {
        #[derive(Deserialize)]
        struct Changed {
            seq: u64,
            changed: bool,
        }
        let (chat, user) = (self.run.chats[plan.chat], self.run.users[plan.user as usize].id);
        let key = Some(format!("lt{:x}m{}c{}", self.seed, plan.chat, plan.number));
        let call = match plan.change {
            Change::Add { with_history } => {
                let body = serde_json::json!({ "members": [user.to_string()], "with_history": with_history });
                let path = format!("/chats/{chat}/members");
                Call { method: Method::Post, path, key, body: body.to_string().into_bytes() }
            }
            Change::Remove => {
                let path = format!("/chats/{chat}/members/{user}");
                Call { method: Method::Delete, path, key, body: Vec::new() }
            }
        };
        let Answered { outcome, .. } = self.api.ask(plan.by as usize, call, plan.target, None).await?;
        let body = match outcome {
            Ok(body) => body,
            Err(code) => return Ok(Err(code)),
        };
        let Changed { seq, changed } = parsed(&body)?;
        Ok(if changed { Ok(seq) } else { Err(ErrorCode::NothingToDo as u16) })
    }
}
