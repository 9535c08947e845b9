//! Write an async function, annotate it, and it is a service.
#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
#[doc(hidden)]
pub mod blueprint;
mod client;
mod context;
mod data;
mod failure;
mod json;
mod module;
mod param;
mod serve;
mod types;
mod verb;

pub use client::Client;
pub use context::Context;
pub use data::Data;
pub use failure::{CallResult, Contract, Error, VerbError};
pub use ftl_core::name::{IdempotencyKey, RequestId, VerbRef};
pub use ftl_core::{CallError, Code, Failure, Fate, schema};
pub use ftl_sdk_macros::{data, error, module, verb};
pub use module::{Module, SchemaError};
pub use param::{Inject, Needs, Param};
pub use serve::serve;
pub use verb::{Output, Verb};
