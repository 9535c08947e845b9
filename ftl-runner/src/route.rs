//! Who answers which call: from the Controller down to the user code, and from the user code up.

use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::name::RESERVED_MODULE;
use ftl_core::runner::Report;
use ftl_core::schema::{CallEdges, Module};
use ftl_core::sequence::{self, Actor, Event};
use ftl_core::{Call, CallError, Code, Failure, Reply, VerbService, remote};
use ftl_wire::{Connection, Dispatch, HeadRef, Route, Stamp};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::agent::{Agent, Orders};
use crate::control::Link;

fn is_control(target: &str) -> bool {
    target.split_once('.').is_some_and(|(module, _)| module == RESERVED_MODULE)
}

/// What comes from the Controller: its orders, and calls for the user code.
#[derive(Debug)]
pub(crate) struct Downward {
    agent: Arc<Agent>,
    orders: Arc<dyn VerbService>,
}

impl Downward {
    pub(crate) fn new(agent: Arc<Agent>) -> Self {
        let orders = remote::serve_runner(Arc::new(Orders(agent.clone())));
        Self { agent, orders }
    }

    fn refuse(&self, head: &HeadRef<'_>) -> Option<Failure> {
        let refused = |message: String| Some(Failure::new(Code::Unavailable, message).not_started(true));
        let key = self.agent.key;
        if self.agent.user_code.get().is_some_and(Connection::is_stuck) {
            return refused(format!("the deployment of runner {key} does not answer"));
        }
        match &*self.agent.phase.borrow() {
            Report::Ready => {}
            Report::Draining | Report::Drained => return refused(format!("runner {key} is draining")),
            _ => return refused(format!("runner {key} is not ready")),
        }
        match head.replica() {
            Some(replica) if replica.runner != key || replica.instance != self.agent.instance => {
                refused(format!("the call was meant for runner {}, this is {key}", replica.runner))
            }
            _ => None,
        }
    }
}

impl Dispatch for Downward {
    fn dispatch(&self, head: &HeadRef<'_>) -> Route {
        if is_control(head.target()) {
            return Route::Serve(self.orders.clone());
        }
        if let Some(failure) = self.refuse(head) {
            return Route::Refuse(failure);
        }
        debug!(request = head.request(), verb = head.target(), "a call for the deployment");
        if sequence::recording() {
            Event::new(Actor::Controller, Actor::Runner, "Call", "reply", head.target()).record();
        }
        match self.agent.user_code.get() {
            Some(user_code) => Route::Relay { to: user_code.clone(), stamp: Stamp::default() },
            None => Route::Refuse(
                Failure::new(Code::Unavailable, "nothing is deployed here yet").not_started(true),
            ),
        }
    }
}

/// What comes from the user code: the calls that its schema declares, and nothing else.
#[derive(Debug)]
pub(crate) struct Upward {
    edges: CallEdges,
    link: watch::Receiver<Option<Link>>,
    waiting: Arc<dyn VerbService>,
}

impl Upward {
    pub(crate) fn new(schema: &Module, link: watch::Receiver<Option<Link>>) -> Self {
        let waiting = Arc::new(Waiting(link.clone()));
        Self { edges: schema.call_edges(), link, waiting }
    }
}

impl Dispatch for Upward {
    fn dispatch(&self, head: &HeadRef<'_>) -> Route {
        // The user code may call what one of its verbs declares, in the name of that verb.
        if let Err(failure) = self.edges.check(head.target(), head.caller()) {
            return Route::Refuse(failure);
        }
        debug!(request = head.request(), verb = head.target(), "a call of the deployment");
        if sequence::recording() {
            Event::new(Actor::Deployment, Actor::Runner, "Call", "reply", head.target()).record();
        }
        match &*self.link.borrow() {
            Some(link) if link.connection.is_open() => {
                Route::Relay { to: link.connection.clone(), stamp: Stamp::default() }
            }
            _ => Route::Serve(self.waiting.clone()),
        }
    }
}

/// Calls that wait for the Controller to come back, each until its own deadline.
#[derive(Debug)]
struct Waiting(watch::Receiver<Option<Link>>);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Waiting {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let mut link = self.0.clone();
        let back = timeout_at(
            call.head.deadline,
            link.wait_for(|link| link.as_ref().is_some_and(|link| link.connection.is_open())),
        );
        let connection = match back.await {
            Ok(Ok(link)) => link.as_ref().map(|link| link.connection.clone()),
            _ => None,
        };
        match connection {
            Some(connection) => connection.call(call).await,
            None => {
                let message = "the Controller did not come back before the deadline";
                Err(Failure::new(Code::DeadlineExceeded, message).not_started(false).into())
            }
        }
    }
}
