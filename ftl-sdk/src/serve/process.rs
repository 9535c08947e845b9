//! The verbs of a process as services: what comes in from the Runner, and what its own verbs call.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use async_trait::async_trait;
use ftl_core::name::nearest;
use ftl_core::schema::Visibility;
use ftl_core::sequence::{self, Actor, Event};
use ftl_core::{Body, Call, CallError, Code, Failure, Head, Reply, VerbService};
use ftl_wire::{Dispatch, HeadRef, Route};
use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, debug, error, error_span};

use super::blocking::Watched;
use crate::context::Context;
use crate::module::Module;
use crate::param::Incoming;
use crate::verb::Definition;

/// The verbs of a process, and the way out of it. As a [`VerbService`] it is what its own verbs call.
pub(super) struct Process {
    verbs: HashMap<&'static str, HashMap<&'static str, &'static Definition>>,
    watched: Arc<Watched>,
    /// The Runner; set once, right after the handshake.
    up: SetOnce<Arc<dyn VerbService>>,
    /// Itself, for the verbs that it runs.
    this: Weak<Self>,
}

impl Process {
    pub(super) fn new(modules: &[Module], watched: Arc<Watched>) -> Arc<Self> {
        let verbs_of = |module: &Module| module.verbs().iter().map(|verb| (verb.name, *verb)).collect();
        let verbs = modules.iter().map(|module| (module.name(), verbs_of(module))).collect();
        Arc::new_cyclic(|this| Self { verbs, watched, up: SetOnce::new(), this: this.clone() })
    }

    /// Tells the way to everything that is not in this process.
    pub(super) fn connect(&self, up: Arc<dyn VerbService>) {
        // Called once: a process has one connection.
        let _ = self.up.set(up);
    }

    async fn run(&self, call: Call) -> Result<Reply, CallError> {
        let Call { head, body, .. } = call;
        let (target, request) = (head.target.clone(), head.request.clone());
        let span = error_span!(target: super::logging::CALL_TARGET, "call", %request, verb = %target);
        let ended = match self.find(&head) {
            Ok(verb) => self.execute(verb, head, body).instrument(span).await,
            Err(failure) => Err(failure.not_started(false).into()),
        };
        match ended {
            Ok(body) => Ok(Reply::new(body)),
            Err(CallError::Failed(failure)) => Err(failure.of_call(&target, &request).into()),
            Err(verb) => Err(verb),
        }
    }

    fn find(&self, head: &Head) -> Result<&'static Definition, Failure> {
        let (module, name) = (head.target.module.as_str(), head.target.verb.as_str());
        let Some(verbs) = self.verbs.get(module) else {
            let message = format!("the module `{module}` is not served here");
            return Err(Failure::new(Code::NotFound, message));
        };
        let Some(verb) = verbs.get(name).copied() else {
            let hint = nearest(name, verbs.keys().copied()).map(|name| format!("; did you mean `{name}`?"));
            let message = format!("module `{module}` has no verb `{name}`{}", hint.unwrap_or_default());
            return Err(Failure::new(Code::NotFound, message));
        };
        let from_elsewhere = head.caller.as_ref().is_some_and(|caller| caller.module != head.target.module);
        if verb.visibility == Visibility::Module && from_elsewhere {
            let message =
                format!("`{}` is private to its module: mark it `pub` to let others call it", head.target);
            return Err(Failure::new(Code::PermissionDenied, message));
        }
        Ok(verb)
    }

    async fn execute(&self, verb: &'static Definition, head: Head, body: Body) -> Result<Body, CallError> {
        let (target, request, deadline) = (head.target.clone(), head.request.clone(), head.deadline);
        let Some(outward) = self.this.upgrade() else {
            return Err(Failure::new(Code::Unavailable, "the process is ending").not_started(true).into());
        };
        debug!("called");
        let incoming = Incoming::new(Context::of(head), body, outward);
        let running = (verb.run)(incoming);
        let ended = if verb.blocking {
            timeout_at(deadline, caught(elsewhere(running.instrument(Span::current())))).await
        } else {
            timeout_at(deadline, caught(self.watched.watch(target.clone(), request, running))).await
        };
        match ended {
            Ok(Ok(result)) => {
                if let Err(CallError::Failed(failure)) = &result
                    && failure.code == Code::Internal
                {
                    error!("failed: {failure}");
                }
                result
            }
            Ok(Err(_)) => {
                let message = format!("the verb `{target}` panicked; its log says where");
                Err(Failure::new(Code::Internal, message).passed_on().into())
            }
            Err(_) => {
                error!("stopped at its deadline");
                let message = format!("the verb `{target}` did not answer before the deadline");
                Err(Failure::new(Code::DeadlineExceeded, message).passed_on().into())
            }
        }
    }
}

/// Runs a future on a thread where it may block. It runs to its end even when nobody waits any more.
async fn elsewhere<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = Handle::current();
    match spawn_blocking(move || runtime.block_on(future)).await {
        Ok(value) => value,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Not a panic: the runtime is ending, and with it whoever waits for this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs a future to its end or its panic, which ends nothing else.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // After a panic the future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Process {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        if self.verbs.contains_key(call.head.target.module.as_str()) {
            return self.run(call).await;
        }
        match timeout_at(call.head.deadline, self.up.wait()).await {
            Ok(up) => up.call(call).await,
            Err(_) => {
                let message = "the runner did not answer before the deadline";
                Err(Failure::new(Code::DeadlineExceeded, message).not_started(false).into())
            }
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("verbs", &self.verbs).finish_non_exhaustive()
    }
}

/// What is outside of a process that is alone.
#[derive(Debug)]
pub(super) struct Nowhere;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Nowhere {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let message = format!("the module `{}` is not in this process", call.head.target.module);
        Err(Failure::new(Code::NotFound, message).not_started(false).into())
    }
}

/// Calls that come from the Runner: they end here, whatever they name.
#[derive(Debug)]
pub(super) struct Inward(pub(super) Arc<Process>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Inward {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.0.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.0.run(call).await
    }
}

/// Hands every call of the connection to [`Inward`].
#[derive(Debug)]
pub(super) struct Doorway(pub(super) Arc<dyn VerbService>);

impl Dispatch for Doorway {
    fn dispatch(&self, head: &HeadRef<'_>) -> Route {
        if sequence::recording() {
            Event::new(Actor::Runner, Actor::Deployment, "Call", "reply", head.target()).record();
        }
        Route::Serve(self.0.clone())
    }
}
