//! A Deployment made of closures.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};

use crate::call::{Call, Reply, VerbService};
use crate::deployment::Deployment;
use crate::failure::{CallError, Code, Failure};
use crate::name::{NameError, VerbName};
use crate::schema::{Module, Verb};
use crate::sequence::{Actor, Event};

type Answer = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send>>;
type Handler = Arc<dyn Fn(Call, Arc<dyn VerbService>) -> Answer + Send + Sync>;

/// User code of one module: its schema, and a closure for each verb.
///
/// A closure gets the call, and the way up for calls of its own.
#[derive(Clone)]
pub struct UserCode {
    schema: Module,
    handlers: HashMap<VerbName, Handler>,
    up: Option<Arc<dyn VerbService>>,
    draining: Arc<AtomicBool>,
}

impl UserCode {
    /// A module without verbs.
    ///
    /// # Errors
    /// When `name` is no module name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let schema = Module::new(name.parse()?);
        Ok(Self { schema, handlers: HashMap::new(), up: None, draining: Arc::default() })
    }

    /// With this verb.
    #[must_use]
    pub fn with_verb<F, A>(mut self, verb: Verb, handler: F) -> Self
    where
        F: Fn(Call, Arc<dyn VerbService>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Reply, CallError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call, up| Box::pin(handler(call, up)));
        self.handlers.insert(verb.name.clone(), handler);
        self.schema.verbs.push(verb);
        self.schema.verbs.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// One running copy, whose own calls leave through `up`.
    #[must_use]
    pub fn start(&self, up: Arc<dyn VerbService>) -> Self {
        Self { up: Some(up), draining: Arc::default(), ..self.clone() }
    }

    async fn run(&self, call: Call) -> Result<Reply, CallError> {
        let refused = |code, message: String| Failure::new(code, message).not_started(false);
        if self.draining.load(Ordering::Relaxed) {
            return Err(Failure::new(Code::Unavailable, "draining").not_started(true).into());
        }
        let Some(handler) = self.handlers.get(&call.head.target.verb) else {
            let message = format!("module `{}` has no verb `{}`", self.schema.name, call.head.target.verb);
            return Err(refused(Code::NotFound, message).into());
        };
        let Some(up) = self.up.clone() else {
            return Err(refused(Code::Unavailable, "this user code is not started".to_owned()).into());
        };
        let deadline = call.head.deadline;
        match timeout_at(deadline, handler(call, up)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(Code::DeadlineExceeded, "the verb did not end in time").into()),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for UserCode {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        Event::new(Actor::Runner, Actor::Deployment, "Call", "reply", &call.head.target.to_string()).record();
        self.run(call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Deployment for UserCode {
    fn schema(&self) -> &Module {
        &self.schema
    }

    async fn drain(&self, _deadline: Instant) -> Result<(), Failure> {
        self.draining.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserCode").field("module", &self.schema.name).finish_non_exhaustive()
    }
}
