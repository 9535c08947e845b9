//! The Controller over HTTP: any [`Operator`] is served, so this knows nothing of how one works.
//!
//! Two listeners. *admin* answers those who show the token, with everything of [`ftl_core::http`]. *ingress* answers
//! anybody, with nothing but calls of verbs that are marked `public`.

mod answer;
mod auth;
mod calls;
mod changes;
mod deployments;
mod logs;
mod public;
mod server;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use ftl_core::Operator;
use ftl_core::http::{ARTEFACT_DIFFS, ARTEFACTS, CALL, CHANGES, DEPLOYMENTS, HEALTH, LOGS, MODULES, SCHEMAS};

pub(crate) use auth::Token;
pub(crate) use public::Public;
pub(crate) use server::serve;

/// Largest document that is no call and no artefact, in bytes: a deployment of ten thousand files fits.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// What every handler may use.
pub(crate) type Shared = Arc<dyn Operator>;

/// Everything, for those who show the token.
pub(crate) fn admin(operator: Shared, token: Token) -> Router {
    let artefacts = Router::new()
        .route(&format!("{ARTEFACTS}/{{digest}}"), put(deployments::upload))
        .layer(DefaultBodyLimit::disable());
    let documents = Router::new()
        .route(ARTEFACT_DIFFS, post(deployments::diffs))
        .route(DEPLOYMENTS, post(deployments::create))
        .route(&format!("{DEPLOYMENTS}/{{id}}"), get(deployments::get))
        .route(CHANGES, post(changes::apply))
        .route(&format!("{CHANGES}/{{id}}"), get(changes::status))
        .route(MODULES, get(changes::modules))
        .route(SCHEMAS, get(changes::schemas))
        .route(LOGS, get(logs::stream))
        .layer(DefaultBodyLimit::max(DOCUMENT_BYTES_MAX));
    Router::new()
        .merge(artefacts)
        .merge(documents)
        .merge(calls::routes().with_state(operator.clone()))
        .layer(from_fn_with_state(token, auth::check))
        .route(HEALTH, get(calls::health))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .with_state(operator)
}

/// Calls of public verbs, for anybody.
pub(crate) fn ingress(public: Public) -> Router {
    calls::routes()
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .with_state(Arc::new(public))
}

/// The path of a call, for both listeners.
fn call_path() -> String {
    format!("{CALL}/{{module}}/{{verb}}")
}
