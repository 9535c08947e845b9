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
    all[2].ping(Instant::now() + PATIENCE).await.unwrap();
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

/// Replies carry what their callers sent, over two hops, while calls are cancelled and deadlines pass at random.
async fn never_wrong_caller() {
    let verb = serve(|call: Call| async move {
        for _ in 0..call.body.bytes()[0] % 4 {
            tokio::task::yield_now().await;
        }
        Ok(Reply::new(call.body))
    });
    let all = chain(2, verb).await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64u64 {
        let connection = all[0].clone();
        callers.spawn(async move {
            let mut replies = 0;
            let mut random = caller + 1;
            for number in 0..150u64 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let nonce = [random.to_le_bytes(), caller.to_le_bytes(), number.to_le_bytes()].concat();
                let call = connection.call(call("a.b", nonce.clone()));
                let patience = Duration::from_micros(random >> 54);
                if random & 3 == 0 {
                    let _ = tokio::time::timeout(patience, call).await;
                } else {
                    assert_eq!(bytes(call.await), nonce);
                    replies += 1;
                }
            }
            replies
        });
    }
    let mut replies = 0;
    while let Some(done) = callers.join_next().await {
        replies += done.unwrap();
    }
    assert!(replies > 64 * 75, "{replies}");
    until(|| all.iter().all(|leg| leg.open_calls() == 0)).await;
}

#[tokio::test]
async fn never_wrong_caller_on_one_thread() {
    never_wrong_caller().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_wrong_caller_on_many_threads() {
    never_wrong_caller().await;
}

/// Both replicas take calls; the first drains while they are made. Whoever is told "not started" goes to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_fails_no_call() {
    let verb = || {
        serve(|call: Call| async move {
            tokio::task::yield_now().await;
            Ok(Reply::new(call.body))
        })
    };
    let (draining, first) = joined(verb(), nobody()).await;
    let (_, second) = joined(verb(), nobody()).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (first, second) = (first.clone(), second.clone());
        callers.spawn(async move {
            let mut moved = 0;
            while moved < 20 {
                if let Err(error) = first.call(call("a.b", "x")).await {
                    let CallError::Failed(failure) = error else { panic!("{error:?}") };
                    assert_eq!(failure.fate, ELSEWHERE, "{failure:?}");
                    bytes(second.call(call("a.b", "x")).await);
                    moved += 1;
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    draining.drain(Instant::now() + PATIENCE).await;
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    assert_eq!(draining.closed().await.reason, ftl_wire::CloseReason::Normal);
    assert_eq!(first.closed().await.reason, ftl_wire::CloseReason::Normal);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_and_says_what_may_have_run() {
    let (draining, caller) = joined(serve(|_| std::future::pending()), nobody()).await;
    let calling = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(call("a.b", "")).await })
    };
    until(|| caller.open_calls() == 1).await;
    let start = Instant::now();
    draining.drain(start + Duration::from_secs(3)).await;
    assert_eq!(start.elapsed().as_secs(), 3);
    let failure = failed(calling.await.unwrap());
    assert_eq!((failure.code, failure.fate), (Code::Unavailable, Fate::MayHaveRun));
}

#[tokio::test]
async fn while_it_drains_a_process_may_still_call() {
    let back = Arc::new(std::sync::OnceLock::<Connection>::new());
    let (there, fenced) = (back.clone(), Arc::new(tokio::sync::Notify::new()));
    let wait = fenced.clone();
    let verb = serve(move |call: Call| {
        let (there, wait) = (there.clone(), wait.clone());
        async move {
            wait.notified().await;
            there.get().unwrap().call(call).await
        }
    });
    let (draining, caller) = joined(verb, echo()).await;
    back.set(draining.clone()).unwrap();
    let calling = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(call("a.b", "nested")).await })
    };
    until(|| caller.open_calls() == 1).await;
    let drained = draining.drain(Instant::now() + PATIENCE);
    let refused = async {
        until(|| !caller.is_open()).await;
        assert_eq!(failed(caller.call(call("a.b", "")).await).fate, ELSEWHERE);
        fenced.notify_one();
    };
    tokio::join!(drained, refused);
    assert_eq!(bytes(calling.await.unwrap()), "nested");
}
