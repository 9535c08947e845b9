//! The contract of FTL: names, schema, calls, and the traits of all actors. No I/O.
//!
//! Being written: routing, remote and memory follow.

pub mod artefact;
pub mod boot;
pub mod call;
pub mod controller;
pub mod deployment;
pub mod digest;
pub mod failure;
pub mod http;
pub mod key;
pub mod memory;
pub mod name;
pub mod output;
pub mod platform;
pub mod remote;
pub mod routing;
pub mod runner;
pub mod schema;
pub mod secret;
pub mod sequence;

pub use call::{Body, Call, Head, Reply, VerbService};
pub use controller::{Controller, ControllerError, Operator};
pub use deployment::{Deployment, DeploymentInfo, DeploymentSpec};
pub use digest::Digest;
pub use failure::{CallError, Code, Failure, Fate};
pub use platform::{Platform, PlatformExt};
pub use routing::{Router, RoutingTable};
pub use runner::{Runner, Supervisor};
pub use secret::Secret;
