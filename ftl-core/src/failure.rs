//! What can go wrong around a verb, and whether it may be tried again.
//!
//! A verb's own error is data and travels as such ([`CallError::Verb`]); everything else is a [`Failure`].
//! Whether a retry is allowed follows from its [`Fate`] and is never stored.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::Body;
use crate::name::{RequestId, VerbRef};

/// What a call can fail with: the codes of gRPC and Connect, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(u8)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// Something that has no code here.
    Unknown = 2,
    /// The request is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed.
    DeadlineExceeded = 4,
    /// No such module, verb or thing.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// Too large, too many, too busy.
    ResourceExhausted = 8,
    /// Not in this state of the system.
    FailedPrecondition = 9,
    /// Somebody else was first.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// Not offered here.
    Unimplemented = 12,
    /// A defect: a panic, a broken invariant.
    Internal = 13,
    /// Not reachable now.
    Unavailable = 14,
    /// Bytes are gone or are not what they should be.
    DataLoss = 15,
    /// The caller did not prove who it is.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of this number; [`Code::Unknown`] for one that a newer version may have.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Unknown)
    }

    /// The name, as `not_found`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::InvalidArgument => "invalid_argument",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::FailedPrecondition => "failed_precondition",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DataLoss => "data_loss",
            Self::Unauthenticated => "unauthenticated",
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// How far a call got before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The verb certainly did not begin. Said only when it is certain.
    NotStarted {
        /// Whether another replica may answer differently.
        elsewhere: bool,
    },
    /// Nobody knows: the request left, no answer came.
    MayHaveRun,
    /// The verb began, and this is its end.
    Ran,
}

/// What went wrong around a verb.
///
/// `Display` is the message alone; whoever prints it adds code, verb and request.
///
/// ```
/// use ftl_core::{Code, Failure, Fate};
/// let refused = Failure::new(Code::Unavailable, "draining").not_started(true);
/// assert!(refused.may_retry(false), "it certainly did not run");
/// assert!(!refused.passed_on().may_retry(true), "the outer verb did run");
/// let lost = Failure::new(Code::Unavailable, "connection lost");
/// assert_eq!(lost.fate, Fate::MayHaveRun);
/// assert!(lost.may_retry(true) && !lost.may_retry(false));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
#[non_exhaustive]
pub struct Failure {
    /// The class.
    pub code: Code,
    /// One sentence for people.
    pub message: String,
    /// The verb that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<VerbRef>,
    /// The call it was part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// How far the call got.
    pub fate: Fate,
    /// Who answered so, when it was not the callee: `controller`, `runner 41`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// When another attempt may make sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// Structured details, opaque here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Bytes>,
}

impl Failure {
    /// A failure of a call that may have run: the fate to assume until it is known better.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            verb: None,
            request: None,
            fate: Fate::MayHaveRun,
            origin: None,
            retry_after: None,
            details: None,
        }
    }

    /// The same, of a call that certainly did not begin; `elsewhere`: another replica may answer differently.
    #[must_use]
    pub fn not_started(mut self, elsewhere: bool) -> Self {
        self.fate = Fate::NotStarted { elsewhere };
        self
    }

    /// The same, as the end of a verb that did run.
    ///
    /// A verb that hands on the failure of a call it made must use this: it has run itself, whatever became of
    /// its callee, and nobody above may take the failure for "never started".
    #[must_use]
    pub fn passed_on(mut self) -> Self {
        self.fate = Fate::Ran;
        self
    }

    /// The same, naming the verb and the call, where they are not named yet.
    #[must_use]
    pub fn of_call(mut self, verb: &VerbRef, request: &RequestId) -> Self {
        self.verb.get_or_insert_with(|| verb.clone());
        self.request.get_or_insert_with(|| request.clone());
        self
    }

    /// The same, naming who answered so, where nobody is named yet.
    #[must_use]
    pub fn from_origin(mut self, origin: impl Into<String>) -> Self {
        self.origin.get_or_insert_with(|| origin.into());
        self
    }

    /// Whether the call may be tried again.
    #[must_use]
    pub fn may_retry(&self, idempotent: bool) -> bool {
        match self.fate {
            Fate::NotStarted { elsewhere } => elsewhere,
            Fate::MayHaveRun => idempotent,
            Fate::Ran => false,
        }
    }
}

/// Why a call has no reply: the verb's own error, or a failure around it.
///
/// `E` is the verb's error type at the two ends, and [`Body`] on every joint between them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E = Body> {
    /// The verb ran and returned its error.
    #[error("the verb returned its error")]
    Verb(#[source] E),
    /// The call failed.
    #[error("the call failed")]
    Failed(#[from] Failure),
}

/// Between the two ends of a call nobody can read the verb's error, so it is no source there.
impl std::error::Error for CallError<Body> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Verb(_) => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}

impl<E> CallError<E> {
    /// The same with the verb's error changed.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> CallError<F> {
        match self {
            Self::Verb(error) => CallError::Verb(change(error)),
            Self::Failed(failure) => CallError::Failed(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_those_of_grpc() {
        for (index, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.number()), index + 1);
            assert_eq!(Code::from_number(code.number()), code);
            assert_eq!(serde_json::to_string(&code).unwrap(), format!("\"{}\"", code.name()));
        }
        assert_eq!(Code::from_number(0), Code::Unknown);
        assert_eq!(Code::from_number(200), Code::Unknown);
    }

    #[test]
    fn a_failure_is_found_among_the_causes_of_any_call_error() {
        fn cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
            error.source().map(ToString::to_string)
        }
        let failure = || Failure::new(Code::Unavailable, "no replica");
        assert_eq!(cause(&CallError::<Body>::Failed(failure())).as_deref(), Some("no replica"));
        assert_eq!(cause(&CallError::<std::fmt::Error>::Failed(failure())).as_deref(), Some("no replica"));
        assert!(
            cause(&CallError::Verb(std::fmt::Error)).is_some(),
            "the verb's own error, where it can be read"
        );
        assert!(cause(&CallError::Verb(Body::once("{}"))).is_none());
    }

    #[test]
    fn what_is_known_is_not_overwritten() {
        let first: VerbRef = "clock.now".parse().unwrap();
        let second: VerbRef = "greeter.hello".parse().unwrap();
        let request: RequestId = "r-1".parse().unwrap();
        let failure = Failure::new(Code::NotFound, "x").of_call(&first, &request).of_call(&second, &request);
        assert_eq!(failure.verb, Some(first));
    }
}
