//! What deployers bring: artefacts and deployments.

use std::io;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use ftl_core::http::{Digests, Made, MissingDigests, SIZE_HEADER, Stored};
use ftl_core::key::DeploymentId;
use ftl_core::sequence::{Actor, Event};
use ftl_core::{DeploymentSpec, Digest};
use futures_util::TryStreamExt;

use super::Shared;
use super::answer::{Document, Refusal, invalid, ok, part};

pub(super) async fn diffs(
    State(operator): State<Shared>,
    Document(question): Document<Digests>,
) -> Result<Response, Refusal> {
    let id = format!("{} digests", question.digests.len());
    Event::new(Actor::Client, Actor::Controller, "GetArtefactDiffs", "missing_digests", &id).record();
    Ok(ok(&MissingDigests { missing_digests: operator.get_artefact_diffs(&question.digests).await? }))
}

pub(super) async fn upload(
    State(operator): State<Shared>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(digest) = digest.parse::<Digest>() else {
        return invalid("digest", "expected 64 hexadecimal digits");
    };
    let size = [SIZE_HEADER, header::CONTENT_LENGTH.as_str()].iter().find_map(|name| headers.get(*name));
    let Some(size) = size.and_then(|size| size.to_str().ok()).and_then(|size| size.parse().ok()) else {
        return invalid(SIZE_HEADER, "say how many bytes will come");
    };
    Event::new(Actor::Client, Actor::Controller, "UploadArtefact", "digest", &digest.short()).record();
    let bytes = Box::pin(body.into_data_stream().map_err(io::Error::other));
    match operator.upload_artefact(digest, size, bytes).await {
        Ok(digest) => ok(&Stored { digest }),
        Err(error) => Refusal(error).into_response(),
    }
}

pub(super) async fn create(
    State(operator): State<Shared>,
    Document(spec): Document<DeploymentSpec>,
) -> Result<Response, Refusal> {
    Event::new(Actor::Client, Actor::Controller, "CreateDeployment", "id", spec.schema.name.as_str())
        .record();
    Ok(ok(&Made { id: operator.create_deployment(spec).await? }))
}

pub(super) async fn get(
    State(operator): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Response> {
    let id: DeploymentId = part("id", &id)?;
    match operator.get_deployment(&id).await {
        Ok(info) => Ok(ok(&info)),
        Err(error) => Err(Refusal(error).into_response()),
    }
}
