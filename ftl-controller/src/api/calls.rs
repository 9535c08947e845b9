//! Calls from outside: one request id from here to the last deployment.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use ftl_core::call::{BODY_BYTES_MAX, CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX};
use ftl_core::http::{IDEMPOTENCY_HEADER, REQUEST_HEADER, TIMEOUT_HEADER};
use ftl_core::name::{ModuleName, RESERVED_MODULE, RequestId, VerbRef, nearest};
use ftl_core::schema::Visibility;
use ftl_core::sequence::{Actor, Event};
use ftl_core::{Body, Call, CallError, Code, Failure, Head};
use tokio::time::Instant;

use super::answer::{failure, reply, unread, verb_error};
use super::{Shared, call_path};

/// How long a ping of the Controller itself may take.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Who may call what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Every verb that is not private to its module.
    Operators,
    /// Verbs that are marked `public`.
    Public,
}

pub(super) fn routes(audience: Audience) -> Router<Shared> {
    let handler = move |operator, path, headers, body| call(audience, operator, path, headers, body);
    Router::new().route(&call_path(), post(handler)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

pub(super) async fn health(State(operator): State<Shared>) -> Response {
    match operator.ping(Instant::now() + PING_TIMEOUT).await {
        Ok(()) => reply(Bytes::from_static(b"{}")),
        Err(error) => failure(&error),
    }
}

async fn call(
    audience: Audience,
    State(operator): State<Shared>,
    Path((module, verb)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let request = match request_id(&headers) {
        Ok(request) => request,
        Err(refused) => return failure(&refused),
    };
    let answered = match head(&module, &verb, &headers, request.clone()) {
        Ok(head) => carry(audience, &operator, head, body).await,
        Err(mut refused) => {
            refused.request = Some(request.clone());
            failure(&refused)
        }
    };
    with_request(answered, &request)
}

async fn carry(
    audience: Audience,
    operator: &Shared,
    head: Head,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return failure(&unread(&rejection).of_call(&head.target, &head.request)),
    };
    if audience == Audience::Public
        && let Err(refused) = must_be_public(operator, &head.target).await
    {
        return failure(&refused.of_call(&head.target, &head.request));
    }
    Event::new(Actor::Client, Actor::Controller, "Call", "reply", &head.target.to_string()).record();
    tracing::debug!(request = %head.request, verb = %head.target, "a call from outside");
    match operator.call(Call::new(head, Body::once(body))).await {
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
    let mut head = Head::new(target, request, Instant::now() + timeout(headers)?);
    if let Some(key) = headers.get(IDEMPOTENCY_HEADER) {
        let key = key.to_str().unwrap_or_default().parse();
        head.idempotency_key = Some(key.map_err(|error| refuse(format!("{IDEMPOTENCY_HEADER}: {error}")))?);
    }
    Ok(head)
}

fn timeout(headers: &HeaderMap) -> Result<Duration, Failure> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(CALL_TIMEOUT_DEFAULT) };
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(left) => Ok(Duration::from_millis(left).min(CALL_TIMEOUT_MAX)),
        None => Err(refuse(format!("{TIMEOUT_HEADER} must be a number of milliseconds"))),
    }
}

async fn must_be_public(operator: &Shared, target: &VerbRef) -> Result<(), Failure> {
    let schemas =
        operator.schemas().await.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let public =
        schemas.iter().filter(|module| module.name == target.module).flat_map(|module| &module.verbs);
    let public: Vec<&str> =
        public.filter(|verb| verb.visibility == Visibility::Public).map(|verb| verb.name.as_str()).collect();
    if public.contains(&target.verb.as_str()) {
        return Ok(());
    }
    // A verb that is not public is not told from one that does not exist: strangers learn nothing.
    let near = nearest(target.verb.as_str(), public).map(|verb| format!("; did you mean `{verb}`?"));
    let message = format!("no public verb `{target}`{}", near.unwrap_or_default());
    Err(Failure::new(Code::NotFound, message).not_started(false))
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
