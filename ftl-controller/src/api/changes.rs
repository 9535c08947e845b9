//! What operators ask: changes, and how things stand.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use ftl_core::controller::ChangeSpec;
use ftl_core::http::Started;
use ftl_core::key::ChangeId;
use ftl_core::sequence::{Actor, Event};
use serde::Deserialize;

use super::Shared;
use super::answer::{Document, Refusal, ok};

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
    Path(id): Path<u64>,
    Query(query): Query<NewerThan>,
) -> Result<Response, Refusal> {
    Ok(ok(&operator.change_status(ChangeId(id), query.newer_than).await?))
}

pub(super) async fn modules(State(operator): State<Shared>) -> Result<Response, Refusal> {
    Ok(ok(&operator.status().await?))
}

pub(super) async fn schemas(State(operator): State<Shared>) -> Result<Response, Refusal> {
    Ok(ok(&operator.schemas().await?))
}
