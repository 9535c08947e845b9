//! The reference Runner: fetches one deployment, starts its user code, watches it, and routes calls to it.
//!
//! A Runner belongs to one replica of one deployment. It dials its Controller and keeps that one connection; Deploy,
//! Drain and calls ride back on it. It never restarts its child: when that ends, the Runner says how, and ends too;
//! replacing is the Controller's.
//!
//! Reading order: [`Options`] (what it is told), `service` (its life), `control` (the connection to the Controller),
//! `agent` (what the Controller orders), `deploy` with `fetch`, `program`, `child` and `output` (one deployment from Deploy to its
//! end), `route` (who answers which call).

mod agent;
mod child;
mod control;
mod deploy;
mod fetch;
mod options;
mod output;
mod program;
mod route;
mod service;

pub use options::{Options, OptionsError, Timings};
pub use service::{Ending, run};
