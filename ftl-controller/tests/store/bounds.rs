//! What is asked for and what is remembered is bounded.

use std::time::Duration;

use ftl_controller::desired::{
    CHANGES_KEPT, Desired, ENDED_FULL_KEPT, ENDED_KEPT, End, NewChange, REQUEST_KEPT, TAIL_BYTES_MAX,
    Transaction, Why,
};
use ftl_core::ControllerError;
use ftl_core::controller::{ChangeSpec, Wanted};
use ftl_core::key::{ChangeId, DeploymentId, RunnerKey};
use ftl_core::runner::Crash;

use super::fixtures::{NOW, change, directory, raw, spec, target, with_deployments};

/// History is bounded; ends that nobody could read yet stay longer.
#[tokio::test]
async fn ends_are_forgotten_by_count() {
    let (_directory, file) = directory();
    let opened = with_deployments(&file).await;
    let target = target("m", 0, "a");
    opened.store.apply(&change("r1", &[(&target, 1)], NOW)).await.unwrap();
    opened.store.write(&Transaction::Add { target, at: NOW }).await.unwrap();
    // Ends of 5000 former replicas, of which every second was read.
    raw(
        &file,
        "INSERT INTO ended (runner, deployment, platform, why, tail, complete, ended_at) \
         WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 5001) \
         SELECT i, deployment, platform, 'silent', '[]', i % 2, 0 FROM n, slot",
    )
    .await;
    let mut pure = opened.store.load().await.unwrap();
    let replace = Transaction::Replace {
        key: RunnerKey(1),
        end: End::new(Why::Silent),
        attempts: 1,
        not_before: NOW,
        at: NOW,
    };
    pure.write(&replace);
    opened.store.write(&replace).await.unwrap();
    assert_eq!(opened.store.load().await.unwrap(), pure);
    assert_eq!(pure.ended.values().filter(|ended| ended.full).count(), ENDED_FULL_KEPT);
    assert_eq!(*pure.ended.keys().next().unwrap(), RunnerKey(5002 - ENDED_KEPT as u64));
}

/// Changes are bounded by count, but never one that rolls or that a remembered request names.
#[test]
fn changes_are_forgotten_by_count() {
    let mut desired = Desired::new();
    let (m, n) = (target("m", 0, "a"), target("n", 0, "a"));
    desired.apply(&change("rolls", &[(&n, 1)], NOW));
    let later = NOW.plus(REQUEST_KEPT);
    for request in 0..CHANGES_KEPT as u64 + 10 {
        let at = if request < 8 { NOW } else { later };
        desired.apply(&change(&format!("r{request}"), &[(&m, 1)], at));
    }
    assert!(desired.changes.contains_key(&ChangeId(1)), "it rolls");
    assert!(!desired.changes.contains_key(&ChangeId(5)), "old, final, and its request is forgotten");
    assert!(desired.changes.contains_key(&ChangeId(12)), "its request is remembered");
    assert_eq!(desired.requests.len(), CHANGES_KEPT + 2);
}

#[test]
fn the_newest_lines_are_kept() {
    let mut crash = Crash::new("x");
    crash.tail = (0..20).map(|line| format!("{line:01000}")).collect();
    let end = End::of_crash(&crash);
    assert_eq!(end.tail.len(), TAIL_BYTES_MAX / 1000);
    assert_eq!(end.tail.last(), crash.tail.last());
}

#[test]
fn what_a_client_asks_is_read_once() {
    let wanted = |id: &DeploymentId, replicas| Wanted {
        deployment: id.clone(),
        platform: "a".parse().unwrap(),
        replicas,
    };
    let id = spec("m", 0).id();
    let read = |wanted: Vec<Wanted>, deadline: Option<Duration>| {
        let mut spec = ChangeSpec::new("r1".parse().unwrap(), wanted);
        spec.deadline = deadline;
        NewChange::of_spec(&spec, Duration::from_secs(300), NOW)
    };
    let field = |wanted, deadline| match read(wanted, deadline).unwrap_err() {
        ControllerError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(vec![], None), "wanted");
    assert_eq!(field(vec![wanted(&id, 0)], None), "wanted[0].replicas");
    assert_eq!(field(vec![wanted(&id, 1), wanted(&id, 101)], None), "wanted[1].replicas");
    assert_eq!(field(vec![wanted(&id, 1), wanted(&id, 1)], None), "wanted[1].deployment");
    assert_eq!(field(vec![wanted(&id, 1)], Some(Duration::ZERO)), "deadline");
    assert_eq!(field(vec![wanted(&id, 1)], Some(Duration::MAX)), "deadline");
    let good = read(vec![wanted(&id, 1)], None).unwrap();
    assert_eq!(good.deadline.since(NOW), Duration::from_secs(300));
    let asked = read(vec![wanted(&id, 1)], Some(Duration::from_secs(300))).unwrap();
    assert_ne!(good.content, asked.content, "what was asked differs, whatever it comes to");
}
