//! The store: what was acknowledged survives, a newer epoch fences, and every transaction does what its pure twin does.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ftl_controller::desired::{
    Applied, CHANGES_KEPT, ChangeState, Desired, ENDED_FULL_KEPT, ENDED_KEPT, End, NewChange, Outcome,
    REQUEST_KEPT, Reason, Startup, TAIL_BYTES_MAX, Target, Transaction, Why,
};
use ftl_controller::store::{Opened, Store, StoreError};
use ftl_controller::time::Time;
use ftl_core::artefact::Manifest;
use ftl_core::controller::{ChangeSpec, Wanted};
use ftl_core::deployment::DeploymentSpec;
use ftl_core::key::{ChangeId, DeploymentId, RunnerKey};
use ftl_core::platform::Exit;
use ftl_core::runner::Crash;
use ftl_core::schema::Module;
use proptest::prelude::*;

const NOW: Time = Time::from_micros(1_700_000_000_000_000);

fn spec(module: &str, version: u8) -> DeploymentSpec {
    let schema = Module::new(module.parse().unwrap());
    let mut spec = DeploymentSpec::new(
        schema,
        "rust".parse().unwrap(),
        "x86_64-unknown-linux-gnu".parse().unwrap(),
        Manifest::new(Vec::new()).unwrap(),
    );
    spec.sdk_protocol = u16::from(version);
    spec
}

fn target(module: &str, version: u8, platform: &str) -> Target {
    Target { deployment: spec(module, version).id(), platform: platform.parse().unwrap() }
}

fn change(request: &str, wanted: &[(&Target, u16)], at: Time) -> NewChange {
    let wanted = wanted.iter().map(|(target, replicas)| Wanted {
        deployment: target.deployment.clone(),
        platform: target.platform.clone(),
        replicas: *replicas,
    });
    let spec = ChangeSpec::new(request.parse().unwrap(), wanted.collect());
    NewChange::of_spec(&spec, Duration::from_secs(300), at).unwrap()
}

fn startup(adopting: &[&str]) -> Startup {
    Startup { adopting: adopting.iter().map(|name| name.parse().unwrap()).collect(), at: NOW }
}

async fn open(file: &Path) -> Opened {
    Store::open(file, None, &startup(&["a"])).await.unwrap()
}

/// A store that knows versions 0 to 2 of the modules `m` and `n`.
async fn with_deployments(file: &Path) -> Opened {
    let opened = open(file).await;
    for module in ["m", "n"] {
        for version in 0..3 {
            opened.store.create_deployment(&spec(module, version), NOW).await.unwrap();
        }
    }
    opened
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ftl.db");
    (directory, file)
}

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

/// Asks for changes one after the other, and tells each that was acknowledged.
async fn write_until_killed(file: &Path) {
    let store = with_deployments(file).await.store;
    for request in 0.. {
        let target = target("m", request as u8 % 3, "a");
        let applied = store.apply(&change(&format!("r{request}"), &[(&target, 1)], NOW)).await.unwrap();
        let Applied::New(id) = applied else { panic!("{applied:?}") };
        store.write(&Transaction::Commit { change: id, keep_until: None }).await.unwrap();
        println!("acknowledged {id}");
    }
}

/// The test is its own child: there it writes until it is killed.
#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    const CHILD: &str = "FTL_TEST_STORE";
    if let Some(file) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&file)).await;
    }
    let (_directory, file) = directory();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_kill_9", "--nocapture"])
        .env(CHILD, &file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = lines.filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned));
    let first: Vec<String> = told.by_ref().take(25).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    let acknowledged: Vec<ChangeId> = first.into_iter().chain(told).map(|id| id.parse().unwrap()).collect();

    let opened = open(&file).await;
    assert!(acknowledged.len() >= 25);
    for id in &acknowledged {
        assert_eq!(opened.desired.changes[id].state, ChangeState::Committed, "change {id}");
    }
    let last = acknowledged.last().unwrap();
    assert!(opened.desired.next_change > *last);
    assert_eq!(opened.store.deployments().await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_newer_epoch_fences_the_older() {
    let (_directory, file) = directory();
    let old = with_deployments(&file).await;
    let target = target("m", 0, "a");
    old.store.apply(&change("r1", &[(&target, 1)], NOW)).await.unwrap();
    let new = open(&file).await;
    assert!(new.desired.epoch > old.desired.epoch);

    let fenced =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
    fenced(old.store.apply(&change("r2", &[(&target, 1)], NOW)).await.map(drop));
    fenced(old.store.write(&Transaction::Add { target: target.clone(), at: NOW }).await.map(drop));
    fenced(old.store.create_deployment(&spec("m", 7), NOW).await.map(drop));
    fenced(old.store.keep_addresses(&["unix:/x".into()]).await);
    assert_eq!(new.store.load().await.unwrap(), new.desired, "and nothing was done");
    assert_eq!(new.store.write(&Transaction::Add { target, at: NOW }).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn a_request_is_carried_out_once() {
    let (_directory, file) = directory();
    let store = with_deployments(&file).await.store;
    let (first, other) = (target("m", 0, "a"), target("m", 1, "a"));
    let asked = change("r1", &[(&first, 1)], NOW);
    let Applied::New(id) = store.apply(&asked).await.unwrap() else { panic!() };
    store.apply(&change("r2", &[(&other, 1)], NOW)).await.unwrap();

    let store = open(&file).await.store;
    let later = NewChange { at: NOW.plus(Duration::from_secs(60)), ..asked.clone() };
    assert_eq!(store.apply(&later).await.unwrap(), Applied::Known(id));
    assert_eq!(store.apply(&change("r1", &[(&first, 2)], NOW)).await.unwrap(), Applied::Conflict);
    let state = store.load().await.unwrap().changes[&id].state.clone();
    assert_eq!(state, ChangeState::Failed(Reason::Superseded), "the copy undid nothing");

    let much_later = NewChange { at: NOW.plus(REQUEST_KEPT), ..asked };
    assert!(
        matches!(store.apply(&much_later).await.unwrap(), Applied::New(_)),
        "a day later it is forgotten"
    );
}

#[tokio::test]
async fn deployments_are_what_was_created() {
    let (_directory, file) = directory();
    let store = open(&file).await.store;
    let spec = spec("m", 1);
    let id = store.create_deployment(&spec, NOW).await.unwrap();
    assert_eq!(store.create_deployment(&spec, NOW).await.unwrap(), id, "once more changes nothing");
    assert_eq!(store.deployment(&id).await.unwrap(), Some(spec));
    assert_eq!(store.deployments().await.unwrap(), [id]);

    let unknown = target("m", 2, "a");
    assert_eq!(store.deployment(&unknown.deployment).await.unwrap(), None);
    let before = store.load().await.unwrap();
    let refused = store.apply(&change("r1", &[(&unknown, 1)], NOW)).await;
    assert!(matches!(refused, Err(StoreError::UnknownDeployment)), "{refused:?}");
    assert_eq!(store.load().await.unwrap(), before, "and nothing was done");
}

#[tokio::test]
async fn a_store_belongs_to_one_cluster_and_one_layout() {
    let (_directory, file) = directory();
    let first = open(&file).await;
    assert_eq!(first.addresses, Vec::<String>::new());
    first.store.keep_addresses(&["unix:/run/x".into()]).await.unwrap();
    let again = open(&file).await;
    assert_eq!(again.cluster, first.cluster, "drawn once");
    assert_eq!(again.addresses, ["unix:/run/x"]);

    let other = "other".parse().unwrap();
    let refused = Store::open(&file, Some(&other), &startup(&[])).await;
    assert!(matches!(&refused, Err(StoreError::OtherCluster { found, .. }) if *found == first.cluster));
    let before = again.desired.epoch;
    assert_eq!(again.store.load().await.unwrap().epoch, before, "a refused start begins no epoch");

    raw(
        &file,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', 1, x'00', 0)",
    )
    .await;
    let newer = Store::open(&file, None, &startup(&[])).await;
    assert!(matches!(newer, Err(StoreError::Newer { layout: 99, .. })), "{newer:?}");
}

/// A name that is given at the first start stays.
#[tokio::test]
async fn a_cluster_can_be_named() {
    let (_directory, file) = directory();
    let name = "prod".parse().unwrap();
    assert_eq!(Store::open(&file, Some(&name), &startup(&[])).await.unwrap().cluster, name);
    assert_eq!(open(&file).await.cluster, name);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_named() {
    let (directory, file) = directory();
    std::fs::write(&file, b"this is not a database, and long enough to be looked at as one").unwrap();
    let error = Store::open(&file, None, &startup(&[])).await.unwrap_err();
    assert!(error.to_string().contains("ftl.db"), "{error}");
    let missing = directory.path().join("no/such/directory/ftl.db");
    assert!(matches!(Store::open(&missing, None, &startup(&[])).await, Err(StoreError::Database { .. })));
}

async fn raw(file: &Path, sql: &'static str) {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

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

/// The shell may hold the store in any task.
#[test]
fn its_futures_may_be_sent() {
    fn sent<T: Send>(_: impl FnOnce(&'static Store, &'static NewChange, &'static Transaction) -> T) {}
    sent(|store, change, _| store.apply(change));
    sent(|store, _, transaction| store.write(transaction));
    sent(|_, _, _| async {
        let startup = startup(&[]);
        Store::open(Path::new("x"), None, &startup).await.map(drop)
    });
    sent(|store, _, _| store.load());
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
        ftl_core::ControllerError::Invalid { field, .. } => field,
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
