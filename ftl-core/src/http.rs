//! How the Controller looks over HTTP: paths, headers, statuses and the small documents around the core's own types.
//!
//! Shared by the one who serves it and the one who speaks it, so that neither can drift. No I/O here. Bodies are the
//! serde forms of the core's types; a call's body is the verb's own JSON.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::failure::Code;
use crate::key::{ChangeId, DeploymentId};

/// The version of this interface. A Controller refuses a request of another version
/// ([`ControllerError::Incompatible`](crate::ControllerError::Incompatible)).
pub const API_VERSION: u32 = 1;

/// Carries [`API_VERSION`]; may be missing.
pub const API_HEADER: &str = "ftl-api";
/// Carries the id of a call, in both directions.
pub const REQUEST_HEADER: &str = "ftl-request";
/// Carries the milliseconds that the caller will wait for a call.
pub const TIMEOUT_HEADER: &str = "ftl-timeout-ms";
/// Carries a call's idempotency key.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";
/// Carries the number of bytes that an upload announces.
pub const SIZE_HEADER: &str = "ftl-size";
/// Says what a body is: see [`Outcome`].
pub const OUTCOME_HEADER: &str = "ftl-outcome";

/// `GET`: answers when the Controller could take a call. Needs no token.
pub const HEALTH: &str = "/v1/health";
/// `POST` [`Digests`] ⇒ [`MissingDigests`].
pub const ARTEFACT_DIFFS: &str = "/v1/artefacts/diffs";
/// `PUT …/{digest}`: the bytes ⇒ [`Stored`].
pub const ARTEFACTS: &str = "/v1/artefacts";
/// `POST` a [`DeploymentSpec`](crate::DeploymentSpec) ⇒ [`Made`]; `GET …/{id}` ⇒ a
/// [`DeploymentInfo`](crate::DeploymentInfo).
pub const DEPLOYMENTS: &str = "/v1/deployments";
/// `POST` a [`ChangeSpec`](crate::controller::ChangeSpec) ⇒ [`Started`]; `GET …/{id}?newer_than=N` ⇒ a
/// [`ChangeStatus`](crate::controller::ChangeStatus).
pub const CHANGES: &str = "/v1/changes";
/// `GET` ⇒ a list of [`ModuleStatus`](crate::controller::ModuleStatus).
pub const MODULES: &str = "/v1/modules";
/// `GET` ⇒ a list of [`Module`](crate::schema::Module).
pub const SCHEMAS: &str = "/v1/schemas";
/// `GET ?module=M&tail=N&follow=B` ⇒ [`LogLine`](crate::controller::LogLine)s, one JSON object a line.
pub const LOGS: &str = "/v1/logs";
/// `POST …/{module}/{verb}`: the request's JSON ⇒ the reply's.
pub const CALL: &str = "/v1/call";

/// What the body of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What was asked for.
    Ok,
    /// The error that the verb returned.
    VerbError,
    /// A [`Failure`](crate::Failure).
    Failure,
    /// A [`ControllerError`](crate::ControllerError).
    Refused,
}

impl Outcome {
    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::VerbError => "verb-error",
            Self::Failure => "failure",
            Self::Refused => "refused",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ok, Self::VerbError, Self::Failure, Self::Refused]
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
    }
}

/// The HTTP status of a verb's own error: the request was understood, and this is its answer.
pub const VERB_ERROR_STATUS: u16 = 422;

/// The HTTP status of a failure, as Connect maps them.
///
/// ```
/// use ftl_core::{Code, http::status};
/// assert_eq!([status(Code::NotFound), status(Code::DeadlineExceeded)], [404, 504]);
/// ```
#[must_use]
pub fn status(code: Code) -> u16 {
    match code {
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unauthenticated => 401,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    }
}

/// Which artefacts somebody is about to deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Their digests.
    pub digests: Vec<Digest>,
}

/// Those that are not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingDigests {
    /// Their digests.
    pub missing_digests: Vec<Digest>,
}

/// An artefact that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
}

/// A deployment that is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its id.
    pub id: DeploymentId,
}

/// A change that is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its id.
    pub id: ChangeId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_names_and_statuses_are_errors() {
        for outcome in [Outcome::Ok, Outcome::VerbError, Outcome::Failure, Outcome::Refused] {
            assert_eq!(Outcome::from_name(outcome.as_str()), Some(outcome));
        }
        assert!(Code::ALL.into_iter().all(|code| (400..600).contains(&status(code))));
    }
}
