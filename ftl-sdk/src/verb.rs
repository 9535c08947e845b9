//! The contract of a verb as a type, and how a process runs it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use ftl_core::schema::{self, Visibility};
use ftl_core::{Body, CallError, Failure};

use crate::data::Data;
use crate::failure::{Contract, VerbError};
use crate::json;
use crate::param::{Declaration, Incoming};
use crate::types::Types;

/// The contract of a verb. [`#[ftl::verb]`](macro@crate::verb) implements it for the type beside the function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a verb",
    label = "expected the name of a function marked `#[ftl::verb]`",
    note = "write `ftl::Client<module::verb>`, as `ftl::Client<clock::now>`"
)]
pub trait Verb: Send + Sync + 'static {
    /// What it takes.
    type Request: Data;
    /// What it answers.
    type Reply: Data;
    /// The error that a caller can receive; [`Infallible`] when it has no typed one.
    type Error: Contract;
    /// The module.
    const MODULE: &'static str;
    /// The name in it.
    const NAME: &'static str;
    /// Whether running it twice is the same as running it once.
    const IDEMPOTENT: bool;
}

/// What a verb may return: data, or a `Result` of data and an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be what a verb returns",
    label = "neither data nor a `Result` of data",
    note = "a verb returns `T` or `Result<T, E>`, where `T` is marked `#[ftl::data]`, and `E` is marked `#[ftl::error]` or is `ftl::Error`"
)]
pub trait Output {
    /// What the verb answers.
    type Reply: Data;
    /// What it may fail with.
    type Error: VerbError;

    /// Both as a result.
    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Reply, Self::Error>;
}

impl<T: Data, E: VerbError> Output for Result<T, E> {
    type Reply = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// A verb that this crate can run, of the module whose identity is `Module`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a verb of this module",
    label = "list the functions of this crate that are marked `#[ftl::verb]`",
    note = "a verb of another module is served by that module; call it through an `ftl::Client`"
)]
pub trait Serve<Module>: Verb {
    /// How to describe and run it.
    const DEFINITION: Definition;
}

/// A verb on its way to its encoded end.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Body, CallError>> + Send>>;

/// How to describe and run a verb: everything about it that is not a type.
#[derive(Clone, Copy)]
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// Who may call it.
    pub visibility: Visibility,
    /// Whether it blocks its thread.
    pub blocking: bool,
    /// Fills in what its types say.
    pub describe: fn(&mut schema::Verb, &mut Types),
    /// Collects what its parameters declare.
    pub declare: fn(&mut Declaration),
    /// Runs it.
    pub run: fn(Incoming) -> Running,
}

impl Definition {
    /// Stands for a verb that does not compile.
    #[must_use]
    pub const fn broken<V: Verb>() -> Self {
        Self {
            name: V::NAME,
            docs: "",
            visibility: Visibility::Module,
            blocking: false,
            describe: describe::<V>,
            declare: |_| {},
            run: |_| Box::pin(async { Ok(Body::once("null")) }),
        }
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Definition").field(&self.name).finish()
    }
}

/// Fills in what the types of a verb say.
pub fn describe<V: Verb>(verb: &mut schema::Verb, types: &mut Types) {
    verb.idempotent = V::IDEMPOTENT;
    verb.request = V::Request::describe(types);
    verb.reply = V::Reply::describe(types);
    verb.error = V::Error::describe_error(types);
}

/// Encodes what a verb returned.
///
/// # Errors
/// The verb's own error, encoded; or the failure that it hands on, or that its value has no JSON form.
pub fn finish<O: Output>(output: O) -> Result<Body, CallError> {
    let ran = Failure::passed_on;
    match output.into_result().map_err(VerbError::raise) {
        Ok(reply) => json::encode(&reply).map_err(|failure| ran(failure).into()),
        Err(CallError::Failed(failure)) => Err(failure.into()),
        Err(CallError::Verb(error)) => match error.encode_error() {
            Ok(body) => Err(CallError::Verb(body)),
            Err(failure) => Err(ran(failure).into()),
        },
    }
}

// The contract of "no error" must itself be one that a verb can have.
const _: fn() = || {
    fn assert<E: VerbError + Contract>() {}
    assert::<Infallible>();
};
