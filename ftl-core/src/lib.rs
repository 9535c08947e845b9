//! The contract of FTL: names, schema, calls, the traits of all actors, routing, and a whole system in memory. No I/O.
//!
//! Whoever implements or uses a part of the system depends on this crate, and on nothing else of ours: a platform
//! implements [`Platform`], user code is a [`Deployment`], tools speak to an [`Operator`]. This page is a tour from the
//! smallest part to a call through all of them; every step runs.
//!
//! # Names are parsed once
//!
//! A name of the wrong kind, or one that breaks a rule, cannot exist ([`name`], [`key`], [`Digest`]):
//!
//! ```
//! use ftl_core::name::{ModuleName, VerbRef};
//! let verb: VerbRef = "clock.now".parse()?;
//! assert_eq!(verb.module, "clock".parse::<ModuleName>()?);
//! let refused = "Clock.now".parse::<VerbRef>().unwrap_err();
//! assert!(refused.to_string().starts_with("`Clock` is not a module name: lower-case letters"));
//! # Ok::<(), ftl_core::name::NameError>(())
//! ```
//!
//! # A schema says what a module offers
//!
//! [`schema::Module`] lists verbs, the data they take and answer, and whom they call. It has a readable form, and a hash
//! that leaves documentation out:
//!
//! ```
//! use ftl_core::schema::{Module, Type, Verb};
//! let mut clock = Module::new("clock".parse().unwrap());
//! let mut now = Verb::new("now".parse().unwrap());
//! now.reply = Type::Text;
//! now.doc = "The time, in UTC.".to_owned();
//! clock.verbs.push(now);
//! assert_eq!(clock.to_text(), "module clock {\n  /// The time, in UTC.\n  verb now(()) -> text\n}\n");
//! ```
//!
//! # A deployment is immutable
//!
//! [`DeploymentSpec`] is everything that one version of a module is, and its identity is the digest of all of it. Its files
//! are [`artefact`]s: content-addressed, with paths that cannot leave their directory.
//!
//! ```
//! use ftl_core::artefact::{Artefact, Manifest, Mode};
//! use ftl_core::{DeploymentSpec, Digest, schema::Module};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let program = b"the binary";
//! let artefact = Artefact {
//!     path: "bin/clock".parse()?,
//!     digest: Digest::of(program),
//!     size: program.len() as u64,
//!     mode: Mode::Executable,
//! };
//! let schema = Module::new("clock".parse()?);
//! let spec = DeploymentSpec::new(schema, "rust".parse()?, "x86_64-unknown-linux-gnu".parse()?, Manifest::new(vec![artefact])?);
//! assert!(spec.id().short().starts_with("clock-"));
//! # Ok(()) }
//! ```
//!
//! # Everything that can be called is a `VerbService`
//!
//! [`VerbService`] has two methods, `ping` and `call`. The Controller, a Runner, a Deployment, the far end of a
//! connection, a [`Router`] and a fake in a test all implement it, so a route is nothing but composition.
//! A verb's own error is data ([`CallError::Verb`]); everything else is a [`Failure`], whose [`Fate`] says whether the
//! verb ran. Whether a call may be repeated follows from that:
//!
//! ```
//! use ftl_core::{Code, Failure};
//! let idempotent = false;
//! let lost = Failure::new(Code::Unavailable, "connection lost");
//! assert!(!lost.may_retry(idempotent), "it may have run");
//! let refused = Failure::new(Code::Unavailable, "draining").not_started(true);
//! assert!(refused.may_retry(idempotent), "it certainly did not");
//! ```
//!
//! # The actors
//!
//! | actor | trait | what it does |
//! |---|---|---|
//! | Controller | [`Controller`], [`Operator`], [`Supervisor`] for its Runners | owns the desired state, creates Runners, routes |
//! | Platform | [`Platform`] | starts Runners somewhere, and tells what became of them |
//! | Runner | [`Runner`] | fetches one deployment, starts it, watches it, routes to it |
//! | Deployment | [`Deployment`] | user code |
//!
//! [`remote`] turns any `VerbService` into a remote [`Supervisor`] or [`Runner`]: control messages are calls to the
//! reserved module `ftl`, so the control plane needs no second protocol. [`http`] says how a Controller looks from outside,
//! [`boot`] what a Runner is told at its start.
//!
//! # A call through all of them
//!
//! [`memory`] has all four actors in one process. `greeter.hello` calls `clock.now`: from its Deployment to its Runner, to
//! the Controller, to the other Runner, to the other Deployment, and back.
//!
//! ```
//! use ftl_core::memory::{System, UserCode};
//! use ftl_core::schema::Verb;
//! use ftl_core::{Body, Call, Reply, VerbService};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = Verb::new("now".parse()?);
//! let clock = UserCode::new("clock")?
//!     .with_verb(now, |_call, _up| async { Ok(Reply::new(Body::once("\"noon\""))) });
//!
//! let mut hello = Verb::new("hello".parse()?);
//! hello.calls = vec!["clock.now".parse()?]; // what is not declared cannot be called
//! let target: ftl_core::name::VerbRef = "clock.now".parse()?;
//! let greeter = UserCode::new("greeter")?.with_verb(hello, move |call, up| {
//!     let mut head = ftl_core::Head::new(target.clone(), call.head.request, call.head.deadline);
//!     head.caller = Some(call.head.target);
//!     async move { up.call(Call::new(head, Body::once("null"))).await }
//! });
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let system = System::new()?;
//! system.deploy("first", [clock, greeter]).await?;
//! assert_eq!(system.call("greeter.hello", "null").await?, "\"noon\"");
//! # Ok(()) }) }
//! ```
//!
//! Modules in reading order: [`name`], [`key`], [`digest`], [`secret`], [`artefact`], [`schema`], [`call`], [`failure`],
//! [`deployment`], [`runner`], [`controller`], [`platform`], [`boot`], [`remote`], [`http`], [`routing`], [`output`],
//! [`sequence`], [`memory`].

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
