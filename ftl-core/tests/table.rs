//! Properties of the route table: whatever order snapshots arrive in, calls follow the newest.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::key::{DeploymentId, Epoch, Instance, Replica, RunnerKey, TableVersion};
use ftl_core::routing::{Counted, Routed, Router, RoutingTable, Row};
use ftl_core::schema::{Module, Verb};
use ftl_core::{Body, Call, CallError, Digest, Failure, Reply, VerbService};
use proptest::prelude::*;
use tokio::time::Instant;

/// A replica that answers.
#[derive(Debug)]
struct Answers;

#[async_trait]
impl VerbService for Answers {
    async fn ping(&self, _: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, _: Call) -> Result<Reply, CallError> {
        Ok(Reply::new(Body::once("1")))
    }
}

fn table(epoch: u64, seq: u64, keys: &[u64]) -> RoutingTable {
    let mut module = Module::new("clock".parse().unwrap());
    module.verbs.push(Verb::new("now".parse().unwrap()));
    let row = |key: &u64| Row {
        module: "clock".parse().unwrap(),
        deployment: DeploymentId::new("clock".parse().unwrap(), Digest::of(b"1")),
        replica: Replica { runner: RunnerKey(*key), instance: Instance([1; 16]) },
    };
    let version = TableVersion { epoch: Epoch(epoch), seq };
    RoutingTable { version, modules: vec![Arc::new(module)], rows: keys.iter().map(row).collect() }
}

proptest! {
    #[test]
    fn calls_follow_the_newest_table(
        tables in prop::collection::vec((1u64..4, 1u64..6, prop::collection::vec(0u64..9, 0..4)), 1..12)
    ) {
        let router: Router<Counted<Arc<Answers>>> = Router::new();
        let mut newest: Option<(u64, u64, Vec<u64>)> = None;
        for (epoch, seq, keys) in tables {
            let is_newer = newest.as_ref().is_none_or(|newest| (epoch, seq) > (newest.0, newest.1));
            let taken = router.update_routing_table(table(epoch, seq, &keys), |_| {
                Some(Counted::new(Arc::new(Answers)))
            });
            prop_assert_eq!(taken.is_ok(), is_newer);
            if is_newer {
                newest = Some((epoch, seq, keys));
            }
            let (epoch, seq, keys) = newest.as_ref().unwrap();
            prop_assert_eq!(router.version(), TableVersion { epoch: Epoch(*epoch), seq: *seq });
            match router.route("clock.now", None) {
                Routed::To(to) => prop_assert!(keys.contains(&to.row.replica.runner.0)),
                Routed::Wait => prop_assert!(keys.is_empty()),
                Routed::Refused(failure) => panic!("{failure}"),
            }
        }
    }

    #[test]
    fn rows_without_a_way_are_left_out(keys in prop::collection::btree_set(0u64..9, 0..6), lost in 0u64..9) {
        let router: Router<Counted<Arc<Answers>>> = Router::new();
        let keys: Vec<u64> = keys.into_iter().collect();
        let find = |row: &Row| (row.replica.runner.0 != lost).then(|| Counted::new(Arc::new(Answers)));
        router.update_routing_table(table(1, 1, &keys), find).unwrap();
        for _ in 0..20 {
            if let Routed::To(to) = router.route("clock.now", None) {
                prop_assert_ne!(to.row.replica.runner.0, lost);
            } else {
                prop_assert!(keys.iter().all(|key| *key == lost));
            }
        }
    }
}
