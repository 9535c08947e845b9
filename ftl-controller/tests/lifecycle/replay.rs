//! The real store repeats what the worlds made durable, and must come to the same state: the transactions are written
//! twice, as pure functions and in SQL.

use ftl_controller::desired::Desired;
use ftl_controller::store::Store;
use ftl_controller::time::Time;
use ftl_core::key::DeploymentId;

use super::walk::{Bases, walk};
use super::world::{Broken, Durable, World};

/// Repeats a world's log, from its first start on. The store is opened anew at each start.
async fn repeat(world: &World) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ftl.db");
    let mut pure = Desired::new();
    let mut store = None;
    for (step, durable) in world.ghost.log.iter().enumerate() {
        match (durable, &store) {
            (Durable::Start(startup), _) => {
                pure.start(startup);
                let opened = Store::open(&file, None, startup).await.unwrap();
                assert_eq!(opened.desired, pure, "step {step}: {durable:?}");
                store = Some(opened.store);
                know_deployments(&file, world).await;
            }
            (Durable::Apply(change), Some(store)) => {
                assert_eq!(store.apply(change).await.unwrap(), pure.apply(change), "step {step}");
            }
            (Durable::Write(transaction), Some(store)) => {
                let outcome = store.write(transaction).await.unwrap();
                assert_eq!(outcome, pure.write(transaction), "step {step}: {transaction:?}");
            }
            (_, None) => panic!("the log begins with a start"),
        }
    }
    assert_eq!(store.unwrap().load().await.unwrap(), pure);
    assert_eq!(pure, world.desired, "the log is complete");
}

/// The worlds' deployments are ids alone: their rows are put in by hand.
async fn know_deployments(file: &std::path::Path, world: &World) {
    let mut ids: Vec<&DeploymentId> = Vec::new();
    for change in world.desired.changes.values() {
        ids.extend(change.wanted.values().map(|want| &want.target.deployment));
    }
    let url = format!("sqlite://{}", file.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for id in ids {
        sqlx::query(
            "INSERT INTO deployment (id, module, spec, created_at) VALUES ($1, $2, '', $3) ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(id.module().as_str())
        .bind(Time::from_micros(0).micros())
        .execute(&pool)
        .await
        .unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn the_store_does_what_the_pure_transactions_do() {
    for (keep, seeds) in [(false, 0..12), (true, 12..24)] {
        let bases = Bases::new(keep);
        for seed in seeds {
            let (world, _) = walk(&bases, seed, Broken::Nothing);
            world.assert_kept();
            repeat(&world).await;
        }
    }
}
