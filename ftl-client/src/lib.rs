//! The HTTP API of a Controller as a Rust client: [`Client`] implements [`Controller`](ftl_core::Controller) and
//! [`Operator`](ftl_core::Operator), so that whoever holds one cannot tell it from a Controller in the same process.
//!
//! Reading order: `client` (requests and answers), `controller` (the traits over them), `lines` (a streamed answer),
//! `progress` (an upload that stalls).
//! Paths, headers and documents are [`ftl_core::http`].
//!
//! ```no_run
//! # async fn show() -> Result<(), Box<dyn std::error::Error>> {
//! use ftl_core::Operator;
//! let client = ftl_client::Client::new("http://127.0.0.1:8892", "the token")?;
//! for module in client.status().await? {
//!     println!("{} {}/{}", module.module, module.ready, module.desired);
//! }
//! # Ok(()) }
//! ```

mod client;
mod controller;
mod lines;
mod progress;

pub use client::Client;
