//! The framed data plane between FTL processes: one bidirectional, multiplexed protocol over Unix sockets and TCP.
//!
//! Being written; the signatures stand.

mod address;
mod connection;
mod dispatch;
mod handshake;
mod listener;
mod options;

pub use address::{Address, AddressError};
pub use connection::{CloseReason, Closed, Connection, Peer};
pub use dispatch::{Dispatch, HeadRef, Route, Stamp};
pub use handshake::{
    DialError, HandshakeError, Identity, accept_deployment, dial, dial_runner, pair, runner_secret,
};
pub use listener::{Authority, Listener};
pub use options::Options;
