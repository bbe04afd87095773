//! One controller, many agents. An agent holds a part of a run's sessions, on this machine or on another one; the controller
//! makes users and chats, hands them out, adds up what agents count and judges what they see.
//!
//! They speak lines of JSON over TCP: the agent's [`Greeting`], the controller's [`Opening`], then [`Order`]s to the agent
//! and [`Word`]s from it. Who opens a connection proves that it knows the agent's secret, and the agent proves it back,
//! before a token of a user is sent. The proof is of the opening alone: lines are neither encrypted nor bound to it, so agents
//! belong in a network that is trusted, or behind `ssh -L`. A controller on the same machine makes agents and secrets by itself.
//!
//! *Clocks.* Agents of one machine have one clock, yet a delivery's time is taken only where the agent that got the message
//! sent it, too: so that figures of one and of many machines mean the same. The rest of the deliveries are counted and, in
//! checked sessions, judged.
//!
//! *Truth.* What checked sessions and all senders to their chats see goes to the controller, whose checker judges a chat in
//! one place, whichever agents its members are on.

mod channel;
mod crew;
mod listen;
mod proof;

pub use channel::{Channel, LINE_BYTES_MAX};
pub use crew::{Agent, Crew, CrewError, Heard, SECRET_VARIABLE, SESSIONS_MAX};
pub use listen::{ListenError, listen};
pub use proof::{PROTOCOL, Secret};
use serde::{Deserialize, Serialize};

use crate::lean::{Job, Pace, Place, Second, Seen};

/// Seats that an order hands over at a time.
pub const SEATS_A_LINE: usize = 1_000;

/// An agent's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Of the program: a run of two versions would measure both.
    pub version: String,
    /// What the controller's proof is over.
    pub nonce: String,
}

/// A controller's first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Of the program.
    pub version: String,
    /// That it knows the secret.
    pub proof: String,
    /// What the agent's proof is over.
    pub nonce: String,
}

/// What an agent is to do, in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// What it is to hold.
    Job(Job),
    /// Takes these seats.
    Seats(Vec<Place>),
    /// Opens all of them.
    Open,
    /// Sends and churns.
    Go(Pace),
    /// So many of a hundred sessions leave for long.
    Absent(f64),
    /// They come back.
    Back,
    /// So many of a hundred sessions read nothing more.
    Stall(f64),
    /// They read again.
    ReadOn,
    /// Ceases to, and says so once nothing waits for an answer.
    Rest,
    /// Closes everything.
    Leave,
}

/// What an agent says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// That it knows the secret.
    Welcome {
        /// Over the controller's nonce.
        proof: String,
    },
    /// That it does not take the controller, and why.
    Refused(String),
    /// Every session is subscribed.
    Ready,
    /// What it counted.
    Second(Box<Second>),
    /// What was seen.
    Seen(Vec<Seen>),
    /// Why a session was lost.
    Lost(String),
    /// Nothing waits for an answer any more.
    Rested,
    /// It cannot go on; the harness is the limit where files, ports or memory are out.
    Failed(String),
}
