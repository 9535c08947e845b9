//! The framed data plane between FTL processes: one bidirectional, multiplexed protocol over Unix sockets and TCP.
//!
//! Being written; the signatures stand.

pub mod frame;
pub mod limits;

mod address;
mod call;
mod connection;
mod dispatch;
mod engine;
mod handshake;
mod keepalive;
mod listener;
mod options;
mod private_dir;
mod serve;
mod shared;
mod state;
mod task;

pub use address::{Address, AddressError};
pub use connection::{CloseReason, Closed, Connection, Peer};
pub use dispatch::{Dispatch, HeadRef, Route, Stamp};
pub use handshake::{
    DialError, HandshakeError, Identity, accept_deployment, dial, dial_runner, pair, runner_secret,
};
pub use listener::{Authority, Listener};
pub use options::Options;
