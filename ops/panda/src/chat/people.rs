//! Names of users, asked for once.

use std::collections::HashMap;

use panda_protocol::UserId;

use super::account::Server;

/// Names that are kept; beyond, all are asked for again.
const NAMES_MAX: usize = 10_000;

/// Who is who.
pub(super) struct People {
    server: Server,
    pub(super) token: String,
    names: HashMap<UserId, String>,
}

impl People {
    pub(super) fn new(server: Server, token: String) -> Self {
        Self { server, token, names: HashMap::new() }
    }

    /// A user's name, or the identifier if the server does not tell.
    pub(super) async fn name(&mut self, user: UserId) -> String {
        if let Some(name) = self.names.get(&user) {
            return name.clone();
        }
        let (server, token) = (self.server.clone(), self.token.clone());
        let asked = tokio::task::spawn_blocking(move || server.user(&token, &user.to_string())).await;
        let Ok(Ok(found)) = asked else { return user.to_string() };
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(user, found.username.clone());
        found.username
    }

    /// The user of an `@name`.
    ///
    /// # Errors
    /// There is none, or the server does not answer.
    pub(super) async fn find(&mut self, name: String) -> anyhow::Result<UserId> {
        let (server, token) = (self.server.clone(), self.token.clone());
        let found = tokio::task::spawn_blocking(move || server.user(&token, &name)).await??;
        let user = found.id.parse()?;
        self.names.insert(user, found.username);
        Ok(user)
    }

    /// All of them, or why one is not to be found.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) async fn find_all(&mut self, names: Vec<String>) -> anyhow::Result<Vec<UserId>> {
        let mut users = Vec::with_capacity(names.len());
        for name in names {
            users.push(self.find(name).await?);
        }
        Ok(users)
    }
}
