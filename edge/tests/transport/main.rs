//! Both transports over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_door;
mod identity;
mod quic;
mod quic_driver;
mod relay;
mod support;
mod upgrade;
mod websocket;
