//! What lets a client in: access tokens, refresh tokens, resume tickets, membership proofs, and the secrets behind them;
//! which logins were ended; whose attempts are counted together; and which pages may try.
//!
//! Edges only verify tokens; the HTTP API signs them. Tickets and proofs are sealed and opened by
//! edges with keys derived from one [`FleetSecret`], so an edge admits a client that another edge
//! knew without asking any database. Nothing here reads a clock: callers pass the time. No type here
//! shows a secret in its `Debug` form.
#![warn(missing_docs)]

mod fleet_secret;
mod login_flow;
mod neighbourhood;
mod origin;
mod proof;
mod refresh_token;
mod revocations;
mod seal;
mod ticket;
mod token;

pub use fleet_secret::{DerivedKeys, FleetSecret, FleetSecretError, Purpose};
pub use login_flow::{FlowSealer, FlowStep};
pub use neighbourhood::Neighbourhood;
pub use origin::{ORIGIN_REFUSED, PageOrigin};
pub use proof::{PROOF_LEN, ProofOf, ProofSealer};
pub use refresh_token::{REFRESH_TOKEN_LEN, RefreshToken, RefreshTokens};
pub use revocations::{Heard, LoginOf, RevocationWatch, Revocations};
pub use seal::SealError;
pub use ticket::{TICKET_LEN, Ticket, TicketError, TicketSealer};
pub use token::{Access, AccessError, AccessKeys, KEYS_MAX, LEEWAY_S, Signer, SigningKey, VerifyingKey};
