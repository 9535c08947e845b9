//! What strangers may call: verbs that are marked `public`, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::name::{VerbRef, nearest};
use ftl_core::routing::Router;
use ftl_core::schema::{Module, Visibility};
use ftl_core::{Call, CallError, Code, Failure, Reply, VerbService};
use ftl_wire::Connection;
use tokio::time::Instant;

/// Calls of public verbs.
#[derive(Debug)]
pub(crate) struct Public(Arc<Router<Connection>>);

impl Public {
    pub(crate) fn new(router: Arc<Router<Connection>>) -> Self {
        Self(router)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Public {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.0.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let (target, request) = (&call.head.target, &call.head.request);
        let module = self.0.await_schema(target.module.as_str(), call.head.deadline).await;
        check(module.as_deref(), target).map_err(|failure| failure.of_call(target, request))?;
        self.0.call(call).await
    }
}

fn check(module: Option<&Module>, target: &VerbRef) -> Result<(), Failure> {
    let verbs = module.into_iter().flat_map(|module| &module.verbs);
    let public = verbs.filter(|verb| verb.visibility == Visibility::Public);
    let public: Vec<&str> = public.map(|verb| verb.name.as_str()).collect();
    if public.contains(&target.verb.as_str()) {
        return Ok(());
    }
    // A verb that is not public is not told from one that does not exist: strangers learn nothing.
    let near = nearest(target.verb.as_str(), public).map(|verb| format!("; did you mean `{verb}`?"));
    let message = format!("no public verb `{target}`{}", near.unwrap_or_default());
    Err(Failure::new(Code::NotFound, message).not_started(false))
}
