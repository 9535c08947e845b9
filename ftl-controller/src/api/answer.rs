//! How answers and refusals look: the status, the outcome header and the body.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ftl_core::http::{OUTCOME_HEADER, Outcome, VERB_ERROR_STATUS, status};
use ftl_core::{Code, ControllerError, Failure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An answer of JSON text.
fn json(status: u16, outcome: Outcome, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    // Every status here is one of a few constants below 600.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(OUTCOME_HEADER, HeaderValue::from_static(outcome.as_str()));
    response
}

/// What was asked for.
pub(super) fn ok(document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(bytes) => json(200, Outcome::Ok, bytes),
        Err(error) => failure(&Failure::new(Code::Internal, format!("the answer has no JSON form: {error}"))),
    }
}

/// A verb's reply.
pub(super) fn reply(body: Bytes) -> Response {
    json(200, Outcome::Ok, body)
}

/// A verb's own error.
pub(super) fn verb_error(body: Bytes) -> Response {
    json(VERB_ERROR_STATUS, Outcome::VerbError, body)
}

/// A failure around a verb.
pub(super) fn failure(failure: &Failure) -> Response {
    json(status(failure.code), Outcome::Failure, serde_json::to_vec(failure).unwrap_or_default())
}

/// A refusal of the Controller's.
pub(super) struct Refusal(pub(super) ControllerError);

impl From<ControllerError> for Refusal {
    fn from(error: ControllerError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = match &self.0 {
            ControllerError::Failed(inner) => return failure(inner),
            ControllerError::NotFound { .. } => Code::NotFound,
            ControllerError::MissingArtefacts(_) | ControllerError::Incompatible(_) => {
                Code::FailedPrecondition
            }
            ControllerError::Stale | ControllerError::Gone | ControllerError::Conflict(_) => Code::Aborted,
            ControllerError::Denied(_) => Code::PermissionDenied,
            ControllerError::Unauthenticated(_) => Code::Unauthenticated,
            ControllerError::Store(_) => Code::Internal,
            _ => Code::InvalidArgument,
        };
        json(status(code), Outcome::Refused, serde_json::to_vec(&self.0).unwrap_or_default())
    }
}

/// A body that holds a document.
pub(super) struct Document<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Document<T> {
    type Rejection = Response;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Response> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| failure(&unread(&rejection)))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| invalid("body", error.to_string()))
    }
}

/// Why a body could not be taken.
pub(super) fn unread(rejection: &BytesRejection) -> Failure {
    match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Failure::new(Code::ResourceExhausted, "the body is larger than this path takes")
        }
        other => Failure::new(Code::InvalidArgument, format!("the body did not arrive whole: {other}")),
    }
    .not_started(false)
}

/// A part of the path that must be of a type.
pub(super) fn part<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Response> {
    text.parse().map_err(|error| invalid(name, format!("`{text}`: {error}")))
}

/// The query of the request, as a document.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Query<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(read)| Self(read)).map_err(|error| invalid("query", error.body_text()))
    }
}

/// A field of the request is wrong.
pub(super) fn invalid(field: &str, message: impl Into<String>) -> Response {
    let error = ControllerError::Invalid { field: field.to_owned(), message: message.into() };
    Refusal(error).into_response()
}

pub(super) async fn no_such_path(uri: axum::http::Uri) -> Response {
    let hint = Some("the paths begin with /v1/; docs/http.md lists them".to_owned());
    let name = uri.path().chars().take(100).collect();
    Refusal(ControllerError::NotFound { what: "path".to_owned(), name, hint }).into_response()
}

pub(super) async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> Response {
    let path: String = uri.path().chars().take(100).collect();
    invalid("method", format!("{path} does not take {method}; docs/http.md lists the paths"))
}
