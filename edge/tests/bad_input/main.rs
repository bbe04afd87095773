//! Whatever a client sends has its stable code, and nobody else notices: two others talk meanwhile, over
//! the same server, and miss nothing.
#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test that needs it")]

mod content;
mod draining;
mod floods;
mod frames;
mod handshakes;
mod opening;
mod raw;
mod scene;
mod secrets;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod table;
