//! Calls that are handed on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ftl_core::routing::Load;
use ftl_core::{Call, CallError, Code, Fate, Reply, VerbService};
use ftl_wire::{Connection, Dispatch, Listener, Options, Route};
use support::*;
use tokio::time::Instant;

/// A caller, `hops` relays, a service. Answers all connections in order, the caller's first.
async fn chain(hops: usize, service: Arc<dyn Dispatch>) -> Vec<Connection> {
    let mut all = Vec::new();
    let mut dispatch = service;
    for _ in 0..=hops {
        let (accepted, dialled) = joined(dispatch, nobody()).await;
        all.push(accepted);
        all.push(dialled.clone());
        dispatch = RelayAll::to(dialled);
    }
    all.reverse();
    all
}

#[tokio::test]
async fn a_call_passes_eight_relays_and_not_nine() {
    let all = chain(8, echo()).await;
    assert_eq!(bytes(all[0].call(call("a.b", "far")).await), "far");
    let all = chain(9, echo()).await;
    let failure = failed(all[0].call(call("a.b", "further")).await);
    assert_eq!(failure.fate, NOWHERE);
    assert!(failure.message.contains("handed on too often"), "{}", failure.message);
}

#[tokio::test]
async fn what_the_callee_answers_passes_unchanged() {
    let verb = serve(|call: Call| async move { Err(CallError::Verb(call.body)) });
    let all = chain(2, verb).await;
    let outcome = all[0].call(call("a.b", "typed")).await;
    assert_eq!(outcome, Err(CallError::Verb(ftl_core::Body::once("typed"))));
    until(|| all.iter().all(|leg| leg.open_calls() == 0)).await;
}

#[tokio::test]
async fn cancelling_reaches_the_callee_through_every_relay() {
    let (sent, mut received) = tokio::sync::mpsc::channel::<()>(1);
    let verb = serve(move |_| {
        let sent = sent.clone();
        async move {
            // Held until the future is dropped.
            let _permit = sent.reserve().await.unwrap();
            std::future::pending::<()>().await;
            Ok(Reply::new(ftl_core::Body::once("")))
        }
    });
    let all = chain(2, verb).await;
    let caller = all[0].clone();
    let calling = tokio::spawn(async move { caller.call(call("a.b", "")).await });
    until(|| received.capacity() == 0).await;
    calling.abort();
    until(|| received.capacity() == 1).await;
    until(|| all.iter().all(|leg| leg.open_calls() == 0)).await;
    received.close();
}

#[tokio::test]
async fn a_relay_whose_next_leg_is_closed_says_not_started() {
    let all = chain(1, echo()).await;
    let next = &all[2];
    next.close(ftl_wire::CloseReason::Normal, "done");
    next.closed().await;
    let failure = failed(all[0].call(call("a.b", "")).await);
    assert_eq!((failure.code, failure.fate), (Code::Unavailable, ELSEWHERE));
    assert_eq!(failure.origin.as_deref(), Some("runner"));
}

#[tokio::test]
async fn a_callee_that_dies_leaves_it_open_whether_the_verb_ran() {
    let all = chain(1, serve(|_| std::future::pending())).await;
    let (caller, callee) = (all[0].clone(), all[3].clone());
    let calling = tokio::spawn(async move { caller.call(call("a.b", "")).await });
    until(|| all[2].open_calls() == 1).await;
    // Let the call arrive.
    all[2].ping(Instant::now() + Duration::from_secs(1)).await.unwrap();
    callee.close(ftl_wire::CloseReason::Normal, "dying");
    let failure = failed(calling.await.unwrap());
    assert_eq!((failure.code, failure.fate), (Code::Unavailable, Fate::MayHaveRun));
}

#[tokio::test]
async fn a_caller_that_dies_cancels_its_calls() {
    let all = chain(1, serve(|_| std::future::pending())).await;
    let caller = all[0].clone();
    let calling = tokio::spawn(async move { caller.call(call("a.b", "")).await });
    until(|| all[2].open_calls() == 1).await;
    all[0].close(ftl_wire::CloseReason::Normal, "dying");
    assert!(calling.await.unwrap().is_err());
    until(|| all[2].open_calls() == 0).await;
    assert!(all[2].is_open(), "the other leg lives on");
}

/// Claims to relay what nobody may relay.
#[derive(Debug)]
struct Careless(Connection);

impl Dispatch for Careless {
    fn dispatch(&self, _: &ftl_wire::HeadRef<'_>) -> Route {
        Route::Relay { to: self.0.clone(), stamp: ftl_wire::Stamp::default() }
    }
}

#[tokio::test]
async fn nobody_but_a_connections_own_end_reaches_the_module_ftl() {
    let served = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = served.clone();
    let control = serve(move |call: Call| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move { Ok(Reply::new(call.body)) }
    });
    let (_, relay) = joined(control, nobody()).await;
    let (_, code) = joined(Arc::new(Careless(relay.clone())), nobody()).await;
    let target = ftl_core::name::VerbRef::from_target("ftl.deploy").unwrap();
    let mut control = call("a.b", "");
    control.head.target = target;
    let failure = failed(code.call(control.clone()).await);
    assert_eq!((failure.code, failure.fate), (Code::PermissionDenied, NOWHERE));
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 0);
    relay.call(control).await.unwrap();
    assert_eq!(served.load(std::sync::atomic::Ordering::SeqCst), 1, "the connection's own end");
}

#[tokio::test]
async fn a_call_goes_from_runner_to_runner_through_a_controller() {
    let relay = Arc::new(RelayAll::default());
    let runners = Runners::new(relay.clone());
    let address = listen(Listener::bind_private("c1").unwrap(), &runners, Options::default());
    let _callee = dial_as(1, &address, echo()).await;
    let callee = runners.first().await;
    *relay.to.lock().unwrap() = Some(callee);
    let caller = dial_as(2, &address, nobody()).await;
    assert_eq!(bytes(caller.call(call("a.b", "hello")).await), "hello");
}
