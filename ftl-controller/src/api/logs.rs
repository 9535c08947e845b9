//! What modules wrote, one JSON object a line, as long as somebody reads.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use ftl_core::ControllerError;
use ftl_core::controller::{LogLine, LogQuery};
use ftl_core::http::{OUTCOME_HEADER, Outcome};
use futures_util::StreamExt;

use super::Shared;
use super::answer::{Query, Refusal};

pub(super) async fn stream(
    State(operator): State<Shared>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let lines = operator.logs(query).await?;
    let mut response = Response::new(Body::from_stream(lines.map(|line| line.and_then(|line| write(&line)))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(OUTCOME_HEADER, HeaderValue::from_static(Outcome::Ok.as_str()));
    Ok(response)
}

fn write(line: &LogLine) -> Result<Bytes, ControllerError> {
    let mut json = serde_json::to_vec(line).map_err(|error| ControllerError::Store(error.to_string()))?;
    json.push(b'\n');
    Ok(Bytes::from(json))
}
