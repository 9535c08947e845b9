//! What was acknowledged survives, once; and a newer epoch fences the older.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ftl_controller::desired::{Applied, ChangeState, NewChange, Outcome, REQUEST_KEPT, Reason, Transaction};
use ftl_controller::store::{Store, StoreError};
use ftl_core::key::ChangeId;

use super::fixtures::{NOW, change, directory, open, raw, spec, startup, target, with_deployments};

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
        .args(["--exact", "durable::what_was_acknowledged_survives_kill_9", "--nocapture"])
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
    fenced(old.store.keep_doors(&[("docker".parse().unwrap(), vec![])].into()).await);
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
async fn the_doors_of_a_former_life_are_remembered() {
    let (_directory, file) = directory();
    let first = open(&file).await;
    assert!(first.doors.is_empty());
    let doors = [("docker".parse().unwrap(), vec!["172.30.0.1:8800".parse().unwrap()])].into();
    first.store.keep_doors(&doors).await.unwrap();
    assert_eq!(open(&file).await.doors, doors);
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
