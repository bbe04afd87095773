//! Who is where in a workload: what a server that knows users and chats has to have before it.

use anyhow::{Result, ensure};

/// The users of a workload and the channels that they are in.
///
/// Connection `number` is user `number % users`; a channel is a topic, a subject or a chat, by the peer's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// For each user the channels that it is in: it subscribes to the first one, or publishes to any of them.
    pub channels_of: Vec<Vec<u32>>,
    /// Connections that will be opened at most. More than users: each comes back, with a credential of its own.
    pub connections: u32,
}

impl Plan {
    /// Each user in a channel of its own (W1, W3).
    pub fn alone(users: u32) -> Self {
        Self { channels_of: (0..users).map(|user| vec![user]).collect(), connections: users }
    }

    /// Subscribers, dealt out over the channels, and behind them publishers, each in its share of the channels (W2).
    pub fn fan_out(channels: u32, subscribers_each: u32, publishers: u32) -> Self {
        let subscribers = (0..channels * subscribers_each).map(|number| vec![number % channels]);
        let share = |publisher: u32| (publisher..channels).step_by(publishers.max(1) as usize).collect();
        let channels_of: Vec<Vec<u32>> = subscribers.chain((0..publishers).map(share)).collect();
        let connections = channels * subscribers_each + publishers;
        Self { channels_of, connections }
    }

    /// Users, dealt out over the channels, who come and go until so many connections were made (W4).
    pub fn coming_and_going(users: u32, channels: u32, connections: u32) -> Self {
        Self { channels_of: (0..users).map(|user| vec![user % channels]).collect(), connections }
    }

    /// Users.
    pub fn users(&self) -> usize {
        self.channels_of.len()
    }

    /// Credentials that each user needs.
    pub fn credentials_each(&self) -> usize {
        (self.connections as usize).div_ceil(self.users().max(1))
    }

    /// The users of each channel, by number.
    ///
    /// # Errors
    /// A channel that nobody is in.
    pub fn users_of(&self) -> Result<Vec<Vec<usize>>> {
        let channels = self.channels_of.iter().flatten().max().map_or(0, |last| *last as usize + 1);
        let mut users_of = vec![Vec::new(); channels];
        for (user, channels) in self.channels_of.iter().enumerate() {
            for channel in channels {
                users_of[*channel as usize].push(user);
            }
        }
        ensure!(users_of.iter().all(|users| !users.is_empty()), "a channel has nobody in it; take more connections");
        Ok(users_of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_behind_the_subscribers_and_in_every_channel() {
        let plan = Plan::fan_out(3, 2, 2);
        assert_eq!(plan.channels_of, [vec![0], vec![1], vec![2], vec![0], vec![1], vec![2], vec![0, 2], vec![1]]);
        assert_eq!(plan.users_of().unwrap(), [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5, 6]]);
        assert_eq!((plan.connections, plan.credentials_each()), (8, 1));
    }

    #[test]
    fn who_comes_back_needs_a_credential_each_time() {
        let plan = Plan::coming_and_going(4, 2, 9);
        assert_eq!(plan.channels_of, [vec![0], vec![1], vec![0], vec![1]]);
        assert_eq!(plan.credentials_each(), 3);
    }

    #[test]
    fn a_channel_without_anybody_is_refused() {
        assert!(Plan::coming_and_going(2, 2, 2).users_of().is_ok());
        assert!(Plan { channels_of: vec![vec![0], vec![2]], connections: 2 }.users_of().is_err());
    }
}
