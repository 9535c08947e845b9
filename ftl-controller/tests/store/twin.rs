//! Every transaction does in SQL what it does as a pure function.

use std::collections::BTreeSet;
use std::time::Duration;

use ftl_controller::desired::{End, NewChange, Reason, Target, Transaction, Why};
use ftl_controller::store::{Opened, Store};
use ftl_core::key::{ChangeId, RunnerKey};
use ftl_core::platform::Exit;
use ftl_core::runner::Crash;
use proptest::prelude::*;

use super::fixtures::{NOW, change, directory, startup, target, with_deployments};

/// What a random schedule does to the store; most of it finds its premise gone.
#[derive(Clone, Debug)]
enum Step {
    Apply(NewChange),
    Write(Transaction),
    Restart(BTreeSet<&'static str>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let targets = (prop_oneof![Just("m"), Just("n")], 0..3u8, prop_oneof![Just("a"), Just("b")])
        .prop_map(|(module, version, platform)| target(module, version, platform));
    let at = (0..4i64).prop_map(|hours| NOW.plus(Duration::from_secs(hours.unsigned_abs() * 10 * 3600)));
    let wanted =
        proptest::collection::btree_map("[mn]", (0..3u8, prop_oneof![Just("a"), Just("b")], 1..4u16), 1..3);
    let apply = ("r[0-9]", wanted, at.clone()).prop_map(|(request, wanted, at)| {
        let wanted: Vec<(Target, u16)> = wanted
            .into_iter()
            .map(|(module, (version, platform, replicas))| (target(&module, version, platform), replicas))
            .collect();
        let wanted: Vec<(&Target, u16)> =
            wanted.iter().map(|(target, replicas)| (target, *replicas)).collect();
        change(&request, &wanted, at)
    });
    let key = (1..12u64).prop_map(RunnerKey);
    let id = (1..8u64).prop_map(ChangeId);
    let mut crash = Crash::new("exited with code 3");
    (crash.exit_code, crash.tail) = (Some(3), vec!["last words".into()]);
    let end = prop_oneof![
        Just(End::new(Why::Silent)),
        Just(End::of_crash(&crash)),
        Just(End::of_refusal("no")),
        Just(End::new(Why::Drained)),
    ];
    let reason =
        prop_oneof![Just(Reason::Deadline), Just(Reason::CrashLoop), "[a-z]{1,8}".prop_map(Reason::Refused),];
    let write = prop_oneof![
        4 => (targets, at.clone()).prop_map(|(target, at)| Transaction::Add { target, at }),
        3 => (id.clone(), proptest::option::of(at.clone()))
            .prop_map(|(change, keep_until)| Transaction::Commit { change, keep_until }),
        1 => (id, reason).prop_map(|(change, reason)| Transaction::Fail { change, reason }),
        2 => key.clone().prop_map(|key| Transaction::MarkDrain { key }),
        2 => (key.clone(), end.clone(), 0..9u32, at.clone(), at.clone()).prop_map(
            |(key, end, attempts, not_before, at)| Transaction::Replace { key, end, attempts, not_before, at }
        ),
        2 => (key.clone(), end, at).prop_map(|(key, end, at)| Transaction::Remove { key, end, at }),
        2 => key.prop_map(|key| Transaction::Record {
            key,
            exit: Exit::new(true),
            tail: vec!["from the platform".into()],
        }),
    ];
    let restart =
        prop_oneof![Just(BTreeSet::from(["a"])), Just(BTreeSet::from(["a", "b"])), Just(BTreeSet::new())];
    let step = prop_oneof![
        3 => apply.prop_map(Step::Apply),
        12 => write.prop_map(Step::Write),
        1 => restart.prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_transaction_does_what_its_pure_twin_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, file) = directory();
            let Opened { mut store, mut desired, .. } = with_deployments(&file).await;
            for step in steps {
                match &step {
                    Step::Apply(change) => {
                        assert_eq!(store.apply(change).await.unwrap(), desired.apply(change));
                    }
                    Step::Write(transaction) => {
                        assert_eq!(store.write(transaction).await.unwrap(), desired.write(transaction));
                    }
                    Step::Restart(adopting) => {
                        let adopting: Vec<&str> = adopting.iter().copied().collect();
                        desired.start(&startup(&adopting));
                        store = Store::open(&file, None, &startup(&adopting)).await.unwrap().store;
                    }
                }
                assert_eq!(store.load().await.unwrap(), desired, "after {step:?}");
            }
        });
    }
}
