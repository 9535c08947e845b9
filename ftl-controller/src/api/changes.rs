//! What operators ask: changes, and how things stand.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use ftl_core::controller::ChangeSpec;
use ftl_core::http::Started;
use ftl_core::key::ChangeId;
use ftl_core::sequence::{Actor, Event};
use serde::Deserialize;

use super::Shared;
use super::answer::{Document, Query, Refusal, ok, part};

#[derive(Debug, Deserialize)]
pub(super) struct NewerThan {
    #[serde(default)]
    newer_than: u64,
}

pub(super) async fn apply(
    State(operator): State<Shared>,
    Document(change): Document<ChangeSpec>,
) -> Result<Response, Refusal> {
    let modules: Vec<&str> = change.wanted.iter().map(|wanted| wanted.deployment.module().as_str()).collect();
    Event::new(Actor::Client, Actor::Controller, "Apply", "id", &modules.join(" ")).record();
    Ok(ok(&Started { id: operator.apply(change).await? }))
}

pub(super) async fn status(
    State(operator): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<NewerThan>,
) -> Result<Response, Response> {
    let id = ChangeId(part("id", &id)?);
    let status = operator.change_status(id, query.newer_than).await;
    status.map(|status| ok(&status)).map_err(|error| Refusal(error).into_response())
}

pub(super) async fn modules(State(operator): State<Shared>) -> Result<Response, Refusal> {
    Ok(ok(&operator.status().await?))
}

pub(super) async fn schemas(State(operator): State<Shared>) -> Result<Response, Refusal> {
    Ok(ok(&operator.schemas().await?))
}
