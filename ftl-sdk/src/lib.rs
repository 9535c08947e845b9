//! Write an async function, annotate it, and it is a service.
//!
//! # A module
//!
//! A *verb* is an async function that others may call, in this process or in another, wherever it runs. A *module* is
//! a crate whose verbs are deployed together. This is a whole one:
//!
//! ```rust,standalone_crate
//! ftl::module! {
//!     /// Counts words.
//!     verbs: [count]
//! }
//!
//! /// A text.
//! #[ftl::data]
//! pub struct Text {
//!     /// Its words.
//!     pub words: String,
//!     /// Words that do not count.
//!     #[serde(default)]
//!     pub without: Vec<String>,
//! }
//!
//! /// Counts the words of a text.
//! #[ftl::verb]
//! pub async fn count(text: Text) -> u32 {
//!     let counts = |word: &&str| !text.without.iter().any(|other| other == word);
//!     text.words.split_whitespace().filter(counts).count() as u32
//! }
//!
//! # fn main() {
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // A verb stays a plain function. In a test, call it.
//! let text = Text { words: "to be or not to be".into(), without: vec!["or".into()] };
//! assert_eq!(count(text).await, 5);
//! # });
//! # }
//! ```
//!
//! Its `main.rs` is one line, [`ftl::serve(word_counter::MODULE)`](serve). The schema, with the documentation, comes
//! out of the same compile: [`Module::schema`].
//!
//! # A verb takes what it uses as parameters
//!
//! One parameter may be the request. Everything else is injected: a [`Client`] for each verb that is called, the
//! [`Context`] of the call, and whatever implements [`Inject`]. So the call graph is known before anything runs, a
//! verb can call nothing that it does not name, and a test passes a fake:
//!
//! ```rust,standalone_crate
//! use ftl::{Client, Code};
//!
//! ftl::module! { verbs: [convert, rate] }
//!
//! /// Cents for a euro.
//! #[ftl::verb(idempotent)]
//! pub async fn rate(currency: String) -> Result<u64, RateError> {
//!     match currency.as_str() {
//!         "USD" => Ok(108),
//!         _ => Err(RateError::Unknown { currency }),
//!     }
//! }
//!
//! /// Why there is no rate.
//! #[ftl::error]
//! pub enum RateError {
//!     /// Nobody trades it.
//!     #[error("no currency {currency}")]
//!     Unknown {
//!         /// What was asked for.
//!         currency: String,
//!     },
//! }
//!
//! /// Why nothing was converted.
//! #[ftl::error]
//! pub enum ConvertError {
//!     /// That is more than fits.
//!     #[error("too much")]
//!     TooMuch,
//!     /// There is no rate.
//!     #[error("rate: {0}")]
//!     Rate(#[from] RateError),
//! }
//!
//! /// Converts euros into another currency's cents.
//! #[ftl::verb]
//! pub async fn convert(euros: u64, rate: Client<rate>) -> Result<u64, ConvertError> {
//!     let cents = rate.call("USD".to_owned()).await?; // the rate's error, or the failure of the call
//!     euros.checked_mul(cents).ok_or(ConvertError::TooMuch)
//! }
//!
//! # fn main() {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! // No server and no port: a closure answers.
//! assert_eq!(convert(3, Client::fake(|_| async { Ok(100) })).await, Ok(300));
//! // The callee's error arrives as it is …
//! let rate = Client::fake(|currency| async { Err(RateError::Unknown { currency }) });
//! assert!(matches!(convert(3, rate).await, Err(ConvertError::Rate(RateError::Unknown { .. }))));
//! // … and a callee that cannot be reached fails this call, too.
//! assert!(convert(3, Client::broken(Code::Unavailable)).await.is_err());
//! // Both together, as they are in a system.
//! let convert: Client<convert> = Client::over(ftl::in_process(MODULE));
//! assert_eq!(convert.call(3).await.unwrap(), 324);
//! # });
//! # }
//! ```
//!
//! # Errors
//!
//! A verb fails with an enum marked [`#[ftl::error]`](macro@error), which its callers receive typed, or with
//! [`ftl::Error`](Error), into which everything converts and of which callers see a message. A caller gets a
//! [`CallError`]: the verb's own error, or the [`Failure`] of the call, whose [`Fate`] says how far it came. What
//! certainly did not start is tried again; what may have run only if the verb is `idempotent`.
//!
//! # What the compiler says
//!
//! Mistakes are found where they are made, with the rule and the remedy. A verb and its type share one name, so give
//! modules nouns and verbs verbs: a verb that is called like its crate is refused.
//!
//! # Reading on
//!
//! The source in this order: [`Data`] and how the schema of a type is described; how [`Param`] finds the request
//! among the parameters; [`Verb`] and [`Client`]; [`Module`]; and last how a process serves them.

// The schema of types
mod blueprint;
mod data;
mod json;
mod types;

// Verbs
mod client;
mod context;
mod failure;
mod param;
mod verb;

// Modules
mod module;
mod serve;

#[doc(hidden)]
pub mod __private;

pub use client::Client;
pub use context::Context;
pub use data::Data;
pub use failure::{CallResult, Contract, Error, VerbError};
pub use ftl_core::name::{IdempotencyKey, RequestId, VerbRef};
pub use ftl_core::{CallError, Code, Failure, Fate, call, schema};
pub use ftl_sdk_macros::{data, error, module, verb};
pub use module::{Module, SchemaError};
pub use param::{Inject, Needs, Param};
pub use serve::{in_process, serve};
pub use types::Types;
pub use verb::{Output, Verb};
