//! What is asked of a flood of logins.

use std::time::Duration;

use clap::Args;

use crate::schedule::parse_duration;

/// Offers logins, more than are hashed, while sessions talk on.
#[derive(Clone, Debug, Args)]
pub struct Logins {
    /// Sessions that talk, each of a user of its own.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub sessions: u32,
    /// Chats; session i is in chat i modulo this.
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub chats: u32,
    /// Messages a second, all together.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Logins a second, of users with passwords that were registered for it. Where the API is reached over loopback, they come
    /// from so many addresses of it that none of them is refused as one that asks too often.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub logins: u32,
    /// For how long they are offered.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub duration: Duration,
    /// How long all is calm before.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub before: Duration,
    /// Base URL of the API that is asked for logins, such as that of a `panda api`. Default: the first target.
    #[arg(long, value_name = "URL")]
    pub login_target: Option<String>,
}
