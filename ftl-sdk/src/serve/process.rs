//! The verbs of a process as services: what comes in from the Runner, and what its own verbs call.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::Poll;

use async_trait::async_trait;
use ftl_core::name::nearest;
use ftl_core::schema::Visibility;
use ftl_core::sequence::{self, Actor, Event};
use ftl_core::{Body, Call, CallError, Code, Failure, Reply, VerbService};
use ftl_wire::{Dispatch, HeadRef, Route};
use tokio::runtime::Handle;
use tokio::sync::SetOnce;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, error};

use super::current::{During, during};
use crate::context::Context;
use crate::module::Module;
use crate::param::Incoming;
use crate::verb::{Definition, Running};

/// The end of a call, as a [`VerbService`] answers it.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<Reply, CallError>> + Send + 'a>>;

/// The verbs of a process, and the way out of it. As a [`VerbService`] it is what its own verbs call.
pub(super) struct Process {
    verbs: BTreeMap<&'static str, BTreeMap<&'static str, &'static Definition>>,
    /// The Runner; set once, right after the handshake.
    up: SetOnce<Arc<dyn VerbService>>,
    /// Itself, for the verbs that it runs.
    this: Weak<Self>,
}

impl Process {
    pub(super) fn new(modules: &[Module]) -> Arc<Self> {
        let verbs_of = |module: &Module| module.verbs().iter().map(|verb| (verb.name, *verb)).collect();
        let verbs = modules.iter().map(|module| (module.name(), verbs_of(module))).collect();
        Arc::new_cyclic(|this| Self { verbs, up: SetOnce::new(), this: this.clone() })
    }

    /// Tells the way to everything that is not in this process.
    pub(super) fn connect(&self, up: Arc<dyn VerbService>) {
        // Called once: a process has one connection.
        let _ = self.up.set(up);
    }

    /// Runs a verb. Its future is small and made only once: what it holds is shared or in a box.
    fn run(&self, call: Call) -> Answering<'static> {
        let Call { head, body, .. } = call;
        let context = Context::of(head);
        match self.start(&context, body) {
            Ok(running) => Box::pin(execute(context, running)),
            Err(failure) => {
                let failure = failure.of_call(context.verb(), context.request_id());
                Box::pin(ready(Err(failure.into())))
            }
        }
    }

    fn start(&self, context: &Context, body: Body) -> Result<Running, Failure> {
        let verb = self.find(context).map_err(|failure| failure.not_started(false))?;
        let Some(outward) = self.this.upgrade() else {
            return Err(Failure::new(Code::Unavailable, "the process is ending").not_started(true));
        };
        if tracing::enabled!(tracing::Level::DEBUG) {
            during(context, || debug!("called"));
        }
        let running = (verb.run)(Incoming::new(context.clone(), body, outward));
        if verb.blocking {
            return Ok(Box::pin(elsewhere(During::new(context.clone(), running))));
        }
        Ok(running)
    }

    fn find(&self, context: &Context) -> Result<&'static Definition, Failure> {
        let target = context.verb();
        let (module, name) = (target.module.as_str(), target.verb.as_str());
        let Some(verbs) = self.verbs.get(module) else {
            let message = format!("the module `{module}` is not served here");
            return Err(Failure::new(Code::NotFound, message));
        };
        let Some(verb) = verbs.get(name).copied() else {
            let hint = nearest(name, verbs.keys().copied()).map(|name| format!("; did you mean `{name}`?"));
            let message = format!("module `{module}` has no verb `{name}`{}", hint.unwrap_or_default());
            return Err(Failure::new(Code::NotFound, message));
        };
        let from_elsewhere = context.caller().is_some_and(|caller| caller.module != target.module);
        if verb.visibility == Visibility::Module && from_elsewhere {
            let message = format!("`{target}` is private to its module: mark it `pub` to let others call it");
            return Err(Failure::new(Code::PermissionDenied, message));
        }
        Ok(verb)
    }
}

/// What a verb panicked with.
type Panic = Box<dyn Any + Send>;

/// Takes a verb to its end, or to its deadline.
async fn execute(context: Context, running: Running) -> Result<Reply, CallError> {
    let deadline = Instant::from_std(context.deadline());
    match in_time(deadline, caught(During::new(context.clone(), running))).await {
        Some(Ok(Ok(body))) => Ok(Reply::new(body)),
        Some(Ok(Err(CallError::Verb(error)))) => Err(CallError::Verb(error)),
        Some(Ok(Err(CallError::Failed(failure)))) => Err(failed(&context, Some(Ok(failure)))),
        Some(Err(panic)) => Err(failed(&context, Some(Err(panic)))),
        None => Err(failed(&context, None)),
    }
}

/// Logs how a verb failed, and says it.
fn failed(context: &Context, how: Option<Result<Failure, Panic>>) -> CallError {
    let verb = context.verb();
    let failure = during(context, || match how {
        Some(Ok(failure)) => {
            if failure.code == Code::Internal {
                error!("failed: {failure}");
            }
            failure
        }
        Some(Err(_)) => {
            let message = format!("the verb `{verb}` panicked; its log says where");
            Failure::new(Code::Internal, message).passed_on()
        }
        None => {
            error!("stopped at its deadline");
            let message = format!("the verb `{verb}` did not answer before the deadline");
            Failure::new(Code::DeadlineExceeded, message).passed_on()
        }
    });
    failure.of_call(verb, context.request_id()).into()
}

/// Waits for a future until then. Most verbs end when they are polled first, so the timer is made for those that do not.
async fn in_time<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = None;
    poll_fn(|context| {
        if let Poll::Ready(ended) = future.as_mut().poll(context) {
            return Poll::Ready(Some(ended));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(context).map(|()| None)
    })
    .await
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
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
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

    // Written out, because the macro's future would carry the call once more.
    fn call<'life0, 'async_trait>(&'life0 self, call: Call) -> Answering<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.0.run(call)
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
