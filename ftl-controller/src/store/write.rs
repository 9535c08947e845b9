//! The transactions in SQL. What each means is written in [`desired`](crate::desired::Transaction).
//!
//! Each begins with the fence, which takes the write lock; the premise of what follows stands in its `WHERE`.

use ftl_core::deployment::DeploymentSpec;
use ftl_core::key::{ChangeId, DeploymentId, Epoch, RunnerKey};
use ftl_core::name::{ClusterId, NameError};
use ftl_core::platform::Exit;
use serde::Serialize;
use sqlx::{SqliteConnection, query, query_as, query_scalar};

use super::KeptDoors;
use super::error::{Fault, StoreError};
use super::load::state_columns;
use crate::desired::{
    Applied, CHANGES_KEPT, ChangeState, ENDED_FULL_KEPT, ENDED_KEPT, End, NewChange, Outcome, REQUEST_KEPT,
    Reason, Startup, Target, Transaction, Why, bounded,
};
use crate::time::Time;

/// Whether a statement found its premise.
type Found = Result<bool, Fault>;

/// Refuses when another epoch has begun.
pub(super) async fn fence(connection: &mut SqliteConnection, epoch: Epoch) -> Result<(), Fault> {
    let fenced = query("UPDATE meta SET epoch = epoch WHERE id = 1 AND epoch = $1").bind(big(epoch.0));
    match fenced.execute(connection).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Fenced.into()),
    }
}

/// T0.
pub(super) async fn start(connection: &mut SqliteConnection, startup: &Startup) -> Result<(), Fault> {
    query("UPDATE meta SET epoch = epoch + 1 WHERE id = 1").execute(&mut *connection).await?;
    let slots: Vec<(i64, String, i64, i64)> =
        query_as("SELECT runner, platform, drain, attempts FROM slot ORDER BY runner")
            .fetch_all(&mut *connection)
            .await?;
    for (key, platform, drain, attempts) in slots {
        if startup.adopting.contains(platform.as_str()) {
            continue;
        }
        insert_ended(connection, key, drain, &End::new(Why::ControllerEnded), true, startup.at).await?;
        if drain == 0 {
            replace_slot(connection, key, attempts, startup.at, startup.at).await?;
        }
        delete_slot(connection, key).await?;
    }
    prune_requests(connection, startup.at).await?;
    prune_ended(connection).await
}

/// The cluster's name: the one that is stored, else the one that is given, else a random one.
pub(super) async fn cluster(
    connection: &mut SqliteConnection,
    asked: Option<&ClusterId>,
) -> Result<ClusterId, Fault> {
    let stored: String =
        query_scalar("SELECT cluster FROM meta WHERE id = 1").fetch_one(&mut *connection).await?;
    let cluster = match (stored.as_str(), asked) {
        ("", Some(asked)) => asked.clone(),
        ("", None) => random_cluster()?,
        (stored, _) => unreadable_name(stored.parse())?,
    };
    if let Some(asked) = asked.filter(|asked| **asked != cluster) {
        return Err(StoreError::OtherCluster { found: cluster, asked: asked.clone() }.into());
    }
    let keep = query("UPDATE meta SET cluster = $1 WHERE id = 1").bind(cluster.as_str());
    keep.execute(connection).await?;
    Ok(cluster)
}

fn random_cluster() -> Result<ClusterId, Fault> {
    // The last digits of a version 7 are drawn at random; the first are the time.
    let drawn = uuid::Uuid::now_v7().simple().to_string();
    unreadable_name(drawn[20..].parse())
}

fn unreadable_name(name: Result<ClusterId, NameError>) -> Result<ClusterId, Fault> {
    name.map_err(|error| Fault::unreadable("cluster name", error))
}

/// T1.
pub(super) async fn apply(connection: &mut SqliteConnection, new: &NewChange) -> Result<Applied, Fault> {
    prune_requests(connection, new.at).await?;
    let known: Option<(i64, String)> = query_as("SELECT change_id, content FROM request WHERE id = $1")
        .bind(new.request.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some((change, content)) = known {
        let same = content == new.content.to_string();
        return Ok(if same { Applied::Known(ChangeId(change.cast_unsigned())) } else { Applied::Conflict });
    }
    supersede(connection, new).await?;
    let change: i64 =
        query_scalar("UPDATE meta SET next_change = next_change + 1 WHERE id = 1 RETURNING next_change - 1")
            .fetch_one(&mut *connection)
            .await?;
    insert_change(connection, change, new).await?;
    prune_changes(connection).await?;
    Ok(Applied::New(ChangeId(change.cast_unsigned())))
}

async fn supersede(connection: &mut SqliteConnection, new: &NewChange) -> Result<(), Fault> {
    let (superseded, _) = state_columns(&ChangeState::Failed(Reason::Superseded));
    for module in new.wanted.keys() {
        query(
            "UPDATE change SET state = $1 WHERE state = 'rolling' \
             AND id IN (SELECT change_id FROM change_module WHERE module = $2)",
        )
        .bind(superseded)
        .bind(module.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_change(connection: &mut SqliteConnection, id: i64, new: &NewChange) -> Result<(), Fault> {
    query("INSERT INTO change (id, state, deadline, created_at) VALUES ($1, 'rolling', $2, $3)")
        .bind(id)
        .bind(new.deadline.micros())
        .bind(new.at.micros())
        .execute(&mut *connection)
        .await?;
    for (module, want) in &new.wanted {
        query(
            "INSERT INTO change_module (change_id, module, deployment, platform, replicas) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(module.as_str())
        .bind(want.target.deployment.to_string())
        .bind(want.target.platform.as_str())
        .bind(i64::from(want.replicas))
        .execute(&mut *connection)
        .await?;
    }
    query("INSERT INTO request (id, change_id, content, asked_at) VALUES ($1, $2, $3, $4)")
        .bind(new.request.as_str())
        .bind(id)
        .bind(new.content.to_string())
        .bind(new.at.micros())
        .execute(connection)
        .await?;
    Ok(())
}

/// T3 to T9.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    transaction: &Transaction,
) -> Result<Outcome, Fault> {
    let done = match transaction {
        Transaction::Add { target, at } => add(connection, target, *at).await?,
        Transaction::Commit { change, keep_until } => commit(connection, *change, *keep_until).await?,
        Transaction::Fail { change, reason } => fail(connection, *change, reason).await?,
        Transaction::MarkDrain { key } => mark_drain(connection, *key).await?,
        Transaction::Replace { key, end, attempts, not_before, at } => {
            let key = big(key.0);
            let found = insert_ended(connection, key, 0, end, false, *at).await?;
            if found {
                replace_slot(connection, key, i64::from(*attempts), *not_before, *at).await?;
                delete_slot(connection, key).await?;
                prune_ended(connection).await?;
            }
            found
        }
        Transaction::Remove { key, end, at } => {
            let key = big(key.0);
            let found = insert_ended(connection, key, 1, end, false, *at).await?;
            if found {
                delete_slot(connection, key).await?;
                prune_ended(connection).await?;
            }
            found
        }
        Transaction::Record { key, exit, tail } => record(connection, *key, exit, tail).await?,
    };
    Ok(if done { Outcome::Done } else { Outcome::PremiseGone })
}

/// T3. The premise: fewer slots than anything wants.
async fn add(connection: &mut SqliteConnection, target: &Target, at: Time) -> Found {
    let added = query(
        "INSERT INTO slot (runner, deployment, platform, drain, attempts, not_before, created_at) \
         SELECT next_key, $1, $2, 0, 0, $3, $3 FROM meta WHERE id = 1 AND \
         (SELECT count(*) FROM slot WHERE deployment = $1 AND platform = $2 AND drain = 0) < \
         (SELECT coalesce(max(replicas), 0) FROM ( \
             SELECT replicas FROM serving WHERE deployment = $1 AND platform = $2 \
             UNION ALL SELECT replicas FROM kept WHERE deployment = $1 AND platform = $2 \
             UNION ALL SELECT replicas FROM change_module WHERE deployment = $1 AND platform = $2 \
                 AND change_id IN (SELECT id FROM change WHERE state = 'rolling') \
         ) AS wanted)",
    )
    .bind(target.deployment.to_string())
    .bind(target.platform.as_str())
    .bind(at.micros())
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    take_key(connection).await?;
    Ok(true)
}

async fn take_key(connection: &mut SqliteConnection) -> Result<(), Fault> {
    query("UPDATE meta SET next_key = next_key + 1 WHERE id = 1").execute(connection).await?;
    Ok(())
}

/// T4.
async fn commit(connection: &mut SqliteConnection, change: ChangeId, keep_until: Option<Time>) -> Found {
    let change = big(change.0);
    let committed = query(
        "UPDATE change SET state = 'committed', commit_number = (SELECT next_commit FROM meta WHERE id = 1) \
         WHERE id = $1 AND state = 'rolling'",
    );
    if committed.bind(change).execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    query("UPDATE meta SET next_commit = next_commit + 1 WHERE id = 1").execute(&mut *connection).await?;
    query(
        "UPDATE change_module SET \
         prev_deployment = (SELECT deployment FROM serving WHERE serving.module = change_module.module), \
         prev_platform = (SELECT platform FROM serving WHERE serving.module = change_module.module), \
         prev_replicas = (SELECT replicas FROM serving WHERE serving.module = change_module.module) \
         WHERE change_id = $1",
    )
    .bind(change)
    .execute(&mut *connection)
    .await?;
    keep(connection, change, keep_until).await?;
    query("DELETE FROM serving WHERE module IN (SELECT module FROM change_module WHERE change_id = $1)")
        .bind(change)
        .execute(&mut *connection)
        .await?;
    query(
        "INSERT INTO serving (module, deployment, platform, replicas) \
         SELECT module, deployment, platform, replicas FROM change_module WHERE change_id = $1",
    )
    .bind(change)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Of each module whose target is another now: what it was is kept, in place of what was kept before.
async fn keep(connection: &mut SqliteConnection, change: i64, until: Option<Time>) -> Result<(), Fault> {
    query(
        "DELETE FROM kept WHERE module IN (SELECT module FROM change_module WHERE change_id = $1 \
         AND (prev_deployment <> deployment OR prev_platform <> platform))",
    )
    .bind(change)
    .execute(&mut *connection)
    .await?;
    let Some(until) = until else { return Ok(()) };
    query(
        "INSERT INTO kept (module, deployment, platform, replicas, keep_until) \
         SELECT module, prev_deployment, prev_platform, prev_replicas, $2 FROM change_module \
         WHERE change_id = $1 AND (prev_deployment <> deployment OR prev_platform <> platform)",
    )
    .bind(change)
    .bind(until.micros())
    .execute(connection)
    .await?;
    Ok(())
}

/// T5.
async fn fail(connection: &mut SqliteConnection, change: ChangeId, reason: &Reason) -> Found {
    let state = ChangeState::Failed(reason.clone());
    let (state, refusal) = state_columns(&state);
    let failed = query("UPDATE change SET state = $2, refusal = $3 WHERE id = $1 AND state = 'rolling'")
        .bind(big(change.0))
        .bind(state)
        .bind(refusal);
    Ok(failed.execute(connection).await?.rows_affected() == 1)
}

/// T6.
async fn mark_drain(connection: &mut SqliteConnection, key: RunnerKey) -> Found {
    let marked = query("UPDATE slot SET drain = 1 WHERE runner = $1 AND drain = 0").bind(big(key.0));
    Ok(marked.execute(connection).await?.rows_affected() == 1)
}

/// The first part of T0, T7 and T8. The premise: the slot is there, and on its way out or not.
async fn insert_ended(
    connection: &mut SqliteConnection,
    key: i64,
    drain: i64,
    end: &End,
    full: bool,
    at: Time,
) -> Found {
    let exit = end.exit.as_ref().map(json).transpose()?;
    let inserted = query(
        "INSERT INTO ended (runner, deployment, platform, why, exit_json, tail, complete, ended_at) \
         SELECT runner, deployment, platform, $3, $4, $5, $6, $7 FROM slot WHERE runner = $1 AND drain = $2",
    )
    .bind(key)
    .bind(drain)
    .bind(end.why.as_str())
    .bind(exit)
    .bind(json(&end.tail)?)
    .bind(i64::from(full))
    .bind(at.micros());
    Ok(inserted.execute(connection).await?.rows_affected() == 1)
}

/// A fresh slot like the one of this key.
async fn replace_slot(
    connection: &mut SqliteConnection,
    key: i64,
    attempts: i64,
    not_before: Time,
    at: Time,
) -> Result<(), Fault> {
    query(
        "INSERT INTO slot (runner, deployment, platform, drain, attempts, not_before, created_at) \
         SELECT (SELECT next_key FROM meta WHERE id = 1), deployment, platform, 0, $2, $3, $4 \
         FROM slot WHERE runner = $1",
    )
    .bind(key)
    .bind(attempts)
    .bind(not_before.micros())
    .bind(at.micros())
    .execute(&mut *connection)
    .await?;
    take_key(connection).await
}

async fn delete_slot(connection: &mut SqliteConnection, key: i64) -> Result<(), Fault> {
    query("DELETE FROM slot WHERE runner = $1").bind(key).execute(connection).await?;
    Ok(())
}

/// T9. What the Runner itself reported is nearer to the cause and stays.
async fn record(connection: &mut SqliteConnection, key: RunnerKey, exit: &Exit, tail: &[String]) -> Found {
    let recorded = query(
        "UPDATE ended SET exit_json = coalesce(exit_json, $2), \
         tail = CASE WHEN tail = '[]' THEN $3 ELSE tail END, complete = 1 \
         WHERE runner = $1 AND complete = 0",
    )
    .bind(big(key.0))
    .bind(json(exit)?)
    .bind(json(&bounded(tail.to_vec()))?);
    if recorded.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    prune_ended(connection).await?;
    Ok(true)
}

/// One insert, whose content is its identity.
pub(super) async fn create_deployment(
    connection: &mut SqliteConnection,
    spec: &DeploymentSpec,
    at: Time,
) -> Result<DeploymentId, Fault> {
    let id = spec.id();
    query(
        "INSERT INTO deployment (id, module, spec, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(id.module().as_str())
    .bind(json(spec)?)
    .bind(at.micros())
    .execute(connection)
    .await?;
    Ok(id)
}

/// The addresses that Runners are told to dial.
pub(super) async fn keep_addresses(
    connection: &mut SqliteConnection,
    addresses: &[String],
) -> Result<(), Fault> {
    let keep = query("UPDATE meta SET addresses = $1 WHERE id = 1").bind(json(addresses)?);
    keep.execute(connection).await?;
    Ok(())
}

/// Where the Controller listens for Runners besides, by platform.
pub(super) async fn keep_doors(connection: &mut SqliteConnection, doors: &KeptDoors) -> Result<(), Fault> {
    let keep = query("UPDATE meta SET doors = $1 WHERE id = 1").bind(json(doors)?);
    keep.execute(connection).await?;
    Ok(())
}

async fn prune_requests(connection: &mut SqliteConnection, at: Time) -> Result<(), Fault> {
    let old = query("DELETE FROM request WHERE asked_at <= $1").bind(at.minus(REQUEST_KEPT).micros());
    old.execute(connection).await?;
    Ok(())
}

async fn prune_changes(connection: &mut SqliteConnection) -> Result<(), Fault> {
    const KEPT: i64 = CHANGES_KEPT as i64;
    query(
        "DELETE FROM change_module WHERE change_id IN (SELECT id FROM change \
         WHERE id < (SELECT next_change FROM meta WHERE id = 1) - $1 AND state <> 'rolling' \
         AND id NOT IN (SELECT change_id FROM request))",
    )
    .bind(KEPT)
    .execute(&mut *connection)
    .await?;
    query(
        "DELETE FROM change WHERE id < (SELECT next_change FROM meta WHERE id = 1) - $1 \
         AND state <> 'rolling' AND id NOT IN (SELECT change_id FROM request)",
    )
    .bind(KEPT)
    .execute(connection)
    .await?;
    Ok(())
}

async fn prune_ended(connection: &mut SqliteConnection) -> Result<(), Fault> {
    query(
        "DELETE FROM ended WHERE runner < \
         (SELECT runner FROM ended ORDER BY runner DESC LIMIT 1 OFFSET $1)",
    )
    .bind(ENDED_KEPT as i64 - 1)
    .execute(&mut *connection)
    .await?;
    query(
        "DELETE FROM ended WHERE complete = 1 AND runner < \
         (SELECT runner FROM ended WHERE complete = 1 ORDER BY runner DESC LIMIT 1 OFFSET $1)",
    )
    .bind(ENDED_FULL_KEPT as i64 - 1)
    .execute(connection)
    .await?;
    Ok(())
}

/// The counters grow by one at a time and do not reach the sign in the life of a machine.
fn big(number: u64) -> i64 {
    number.cast_signed()
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::unreadable("value", error))
}
