//! The executable contract of [`Platform`](ftl_core::Platform): checks that any backend passes, or refuses as it declares.
//!
//! [`run()`] takes a [`Fixture`] — how to make the platform, the program to start, and the backend's truth, not asked
//! through the platform — and answers with a [`Report`]. Every check starts the [`probe`], which dials the suite as a Runner
//! dials its Controller: starts are counted by the processes that said hello, and not by what a platform tells.
//!
//! Each check has a name, a capability that it needs, the lie that it catches and the rule that this lie breaks. There are
//! four outcomes and no other: passed, failed, *refused as declared* (the capability is not claimed, and what it stands for
//! was seen to be refused or said not to be known), and *not proven* (the fixture has no means to find out).
//!
//! ```no_run
//! use std::sync::Arc;
//! use ftl_platform_conformance::{Conclusion, Selection, fixtures::Memory, run};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let report = run(Arc::new(Memory::default()), &Selection::all(41), |_| {}).await?;
//! assert_eq!(report.conclusion(&[]), Conclusion::Conformant);
//! # Ok(()) }
//! ```
//!
//! # Time
//! Some starts are timed first. What must happen is waited for as long as ten such starts take, and what must not happen is
//! watched for two; [`Waits`] are the least of both. Nothing sleeps to wait for something.
//!
//! Reading order: `fixture` (what an author gives), [`fixtures`], `check`, `checks` (one file for each group), `bench` (what
//! a check works with), `controller` and [`probe`] (the two ends of its connections), [`host()`], `faulty`, `run`, `report`.

pub mod fixtures;
pub mod probe;

mod bench;
mod check;
mod checks;
mod controller;
mod faulty;
mod fixture;
mod host;
mod report;
mod run;

pub use bench::Waits;
pub use check::{Check, Outcome};
pub use checks::all;
pub use fixture::{Fixture, Lookalike};
pub use host::host;
pub use report::{Conclusion, Finding, Report};
pub use run::{RunError, Selection, UnknownCheck, abandon, run};
