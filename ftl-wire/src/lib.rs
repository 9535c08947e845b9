//! The framed data plane between FTL processes: one bidirectional, multiplexed protocol over Unix sockets and loopback
//! TCP. `docs/wire.md` in the repository states it for other languages.
//!
//! A [`Connection`] is a [`VerbService`](ftl_core::VerbService): calling it calls the other end. What arrives goes where
//! [`Dispatch`] says: to a service of this process, on to another connection without being parsed, or nowhere. A call
//! that fails says truthfully how far it got.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use ftl_core::{Body, Call, CallError, Digest, Failure, Head, Reply, VerbService};
//! use ftl_wire::{Dispatch, HeadRef, Options, Route, accept_deployment, dial_runner};
//! use tokio::time::Instant;
//!
//! /// User code: replies with the request.
//! #[derive(Debug)]
//! struct Echo;
//!
//! #[async_trait::async_trait]
//! impl VerbService for Echo {
//!     async fn ping(&self, _: Instant) -> Result<(), Failure> {
//!         Ok(())
//!     }
//!     async fn call(&self, call: Call) -> Result<Reply, CallError> {
//!         Ok(Reply::new(call.body))
//!     }
//! }
//!
//! impl Dispatch for Echo {
//!     fn dispatch(&self, _: &HeadRef<'_>) -> Route {
//!         Route::Serve(Arc::new(Echo))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! // A Runner and its child hold the two ends of one socket pair.
//! let (ours, theirs) = ftl_wire::pair().unwrap();
//! let options = Options::default();
//! let (runner, _user_code) = tokio::join!(
//!     accept_deployment(ours, Arc::new(Echo), &options),
//!     dial_runner(theirs.into(), Digest::of(b"schema"), Arc::new(Echo), &options),
//! );
//! let deadline = Instant::now() + Duration::from_secs(5);
//! let head = Head::new("echo.echo".parse().unwrap(), "r-1".parse().unwrap(), deadline);
//! let reply = runner.unwrap().call(Call::new(head, Body::once("{}"))).await.unwrap();
//! assert_eq!(reply.body.bytes(), "{}");
//! # });
//! ```
//!
//! Reading order, from the bytes up:
//!
//! * [`limits`] and [`frame`]: what is on the wire. Pure.
//! * `state`: one connection without its I/O: calls opened and served, what waits to be sent, drain. It only decides.
//! * `engine`: what arrives, in batches; `task`: the one task that reads and writes; `keepalive`.
//! * `call` and `serve`: one call of this process, from either side. `shared`: what they and the task have in common.
//! * `handshake`, `listener`, `private_dir`: how connections come to be.
//! * [`Connection`] and [`Dispatch`]: what everybody else sees.

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
mod socket;
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
pub use serve::CALL_SPAN_TARGET;
