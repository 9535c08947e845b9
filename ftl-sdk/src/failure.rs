//! Errors of verbs: typed for their callers, or opaque.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

use ftl_core::schema::Type;
use ftl_core::{Body, CallError, Code, Failure};

use crate::data::Data;
use crate::json;
use crate::types::Types;

/// What a verb may return as its error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a verb",
    label = "add `#[ftl::error]` to this type",
    note = "a verb fails with a `#[ftl::error]` enum, which its callers receive as it is, or with `ftl::Error`, of which they see a message"
)]
pub trait VerbError: Sized + Send + 'static {
    /// What a caller can receive: the type itself, or nothing when it is opaque.
    type Contract: Contract;

    /// The end of the call. A failure that is handed on goes on as the failure of this call, which did run.
    fn raise(self) -> CallError<Self::Contract>;
}

/// An error that callers receive as it is. [`Infallible`] says that there is none.
pub trait Contract: StdError + Sized + Send + 'static {
    /// Its type in the schema.
    #[doc(hidden)]
    fn describe_error(types: &mut Types) -> Option<Type>;

    /// Writes it.
    #[doc(hidden)]
    fn encode_error(&self) -> Result<Body, Failure>;

    /// Reads it.
    #[doc(hidden)]
    fn decode_error(json: &[u8]) -> Result<Self, String>;
}

impl<E: Data + StdError> Contract for E {
    fn describe_error(types: &mut Types) -> Option<Type> {
        Some(E::describe(types))
    }

    fn encode_error(&self) -> Result<Body, Failure> {
        json::encode(self)
    }

    fn decode_error(json: &[u8]) -> Result<Self, String> {
        json::decode(json)
    }
}

impl Contract for Infallible {
    fn describe_error(_types: &mut Types) -> Option<Type> {
        None
    }

    fn encode_error(&self) -> Result<Body, Failure> {
        match *self {}
    }

    fn decode_error(_json: &[u8]) -> Result<Self, String> {
        Err("$: this caller knows of no error".to_owned())
    }
}

impl VerbError for Infallible {
    type Contract = Self;

    fn raise(self) -> CallError<Self> {
        match self {}
    }
}

/// An opaque error: whatever `?` meets. Callers see `internal` and the message, with all its causes.
///
/// A [`Failure`] in it, also the one of a call, goes on with its code.
///
/// ```
/// fn port(text: &str) -> Result<u16, ftl::Error> {
///     Ok(text.parse()?)
/// }
/// assert_eq!(port("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
// No `std::error::Error`: it would meet itself in the conversion below.
pub struct Error(Box<dyn StdError + Send + Sync>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        for cause in causes(&*self.0).skip(1).map(ToString::to_string) {
            // `#[error("clock: {0}")] Clock(#[from] NowError)` has said it already.
            if !text.ends_with(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl VerbError for Error {
    type Contract = Infallible;

    fn raise(self) -> CallError<Infallible> {
        let failure = causes(&*self.0).find_map(|cause| cause.downcast_ref::<Failure>().cloned());
        CallError::Failed(
            failure.unwrap_or_else(|| Failure::new(Code::Internal, self.to_string())).passed_on(),
        )
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A failure on its way through an error that has no variant for it.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct PassedOn(Box<Failure>);

impl From<Failure> for PassedOn {
    fn from(failure: Failure) -> Self {
        Self(Box::new(failure))
    }
}

impl From<PassedOn> for Failure {
    fn from(passed_on: PassedOn) -> Self {
        *passed_on.0
    }
}

/// What can be done with the result of a call.
///
/// ```
/// # use ftl::{CallError, CallResult, Code, Failure};
/// fn name_or_nobody(found: Result<String, CallError<NotThere>>) -> Result<String, Failure> {
///     match found.split()? {
///         Ok(name) => Ok(name),
///         Err(NotThere) => Ok("nobody".to_owned()),
///     }
/// }
/// # #[derive(Debug)] struct NotThere;
/// assert_eq!(name_or_nobody(Err(CallError::Verb(NotThere))).unwrap(), "nobody");
/// let down = Failure::new(Code::Unavailable, "no replica");
/// assert_eq!(name_or_nobody(Err(CallError::Failed(down))).unwrap_err().code, Code::Unavailable);
/// ```
pub trait CallResult<T, E> {
    /// Sets the failure of the call apart, which leaves by `?`, and keeps the verb's own result.
    ///
    /// # Errors
    /// The failure.
    fn split(self) -> Result<Result<T, E>, Failure>;
}

impl<T, E> CallResult<T, E> for Result<T, CallError<E>> {
    fn split(self) -> Result<Result<T, E>, Failure> {
        match self {
            Ok(reply) => Ok(Ok(reply)),
            Err(CallError::Verb(error)) => Ok(Err(error)),
            Err(CallError::Failed(failure)) => Err(failure),
        }
    }
}
