//! Requests to a Controller, and what its answers mean.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use ftl_core::http::{API_HEADER, API_VERSION, OUTCOME_HEADER, Outcome};
use ftl_core::{Body, CallError, Code, ControllerError, Failure, Secret};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

/// How long a connection may take to be made: the Controller is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that nobody uses is kept: shorter than a Controller keeps it.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How long any answer but a stream may take; a long poll answers within 20 s.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Who says that nothing answered.
const ORIGIN: &str = "client";

/// A Controller that is reached over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the Controller at `url`, with its API token. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when `url` is no `http://` address.
    pub fn new(url: &str, token: &str) -> Result<Self, ControllerError> {
        let invalid = |message: String| ControllerError::Invalid { field: "controller".to_owned(), message };
        if !url.starts_with("http://") {
            return Err(invalid(format!("`{url}` is no address of a Controller: write http://HOST:PORT")));
        }
        // Never through a proxy: the Controller is on this machine.
        let built = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_MAX)
            .build();
        let http = built.map_err(|error| invalid(format!("no HTTP client could be made: {error}")))?;
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { http, base, token: Secret::new(token.as_bytes()) })
    }

    /// Where the Controller answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(String::from_utf8_lossy(self.token.expose()))
            .header(API_HEADER, API_VERSION)
    }

    /// Sends, and reads an answer of a known shape.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ControllerError> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        let bytes = expect_ok(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| unreadable(&error).into())
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.unanswered(&error))
    }

    /// What became of a request that has no answer.
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        if error.is_connect() {
            let message = format!("no controller answers at {}: {}", self.base, root(error));
            return Failure::new(Code::Unavailable, message).not_started(false).from_origin(ORIGIN);
        }
        lost(error)
    }
}

/// The bytes of an answer that is what was asked for.
pub(crate) async fn expect_ok(response: Response) -> Result<Bytes, ControllerError> {
    let (outcome, status) = (outcome(&response), response.status());
    let bytes = response.bytes().await.map_err(|error| lost(&error))?;
    match outcome {
        Some(Outcome::Ok) => Ok(bytes),
        Some(Outcome::Refused) => Err(read_refusal(&bytes)),
        Some(Outcome::Failure) => Err(read_failure(&bytes).into()),
        Some(Outcome::VerbError) | None => Err(foreign(status).into()),
    }
}

/// The answer to a call.
pub(crate) async fn expect_reply(response: Response) -> Result<Bytes, CallError> {
    let (outcome, status) = (outcome(&response), response.status());
    let bytes = response.bytes().await.map_err(|error| lost(&error))?;
    match outcome {
        Some(Outcome::Ok) => Ok(bytes),
        Some(Outcome::VerbError) => Err(CallError::Verb(Body::once(bytes))),
        Some(Outcome::Failure) => Err(read_failure(&bytes).into()),
        Some(Outcome::Refused) => Err(refused_call(read_refusal(&bytes)).into()),
        None => Err(foreign(status).into()),
    }
}

fn outcome(response: &Response) -> Option<Outcome> {
    Outcome::from_name(response.headers().get(OUTCOME_HEADER)?.to_str().ok()?)
}

fn read_refusal(bytes: &[u8]) -> ControllerError {
    serde_json::from_slice(bytes).unwrap_or_else(|error| unreadable(&error).into())
}

fn read_failure(bytes: &[u8]) -> Failure {
    serde_json::from_slice(bytes).unwrap_or_else(|error| unreadable(&error))
}

/// A refusal of the Controller's, as the failure of a call that therefore did not start.
fn refused_call(error: ControllerError) -> Failure {
    let code = match &error {
        ControllerError::Failed(failure) => return failure.clone(),
        ControllerError::NotFound { .. } => Code::NotFound,
        ControllerError::Unauthenticated(_) => Code::Unauthenticated,
        ControllerError::Denied(_) => Code::PermissionDenied,
        ControllerError::Incompatible(_) => Code::FailedPrecondition,
        _ => Code::InvalidArgument,
    };
    Failure::new(code, error.to_string()).not_started(false)
}

fn unreadable(error: &serde_json::Error) -> Failure {
    let message = format!("the Controller's answer cannot be read: {error}; are both of one version?");
    Failure::new(Code::Internal, message)
}

fn foreign(status: reqwest::StatusCode) -> Failure {
    let message = format!("what answers there is no FTL Controller (HTTP status {status})");
    Failure::new(Code::FailedPrecondition, message).not_started(false)
}

pub(crate) fn lost(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        overdue()
    } else {
        Failure::new(Code::Unavailable, format!("the connection to the Controller broke: {}", root(error)))
    }
}

/// No answer came, or nothing more of one.
pub(crate) fn overdue() -> Failure {
    Failure::new(Code::DeadlineExceeded, "the Controller did not answer in time")
}

/// The innermost cause: what the system said.
fn root(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    match error.source() {
        Some(_) => innermost.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_is_spoken() {
        for wrong in ["https://a", "127.0.0.1:8892", ""] {
            assert!(matches!(Client::new(wrong, "t"), Err(ControllerError::Invalid { .. })), "{wrong}");
        }
        let client = Client::new("http://127.0.0.1:1/", "hunter2").unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:1");
        assert!(!format!("{client:?}").contains("hunter2"));
    }
}
