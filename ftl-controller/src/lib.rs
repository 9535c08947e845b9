//! The reference Controller: the coordination layer that owns desired state, creates Runners through platforms, and
//! keeps the route table.
//!
//! A library first: [`Options`] say what it is told, [`Service`] is ready to run, [`Handle`] is the running Controller
//! for everybody in its process — an [`Operator`](ftl_core::Operator) like the client that speaks its HTTP API.
//!
//! Decisions are pure, I/O is thin around them:
//!
//! * [`desired`] is what is durable, [`observed`] what Runners and platforms said in this life; [`plan`] is a pure function
//!   of both and of [`time`], with the constants of [`timings`].
//! * [`store`] makes desired state durable, one transaction for each decision.
//! * `reconciler` is the loop around them: takes messages (`mailbox`), plans, carries out the first action, plans anew.
//!   `platforms` has one worker for each platform, `runners` is the way in for Runners and their calls.
//! * `placing` says whether a module can run where it is wanted.
//! * [`end_instances`] ends what outlives Controllers; `api` serves any `Operator` over HTTP; `data`, `artefacts`, `logs` and `status` are what their names say.
//!
//! ```no_run
//! # async fn run(local: std::sync::Arc<dyn ftl_core::Platform>) -> Result<(), ftl_controller::ServiceError> {
//! use ftl_controller::{Options, Service};
//! let service = Service::open(Options::new("/var/lib/ftl").with_platform(local)).await?;
//! let handle = service.handle();
//! println!("answers at {}", handle.admin());
//! service.run().await
//! # }
//! ```

pub mod time;
pub mod timings;

pub mod desired;
pub mod observed;

pub mod plan;

pub mod store;

mod api;
mod artefacts;
mod data;
mod ending;
mod error;
mod handle;
mod holder;
mod logs;
mod mailbox;
mod options;
mod placing;
mod platforms;
mod reconciler;
mod runners;
mod service;
mod specs;
mod status;

pub use data::in_use;
pub use ending::{PlatformEnded, end_instances, keeps_state};
pub use error::ServiceError;
pub use handle::Handle;
pub use options::{ADMIN_PORT, Options};
pub use service::Service;
