//! From rows to values.

use std::collections::BTreeMap;
use std::error::Error;
use std::str::FromStr;

use ftl_core::deployment::DeploymentSpec;
use ftl_core::key::{ChangeId, DeploymentId, Epoch, RunnerKey};
use ftl_core::name::{ChangeRequest, ModuleName};
use serde::de::DeserializeOwned;
use sqlx::{SqliteConnection, query_as, query_scalar};

use super::KeptDoors;
use super::error::Fault;
use crate::desired::{Change, ChangeState, Desired, End, Ended, Kept, Reason, Request, Slot, Target, Want};
use crate::time::Time;

/// Everything desired.
pub(super) async fn desired(connection: &mut SqliteConnection) -> Result<Desired, Fault> {
    let meta = query_as("SELECT epoch, next_key, next_change, next_commit FROM meta WHERE id = 1");
    let (epoch, next_key, next_change, next_commit) = meta.fetch_one(&mut *connection).await?;
    Ok(Desired {
        epoch: Epoch(number(epoch)?),
        next_key: RunnerKey(number(next_key)?),
        next_change: ChangeId(number(next_change)?),
        next_commit: number(next_commit)?,
        serving: serving(connection).await?,
        kept: kept(connection).await?,
        changes: changes(connection).await?,
        slots: slots(connection).await?,
        ended: ended(connection).await?,
        requests: requests(connection).await?,
    })
}

async fn serving(connection: &mut SqliteConnection) -> Result<BTreeMap<ModuleName, Want>, Fault> {
    let rows: Vec<(String, String, i64)> =
        query_as("SELECT deployment, platform, replicas FROM serving").fetch_all(connection).await?;
    let entry = |(deployment, platform, replicas): (String, String, i64)| {
        let want = want(&deployment, &platform, replicas)?;
        Ok((want.target.module().clone(), want))
    };
    rows.into_iter().map(entry).collect()
}

async fn kept(connection: &mut SqliteConnection) -> Result<BTreeMap<ModuleName, Kept>, Fault> {
    let rows: Vec<(String, String, i64, i64)> =
        query_as("SELECT deployment, platform, replicas, keep_until FROM kept").fetch_all(connection).await?;
    let entry = |(deployment, platform, replicas, until): (String, String, i64, i64)| {
        let want = want(&deployment, &platform, replicas)?;
        Ok((want.target.module().clone(), Kept { want, until: Time::from_micros(until) }))
    };
    rows.into_iter().map(entry).collect()
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    id: i64,
    state: String,
    refusal: Option<String>,
    deadline: i64,
    created_at: i64,
    commit_number: Option<i64>,
}

async fn changes(connection: &mut SqliteConnection) -> Result<BTreeMap<ChangeId, Change>, Fault> {
    let rows: Vec<ChangeRow> =
        query_as("SELECT id, state, refusal, deadline, created_at, commit_number FROM change")
            .fetch_all(&mut *connection)
            .await?;
    let mut changes = BTreeMap::new();
    for row in rows {
        let id = ChangeId(number(row.id)?);
        let change = Change {
            id,
            wanted: BTreeMap::new(),
            state: change_state(&row.state, row.refusal)?,
            deadline: Time::from_micros(row.deadline),
            created_at: Time::from_micros(row.created_at),
            prev: BTreeMap::new(),
            commit: row.commit_number.map(number).transpose()?,
        };
        changes.insert(id, change);
    }
    add_modules(connection, &mut changes).await?;
    Ok(changes)
}

/// What a change wants of one module, and what served before, if anything did.
#[derive(sqlx::FromRow)]
struct ModuleRow {
    change_id: i64,
    deployment: String,
    platform: String,
    replicas: i64,
    prev_deployment: Option<String>,
    prev_platform: Option<String>,
    prev_replicas: Option<i64>,
}

async fn add_modules(
    connection: &mut SqliteConnection,
    changes: &mut BTreeMap<ChangeId, Change>,
) -> Result<(), Fault> {
    let rows: Vec<ModuleRow> = query_as(
        "SELECT change_id, deployment, platform, replicas, prev_deployment, prev_platform, prev_replicas \
         FROM change_module",
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let Some(change) = changes.get_mut(&ChangeId(number(row.change_id)?)) else { continue };
        let want = want(&row.deployment, &row.platform, row.replicas)?;
        let module = want.target.module().clone();
        if let (Some(deployment), Some(platform), Some(replicas)) =
            (row.prev_deployment, row.prev_platform, row.prev_replicas)
        {
            change.prev.insert(module.clone(), self::want(&deployment, &platform, replicas)?);
        }
        change.wanted.insert(module, want);
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct SlotRow {
    runner: i64,
    deployment: String,
    platform: String,
    drain: i64,
    attempts: i64,
    not_before: i64,
    created_at: i64,
}

async fn slots(connection: &mut SqliteConnection) -> Result<BTreeMap<RunnerKey, Slot>, Fault> {
    let rows: Vec<SlotRow> =
        query_as("SELECT runner, deployment, platform, drain, attempts, not_before, created_at FROM slot")
            .fetch_all(connection)
            .await?;
    let entry = |row: SlotRow| {
        let slot = Slot {
            key: RunnerKey(number(row.runner)?),
            target: target(&row.deployment, &row.platform)?,
            drain: row.drain != 0,
            attempts: number(row.attempts)?,
            not_before: Time::from_micros(row.not_before),
            created_at: Time::from_micros(row.created_at),
        };
        Ok((slot.key, slot))
    };
    rows.into_iter().map(entry).collect()
}

#[derive(sqlx::FromRow)]
struct EndedRow {
    runner: i64,
    deployment: String,
    platform: String,
    why: String,
    exit_json: Option<String>,
    tail: String,
    complete: i64,
    ended_at: i64,
}

async fn ended(connection: &mut SqliteConnection) -> Result<BTreeMap<RunnerKey, Ended>, Fault> {
    let rows: Vec<EndedRow> =
        query_as("SELECT runner, deployment, platform, why, exit_json, tail, complete, ended_at FROM ended")
            .fetch_all(connection)
            .await?;
    let entry = |row: EndedRow| {
        let exit = row.exit_json.map(|exit| json("exit", &exit)).transpose()?;
        let ended = Ended {
            key: RunnerKey(number(row.runner)?),
            target: target(&row.deployment, &row.platform)?,
            end: End { why: text("end", &row.why)?, exit, tail: json("tail", &row.tail)? },
            full: row.complete != 0,
            at: Time::from_micros(row.ended_at),
        };
        Ok((ended.key, ended))
    };
    rows.into_iter().map(entry).collect()
}

async fn requests(connection: &mut SqliteConnection) -> Result<BTreeMap<ChangeRequest, Request>, Fault> {
    let rows: Vec<(String, i64, String, i64)> =
        query_as("SELECT id, change_id, content, asked_at FROM request").fetch_all(connection).await?;
    let entry = |(id, change, content, at): (String, i64, String, i64)| {
        let (change, content) = (ChangeId(number(change)?), text("digest", &content)?);
        Ok((text("request id", &id)?, Request { change, content, at: Time::from_micros(at) }))
    };
    rows.into_iter().map(entry).collect()
}

/// What a deployment is.
pub(super) async fn deployment(
    connection: &mut SqliteConnection,
    id: &DeploymentId,
) -> Result<Option<DeploymentSpec>, Fault> {
    let spec: Option<String> = query_scalar("SELECT spec FROM deployment WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    spec.map(|spec| json("deployment", &spec)).transpose()
}

/// The ids of all deployments.
pub(super) async fn deployments(connection: &mut SqliteConnection) -> Result<Vec<DeploymentId>, Fault> {
    let ids: Vec<String> =
        query_scalar("SELECT id FROM deployment ORDER BY id").fetch_all(connection).await?;
    ids.iter().map(|id| text("deployment id", id)).collect()
}

/// The addresses that Runners were told to dial.
pub(super) async fn addresses(connection: &mut SqliteConnection) -> Result<Vec<String>, Fault> {
    let addresses: String =
        query_scalar("SELECT addresses FROM meta WHERE id = 1").fetch_one(connection).await?;
    json("address list", &addresses)
}

/// Where the Controller listened for Runners besides, by platform.
pub(super) async fn doors(connection: &mut SqliteConnection) -> Result<KeptDoors, Fault> {
    let doors: String = query_scalar("SELECT doors FROM meta WHERE id = 1").fetch_one(connection).await?;
    json("list of doors", &doors)
}

fn want(deployment: &str, platform: &str, replicas: i64) -> Result<Want, Fault> {
    Ok(Want { target: target(deployment, platform)?, replicas: number(replicas)? })
}

fn target(deployment: &str, platform: &str) -> Result<Target, Fault> {
    Ok(Target { deployment: text("deployment id", deployment)?, platform: text("platform name", platform)? })
}

fn change_state(state: &str, refusal: Option<String>) -> Result<ChangeState, Fault> {
    Ok(match state {
        "rolling" => ChangeState::Rolling,
        "committed" => ChangeState::Committed,
        "deadline" => ChangeState::Failed(Reason::Deadline),
        "crash loop" => ChangeState::Failed(Reason::CrashLoop),
        "superseded" => ChangeState::Failed(Reason::Superseded),
        "refused" => ChangeState::Failed(Reason::Refused(refusal.unwrap_or_default())),
        other => return Err(Fault::unreadable("change", format!("`{other}` is no state of one"))),
    })
}

/// The name under which a state is stored, and the platform's words if it is a refusal.
pub(super) fn state_columns(state: &ChangeState) -> (&'static str, Option<&str>) {
    match state {
        ChangeState::Rolling => ("rolling", None),
        ChangeState::Committed => ("committed", None),
        ChangeState::Failed(Reason::Deadline) => ("deadline", None),
        ChangeState::Failed(Reason::CrashLoop) => ("crash loop", None),
        ChangeState::Failed(Reason::Superseded) => ("superseded", None),
        ChangeState::Failed(Reason::Refused(message)) => ("refused", Some(message)),
    }
}

fn number<N>(stored: i64) -> Result<N, Fault>
where
    N: TryFrom<i64, Error: Error + Send + Sync + 'static>,
{
    N::try_from(stored).map_err(|error| Fault::unreadable("number", error))
}

fn text<T>(what: &'static str, stored: &str) -> Result<T, Fault>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    stored.parse().map_err(|error| Fault::unreadable(what, error))
}

fn json<T: DeserializeOwned>(what: &'static str, stored: &str) -> Result<T, Fault> {
    serde_json::from_str(stored).map_err(|error| Fault::unreadable(what, error))
}
