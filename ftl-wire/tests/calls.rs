//! Calls over one connection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ftl_core::call::BODY_BYTES_MAX;
use ftl_core::routing::Load;
use ftl_core::{Body, Call, CallError, Code, Failure, Fate, Reply, VerbService};
use ftl_wire::{CloseReason, Peer};
use support::*;
use tokio::time::Instant;

#[tokio::test]
async fn a_call_goes_both_ways() {
    let upper = serve(|call: Call| async move {
        let text = String::from_utf8(call.body.bytes().to_vec()).unwrap();
        Ok(Reply::new(Body::once(text.to_uppercase())))
    });
    let (runner, code) = joined(upper, echo()).await;
    assert_eq!(*runner.peer(), Peer::Deployment { schema: schema() });
    assert_eq!(*code.peer(), Peer::ParentRunner);
    assert_eq!(bytes(runner.call(call("a.b", "down")).await), "down");
    assert_eq!(bytes(code.call(call("a.b", "up")).await), "UP");
    runner.ping(Instant::now() + Duration::from_secs(1)).await.unwrap();
    assert_eq!((runner.open_calls(), code.open_calls()), (0, 0));
}

#[tokio::test]
async fn the_head_arrives_whole() {
    let seen = Arc::new(std::sync::Mutex::new(None));
    let keep = seen.clone();
    let verb = serve(move |call: Call| {
        *keep.lock().unwrap() = Some(call.head);
        async { Ok(Reply::new(Body::once(""))) }
    });
    let (_, code) = joined(verb, nobody()).await;
    let mut sent = head("clock.now");
    sent.caller = Some("greeter.hello".parse().unwrap());
    sent.idempotency_key = Some("k-42".parse().unwrap());
    (sent.depth, sent.attempt, sent.trace) = (32, 2, Some([7; 25]));
    code.call(Call::new(sent.clone(), Body::once(""))).await.unwrap();
    let mut got = seen.lock().unwrap().take().unwrap();
    let late = got.deadline.saturating_duration_since(sent.deadline);
    assert!(late < Duration::from_secs(1), "the time left, {late:?} later");
    got.deadline = sent.deadline;
    assert_eq!(got, sent);
}

#[tokio::test]
async fn errors_and_failures_arrive_as_they_were_made() {
    let mut failure = Failure::new(Code::NotFound, "no such row").passed_on().from_origin("a database");
    failure.retry_after = Some(Duration::from_millis(70));
    failure.details = Some("{}".into());
    failure.verb = Some("inner.verb".parse().unwrap());
    failure.request = Some("another".parse().unwrap());
    let made = failure.clone();
    let verb = serve(move |call: Call| {
        let failure = made.clone();
        async move {
            match &call.body.bytes()[..] {
                b"verb" => Err(CallError::Verb(Body::once("typed"))),
                _ => Err(failure.into()),
            }
        }
    });
    let (_, code) = joined(verb, nobody()).await;
    assert_eq!(code.call(call("a.b", "verb")).await, Err(CallError::Verb(Body::once("typed"))));
    assert_eq!(failed(code.call(call("a.b", "")).await), failure);
}

#[tokio::test]
async fn a_failure_names_the_call_where_nobody_else_did() {
    let (_, code) = joined(nobody(), nobody()).await;
    let failure = failed(code.call(call("a.b", "")).await);
    assert_eq!(failure.fate, NOWHERE);
    assert_eq!(failure.verb.unwrap().to_string(), "a.b");
    assert_eq!(failure.request.unwrap().as_str(), "r-1");
}

#[tokio::test]
async fn a_panic_is_internal_for_that_call_only() {
    let verb = serve(|call: Call| async move {
        assert!(call.body.bytes() != "panic", "a defect of the verb");
        Ok(Reply::new(call.body))
    });
    let (_, code) = joined(verb, nobody()).await;
    let failure = failed(code.call(call("a.b", "panic")).await);
    assert_eq!((failure.code, failure.fate), (Code::Internal, Fate::Ran));
    assert_eq!(bytes(code.call(call("a.b", "well")).await), "well");
}

#[tokio::test]
async fn dropping_a_call_cancels_it_and_its_slot_waits_for_the_end() {
    let (started, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let counts = (started.clone(), dropped.clone());
    let verb = serve(move |_| {
        let (started, dropped) = counts.clone();
        async move {
            let _on_drop = OnDrop(dropped);
            started.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        }
    });
    let (_, code) = joined(verb, nobody()).await;
    let caller = code.clone();
    let calling = tokio::spawn(async move { caller.call(call("a.b", "")).await });
    until(|| started.load(Ordering::SeqCst) == 1).await;
    assert_eq!(code.open_calls(), 1);
    calling.abort();
    until(|| dropped.load(Ordering::SeqCst) == 1).await;
    until(|| code.open_calls() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_waiting_and_the_verb() {
    let (_, code) = joined(serve(|_| std::future::pending()), nobody()).await;
    let mut late = call("a.b", "");
    late.head.deadline = Instant::now() + Duration::from_secs(3);
    let start = Instant::now();
    let failure = failed(code.call(late).await);
    assert_eq!((failure.code, failure.fate), (Code::DeadlineExceeded, Fate::MayHaveRun));
    let took = start.elapsed();
    assert!((3000..3010).contains(&took.as_millis()), "{took:?}");
    until(|| code.open_calls() == 0).await;
}

#[tokio::test]
async fn no_time_left_is_not_started() {
    let (_, code) = joined(echo(), nobody()).await;
    let mut late = call("a.b", "");
    late.head.deadline = Instant::now();
    let failure = failed(code.call(late).await);
    assert_eq!((failure.code, failure.fate), (Code::DeadlineExceeded, NOWHERE));
}

#[tokio::test]
async fn a_request_may_have_as_many_bytes_as_a_body_and_not_one_more() {
    let (_, code) = joined(echo(), nobody()).await;
    let body = vec![7; BODY_BYTES_MAX];
    assert_eq!(bytes(code.call(call("a.b", body.clone())).await), body);
    let failure = failed(code.call(call("a.b", vec![7; BODY_BYTES_MAX + 1])).await);
    assert_eq!((failure.code, failure.fate), (Code::ResourceExhausted, NOWHERE));
    assert!(failure.message.contains(&BODY_BYTES_MAX.to_string()));
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_an_error_of_a_verb_that_ran() {
    let verb = serve(|call: Call| async move {
        let len: usize = std::str::from_utf8(call.body.bytes()).unwrap().parse().unwrap();
        Ok(Reply::new(Body::once(vec![7; len])))
    });
    let (_, code) = joined(verb, nobody()).await;
    assert_eq!(bytes(code.call(call("a.b", BODY_BYTES_MAX.to_string())).await).len(), BODY_BYTES_MAX);
    let failure = failed(code.call(call("a.b", (BODY_BYTES_MAX + 1).to_string())).await);
    assert_eq!((failure.code, failure.fate), (Code::ResourceExhausted, Fate::Ran));
}

#[tokio::test]
async fn a_chain_may_have_32_calls_and_not_one_more() {
    let (_, code) = joined(echo(), nobody()).await;
    for (depth, ok) in [(32, true), (33, false)] {
        let mut deep = call("a.b", "");
        deep.head.depth = depth;
        let outcome = code.call(deep).await;
        assert_eq!(outcome.is_ok(), ok, "{depth}");
        if !ok {
            assert_eq!(failed(outcome).fate, NOWHERE);
        }
    }
}

#[tokio::test]
async fn closing_ends_both_ends_and_says_why() {
    let (runner, code) = joined(echo(), echo()).await;
    runner.close(CloseReason::Normal, "enough");
    let closed = code.closed().await;
    assert_eq!(closed.reason, CloseReason::Normal);
    assert!(closed.message.contains("enough"), "{closed}");
    assert_eq!(runner.closed().await.message, "enough");
    assert!(!code.is_open() && !runner.is_open());
    let failure = failed(code.call(call("a.b", "")).await);
    assert_eq!((failure.code, failure.fate), (Code::Unavailable, ELSEWHERE));
    assert!(runner.ping(Instant::now() + Duration::from_secs(1)).await.is_err());
}
