//! Calls from outside: one request id from here to the last deployment.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use ftl_core::call::{BODY_BYTES_MAX, CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX};
use ftl_core::http::{IDEMPOTENCY_HEADER, REQUEST_HEADER, TIMEOUT_HEADER};
use ftl_core::name::{ModuleName, RESERVED_MODULE, RequestId, VerbRef};
use ftl_core::sequence::{Actor, Event};
use ftl_core::{Body, Call, CallError, Code, Failure, Head, VerbService};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use super::answer::{failure, reply, unread, verb_error};
use super::{Shared, call_path};

/// How long the body of a call may take to arrive.
const BODY_MAX: Duration = Duration::from_secs(30);
/// How long a ping of the Controller itself may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// What answers calls.
pub(super) type Verbs = Arc<dyn VerbService>;

pub(super) fn routes() -> Router<Verbs> {
    Router::new().route(&call_path(), post(call)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

pub(super) async fn health(State(operator): State<Shared>) -> Response {
    match operator.ping(Instant::now() + PING_TIMEOUT).await {
        Ok(()) => reply(Bytes::from_static(b"{}")),
        Err(error) => failure(&error),
    }
}

async fn call(
    State(verbs): State<Verbs>,
    Path((module, verb)): Path<(String, String)>,
    headers: HeaderMap,
    asked: Request,
) -> Response {
    let body = timeout(BODY_MAX, Bytes::from_request(asked, &())).await;
    let request = match request_id(&headers) {
        Ok(request) => request,
        Err(refused) => return failure(&refused),
    };
    let answered = match head(&module, &verb, &headers, request.clone()) {
        Ok(head) => carry(&verbs, head, body).await,
        Err(mut refused) => {
            refused.request = Some(request.clone());
            failure(&refused)
        }
    };
    with_request(answered, &request)
}

async fn carry(verbs: &Verbs, head: Head, body: Result<Result<Bytes, BytesRejection>, Elapsed>) -> Response {
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(rejection)) => return failure(&unread(&rejection).of_call(&head.target, &head.request)),
        Err(_) => {
            let message = format!("the body did not arrive within {BODY_MAX:?}");
            let late = Failure::new(Code::DeadlineExceeded, message).not_started(false);
            return failure(&late.of_call(&head.target, &head.request));
        }
    };
    Event::new(Actor::Client, Actor::Controller, "Call", "reply", &head.target.to_string()).record();
    tracing::debug!(request = %head.request, verb = %head.target, "a call from outside");
    match verbs.call(Call::new(head, Body::once(body))).await {
        Ok(answer) => reply(answer.body.bytes().clone()),
        Err(CallError::Verb(error)) => verb_error(error.bytes().clone()),
        Err(CallError::Failed(refused)) => failure(&refused),
    }
}

/// The id that the caller gave, or a fresh one.
fn request_id(headers: &HeaderMap) -> Result<RequestId, Failure> {
    let given = match headers.get(REQUEST_HEADER) {
        Some(value) => value.to_str().unwrap_or_default().to_owned(),
        None => uuid::Uuid::now_v7().to_string(),
    };
    given.parse().map_err(|error| refuse(format!("{REQUEST_HEADER}: {error}")))
}

fn head(module: &str, verb: &str, headers: &HeaderMap, request: RequestId) -> Result<Head, Failure> {
    if module == RESERVED_MODULE {
        let message = "the module `ftl` is reserved for control messages and cannot be called";
        return Err(Failure::new(Code::PermissionDenied, message).not_started(false));
    }
    let wrong = |error: ftl_core::name::NameError| refuse(error.to_string());
    let module: ModuleName = module.parse().map_err(wrong)?;
    let target = VerbRef::new(module, verb.parse().map_err(wrong)?);
    let mut head = Head::new(target, request, Instant::now() + time_left(headers)?);
    if let Some(key) = headers.get(IDEMPOTENCY_HEADER) {
        let key = key.to_str().unwrap_or_default().parse();
        head.idempotency_key = Some(key.map_err(|error| refuse(format!("{IDEMPOTENCY_HEADER}: {error}")))?);
    }
    Ok(head)
}

fn time_left(headers: &HeaderMap) -> Result<Duration, Failure> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(CALL_TIMEOUT_DEFAULT) };
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(left) => Ok(Duration::from_millis(left).min(CALL_TIMEOUT_MAX)),
        None => Err(refuse(format!("{TIMEOUT_HEADER} must be a number of milliseconds"))),
    }
}

fn refuse(message: String) -> Failure {
    Failure::new(Code::InvalidArgument, message).not_started(false)
}

fn with_request(mut response: Response, request: &RequestId) -> Response {
    if let Ok(value) = HeaderValue::from_str(request.as_str()) {
        response.headers_mut().insert(REQUEST_HEADER, value);
    }
    response
}
