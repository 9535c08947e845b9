//! Carries calls over the newest table.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::{RoutingTable, Row, StaleTable, pick};
use crate::call::{ATTEMPTS_MAX, Call, Reply, VerbService};
use crate::failure::{CallError, Code, Failure};
use crate::key::{Replica, TableVersion};
use crate::name::{ModuleName, RESERVED_MODULE, nearest};
use crate::schema::{Module, Verb, Visibility};

/// Pause before the second and every later retry; the first is made at once.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How busy the way to a replica is.
pub trait Load {
    /// Calls that were sent and not answered yet.
    fn open_calls(&self) -> usize;
}

/// A row and the way to it.
#[derive(Debug)]
pub struct Target<S> {
    /// Who is behind it.
    pub row: Row,
    /// The way.
    pub service: S,
}

/// Where a call goes.
#[derive(Debug)]
pub enum Routed<S> {
    /// To this replica.
    To(Arc<Target<S>>),
    /// The module is known and has no ready replica, or no table has come yet: wait for the next one.
    Wait,
    /// Nowhere.
    Refused(Failure),
}

struct Snapshot<S> {
    version: TableVersion,
    modules: HashMap<ModuleName, Entry<S>>,
}

struct Entry<S> {
    schema: Arc<Module>,
    targets: Vec<Arc<Target<S>>>,
}

/// What an attempt begins with, all of one table.
struct Attempt<S> {
    routed: Routed<S>,
    table: TableVersion,
    idempotent: bool,
}

/// Replicas that one call was sent to by one table. A newer table may name one of them again, and then it is worth another
/// attempt: its connection was lost and is back.
struct Tried {
    table: TableVersion,
    replicas: Vec<Replica>,
}

impl Default for Tried {
    fn default() -> Self {
        Self { table: TableVersion::NONE, replicas: Vec::new() }
    }
}

impl Tried {
    fn of(&self, table: TableVersion) -> &[Replica] {
        if self.table == table { &self.replicas } else { &[] }
    }

    fn note(&mut self, table: TableVersion, replica: Replica) {
        if self.table != table {
            (self.table, self.replicas) = (table, Vec::new());
        }
        self.replicas.push(replica);
    }
}

/// Routes by the newest table that it was given; reads take no lock.
///
/// As a [`VerbService`] it waits while a known module has no ready replica, and tries again elsewhere what was not
/// started, or may have run and is idempotent: at most [`ATTEMPTS_MAX`] attempts, within the call's deadline.
pub struct Router<S> {
    current: ArcSwap<Snapshot<S>>,
    changed: watch::Sender<TableVersion>,
}

impl<S: VerbService + Load + Clone> Router<S> {
    /// A router that knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let empty = Snapshot { version: TableVersion::NONE, modules: HashMap::new() };
        Self { current: ArcSwap::from_pointee(empty), changed: watch::Sender::new(TableVersion::NONE) }
    }

    /// **UpdateRoutingTable**: replaces the table; `find` supplies the way to a row, rows without one are left out.
    ///
    /// # Errors
    /// [`StaleTable`] when the table is not newer; nothing changed.
    pub fn update_routing_table(
        &self,
        table: RoutingTable,
        find: impl Fn(&Row) -> Option<S>,
    ) -> Result<(), StaleTable> {
        let mut modules: HashMap<ModuleName, Entry<S>> = table
            .modules
            .into_iter()
            .map(|schema| (schema.name.clone(), Entry { schema, targets: Vec::new() }))
            .collect();
        for row in table.rows {
            if let (Some(entry), Some(service)) = (modules.get_mut(&row.module), find(&row)) {
                entry.targets.push(Arc::new(Target { row, service }));
            }
        }
        let next = Arc::new(Snapshot { version: table.version, modules });
        let mut stale = None;
        // Under the watch's lock, so that two writers cannot interleave between the comparison and the store.
        self.changed.send_if_modified(|current| {
            if table.version <= *current {
                stale = Some(StaleTable { current: *current, offered: table.version });
                return false;
            }
            *current = table.version;
            self.current.store(next.clone());
            true
        });
        stale.map_or(Ok(()), Err)
    }

    /// The version of the newest table.
    #[must_use]
    pub fn version(&self) -> TableVersion {
        self.current.load().version
    }

    /// The schema of a module that serves.
    #[must_use]
    pub fn schema(&self, module: &str) -> Option<Arc<Module>> {
        self.current.load().modules.get(module).map(|entry| entry.schema.clone())
    }

    /// The schema of a module that serves. While no table has come, nobody knows what serves: that is waited for.
    pub async fn await_schema(&self, module: &str, deadline: Instant) -> Option<Arc<Module>> {
        let mut changed = self.changed.subscribe();
        let known = changed.wait_for(|version| *version != TableVersion::NONE);
        // Late or not: what is known now is the answer.
        let _ = timeout_at(deadline, known).await;
        self.schema(module)
    }

    /// The schema of every module that serves, ordered by name.
    #[must_use]
    pub fn schemas(&self) -> Vec<Arc<Module>> {
        let mut schemas: Vec<_> =
            self.current.load().modules.values().map(|entry| entry.schema.clone()).collect();
        schemas.sort_by(|a, b| a.name.cmp(&b.name));
        schemas
    }

    /// Where a call of `target` (`module.verb`) by `caller` goes now.
    #[must_use]
    pub fn route(&self, target: &str, caller: Option<&str>) -> Routed<S> {
        self.route_besides(target, caller, &Tried::default()).routed
    }

    fn route_besides(&self, target: &str, caller: Option<&str>, tried: &Tried) -> Attempt<S> {
        let snapshot = self.current.load();
        let table = snapshot.version;
        let (entry, verb) = match snapshot.resolve(target, caller) {
            Ok(found) => found,
            Err(failure) => {
                // Before the first table nobody knows what there is: a Controller that has just started still hears of it.
                let early = failure.code == Code::NotFound && table == TableVersion::NONE;
                let routed = if early { Routed::Wait } else { Routed::Refused(failure.not_started(false)) };
                return Attempt { routed, table, idempotent: false };
            }
        };
        let chosen = match tried.of(table) {
            [] => choose(&entry.targets),
            tried => {
                let rest = entry.targets.iter().filter(|target| !tried.contains(&target.row.replica));
                choose(&rest.cloned().collect::<Vec<_>>())
            }
        };
        Attempt { routed: chosen.map_or(Routed::Wait, Routed::To), table, idempotent: verb.idempotent }
    }

    async fn carry(&self, call: Call) -> Result<Reply, CallError> {
        let target = call.head.target.to_string();
        let caller = call.head.caller.as_ref().map(ToString::to_string);
        let mut changes = self.changed.subscribe();
        let mut tried = Tried::default();
        let mut last: Option<Failure> = None;
        let mut attempt = call.head.attempt;
        loop {
            changes.borrow_and_update();
            let Attempt { routed, table, idempotent } =
                self.route_besides(&target, caller.as_deref(), &tried);
            let to = match routed {
                Routed::To(to) => to,
                Routed::Refused(failure) => return Err(last.unwrap_or(failure).into()),
                Routed::Wait => {
                    wait(&mut changes, call.head.deadline)
                        .await
                        .map_err(|none| last.clone().unwrap_or(none))?;
                    continue;
                }
            };
            // A newer deployment may not say any more that its verb can be repeated.
            if let Some(last) = last.take_if(|last| !last.may_retry(idempotent)) {
                return Err(last.into());
            }
            let mut head = call.head.clone();
            (head.replica, head.table, head.attempt) = (Some(to.row.replica), Some(table), attempt);
            let Some(body) = call.body.replay() else {
                return to.service.call(Call::new(head, call.body)).await;
            };
            let failure = match to.service.call(Call::new(head, body)).await {
                Err(CallError::Failed(failure)) => failure,
                answered => return answered,
            };
            attempt = attempt.saturating_add(1);
            if !failure.may_retry(idempotent)
                || attempt >= ATTEMPTS_MAX
                || Instant::now() >= call.head.deadline
            {
                return Err(failure.into());
            }
            if last.replace(failure).is_some() {
                sleep(RETRY_PAUSE).await;
            }
            tried.note(table, to.row.replica);
        }
    }
}

impl<S: VerbService + Load + Clone> Default for Router<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Snapshot<S> {
    fn resolve(&self, target: &str, caller: Option<&str>) -> Result<(&Entry<S>, &Verb), Failure> {
        let Some((module, name)) = target.split_once('.') else {
            return Err(Failure::new(Code::InvalidArgument, format!("`{target}` is not `module.verb`")));
        };
        if module == RESERVED_MODULE {
            let message = "the module `ftl` is reserved for control messages and cannot be called";
            return Err(Failure::new(Code::PermissionDenied, message));
        }
        let caller_module = caller.and_then(|caller| caller.split_once('.')).map(|(module, _)| module);
        let Some(entry) = self.modules.get(module) else {
            let hint = suggest(nearest(module, self.modules.keys().map(ModuleName::as_str)));
            let by = caller.map(|caller| format!(", which `{caller}` calls")).unwrap_or_default();
            return Err(Failure::new(Code::NotFound, format!("no module `{module}` serves{by}{hint}")));
        };
        let Some(verb) = entry.schema.verb(name) else {
            let hint = suggest(nearest(name, entry.schema.verbs.iter().map(|verb| verb.name.as_str())));
            let by = caller.map(|caller| format!(", which `{caller}` calls")).unwrap_or_default();
            let message = format!("module `{module}` has no verb `{name}`{by}{hint}");
            return Err(Failure::new(Code::NotFound, message));
        };
        if verb.visibility == Visibility::Module && caller_module != Some(module) {
            let message = format!("`{target}` is private to its module: mark it `pub` to let others call it");
            return Err(Failure::new(Code::PermissionDenied, message));
        }
        Ok((entry, verb))
    }
}

fn suggest(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

fn choose<S: Load>(targets: &[Arc<Target<S>>]) -> Option<Arc<Target<S>>> {
    let index = pick(targets.len(), random(), |row| targets[row].service.open_calls())?;
    Some(targets[index].clone())
}

/// xorshift64*: a draw per call must cost nothing, and only has to be spread well.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0) | 1);
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    })
}

async fn wait(changes: &mut watch::Receiver<TableVersion>, deadline: Instant) -> Result<(), Failure> {
    match timeout_at(deadline, changes.changed()).await {
        Ok(Ok(())) => Ok(()),
        // The sender lives in the router that is being borrowed, so only the time can have run out.
        Ok(Err(_)) | Err(_) => {
            let message = "no replica of the module became ready before the deadline; `ftl ps` says why";
            Err(Failure::new(Code::DeadlineExceeded, message).not_started(false))
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: VerbService + Load + Clone> VerbService for Router<S> {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let (verb, request) = (call.head.target.clone(), call.head.request.clone());
        self.carry(call).await.map_err(|error| match error {
            CallError::Failed(failure) => CallError::Failed(failure.of_call(&verb, &request)),
            CallError::Verb(body) => CallError::Verb(body),
        })
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("version", &self.current.load().version).finish_non_exhaustive()
    }
}

/// Counts the open calls of a service that does not count them itself.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    open: Arc<AtomicUsize>,
}

impl<S> Counted<S> {
    /// Counts from zero.
    pub fn new(inner: S) -> Self {
        Self { inner, open: Arc::default() }
    }
}

impl<S> Load for Counted<S> {
    fn open_calls(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: VerbService> VerbService for Counted<S> {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        self.inner.ping(deadline).await
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.open.fetch_add(1, Ordering::Relaxed);
        let _open = Open(self.open.clone());
        self.inner.call(call).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Body, Head};
    use crate::digest::Digest;
    use crate::failure::Fate;
    use crate::key::{DeploymentId, Epoch, Instance, RunnerKey};
    use std::sync::Mutex;

    /// Answers with its name, or fails as it was told to.
    #[derive(Debug)]
    struct Scripted {
        answers: Mutex<Vec<Result<&'static str, Failure>>>,
        calls: AtomicUsize,
    }

    impl Scripted {
        fn new(answers: Vec<Result<&'static str, Failure>>) -> Arc<Self> {
            Arc::new(Self { answers: Mutex::new(answers), calls: AtomicUsize::new(0) })
        }
    }

    #[async_trait]
    impl VerbService for Scripted {
        async fn ping(&self, _: Instant) -> Result<(), Failure> {
            Ok(())
        }

        async fn call(&self, _: Call) -> Result<Reply, CallError> {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let mut answers = self.answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
            Ok(Reply::new(Body::once(answer?)))
        }
    }

    type Way = Counted<Arc<Scripted>>;

    fn clock(idempotent: bool) -> Arc<Module> {
        let mut module = Module::new("clock".parse().unwrap());
        let mut now = Verb::new("now".parse().unwrap());
        now.idempotent = idempotent;
        let mut private = Verb::new("tick".parse().unwrap());
        private.visibility = Visibility::Module;
        module.verbs = vec![now, private];
        Arc::new(module)
    }

    fn row(key: u64) -> Row {
        Row {
            module: "clock".parse().unwrap(),
            deployment: DeploymentId::new("clock".parse().unwrap(), Digest::of(b"1")),
            replica: Replica { runner: RunnerKey(key), instance: Instance([1; 16]) },
        }
    }

    fn publish(
        router: &Router<Way>,
        seq: u64,
        module: Arc<Module>,
        ways: &[Arc<Scripted>],
    ) -> Result<(), StaleTable> {
        let rows: Vec<Row> = (0..ways.len() as u64).map(row).collect();
        let version = TableVersion { epoch: Epoch(1), seq };
        let find = |row: &Row| ways.get(row.replica.runner.0 as usize).cloned().map(Counted::new);
        router.update_routing_table(RoutingTable { version, modules: vec![module], rows }, find)
    }

    fn call(target: &str) -> Call {
        let deadline = Instant::now() + Duration::from_secs(5);
        Call::new(Head::new(target.parse().unwrap(), "r".parse().unwrap(), deadline), Body::once("{}"))
    }

    fn failed(result: Result<Reply, CallError>) -> Failure {
        match result.unwrap_err() {
            CallError::Failed(failure) => failure,
            CallError::Verb(body) => panic!("{body:?}"),
        }
    }

    fn draining() -> Failure {
        Failure::new(Code::Unavailable, "draining").not_started(true)
    }

    fn lost() -> Failure {
        Failure::new(Code::Unavailable, "connection lost")
    }

    #[tokio::test]
    async fn what_was_not_started_is_tried_elsewhere() {
        let router = Router::new();
        let ways = [Scripted::new(vec![Err(draining())]), Scripted::new(vec![Ok("there")])];
        publish(&router, 1, clock(false), &ways).unwrap();
        for _ in 0..20 {
            let reply = router.call(call("clock.now")).await.unwrap();
            assert_eq!(reply.body.collect(10).await.unwrap(), "there");
        }
    }

    #[tokio::test]
    async fn what_may_have_run_is_repeated_only_if_idempotent() {
        for (idempotent, calls) in [(false, 1), (true, 2)] {
            let router = Router::new();
            let ways = [Scripted::new(vec![Err(lost())]), Scripted::new(vec![Err(lost())])];
            publish(&router, 1, clock(idempotent), &ways).unwrap();
            let mut late = call("clock.now");
            late.head.deadline = Instant::now() + Duration::from_millis(50);
            let failure = failed(router.call(late).await);
            assert_eq!(failure.fate, Fate::MayHaveRun);
            assert_eq!(failure.verb.unwrap().to_string(), "clock.now");
            let seen: usize = ways.iter().map(|way| way.calls.load(Ordering::Relaxed)).sum();
            assert_eq!(seen, calls, "idempotent: {idempotent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_a_newer_table_names_again_is_tried_again() {
        let router = Arc::new(Router::new());
        let gone = Scripted::new(vec![Err(draining()), Ok("back")]);
        publish(&router, 1, clock(false), std::slice::from_ref(&gone)).unwrap();
        let waiting = {
            let router = router.clone();
            tokio::spawn(async move { router.call(call("clock.now")).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(gone.calls.load(Ordering::Relaxed), 1, "the same table is no reason to try again");
        publish(&router, 2, clock(false), &[gone]).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().body.collect(10).await.unwrap(), "back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_run_is_not_repeated_by_a_deployment_that_forbids_it() {
        let router = Arc::new(Router::new());
        let lossy = Scripted::new(vec![Err(lost())]);
        publish(&router, 1, clock(true), &[lossy]).unwrap();
        let waiting = {
            let router = router.clone();
            tokio::spawn(async move { router.call(call("clock.now")).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = Scripted::new(vec![Ok("twice")]);
        publish(&router, 2, clock(false), std::slice::from_ref(&next)).unwrap();
        assert_eq!(failed(waiting.await.unwrap()).fate, Fate::MayHaveRun);
        assert_eq!(next.calls.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_module_without_rows_waits_for_the_next_table() {
        let router = Arc::new(Router::new());
        publish(&router, 1, clock(false), &[]).unwrap();
        let waiting = {
            let router = router.clone();
            tokio::spawn(async move { router.call(call("clock.now")).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        publish(&router, 2, clock(false), &[Scripted::new(vec![Ok("late")])]).unwrap();
        assert!(waiting.await.unwrap().is_ok());

        publish(&router, 3, clock(false), &[]).unwrap();
        let failure = failed(router.call(call("clock.now")).await);
        assert_eq!(
            (failure.code, failure.fate),
            (Code::DeadlineExceeded, Fate::NotStarted { elsewhere: false })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn before_the_first_table_everything_waits() {
        let router = Arc::new(Router::new());
        let waiting = {
            let router = router.clone();
            tokio::spawn(async move { router.call(call("clock.now")).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let schema = {
            let router = router.clone();
            let deadline = Instant::now() + Duration::from_secs(5);
            tokio::spawn(async move { router.await_schema("clock", deadline).await })
        };
        assert!(router.await_schema("clock", Instant::now()).await.is_none());
        assert!(
            matches!(router.route("ftl.deploy", None), Routed::Refused(_)),
            "but what can never be called"
        );
        publish(&router, 1, clock(false), &[Scripted::new(vec![Ok("late")])]).unwrap();
        assert!(waiting.await.unwrap().is_ok());
        assert_eq!(schema.await.unwrap().unwrap().name.as_str(), "clock");
    }

    #[tokio::test]
    async fn what_cannot_be_routed_says_why() {
        let router: Router<Way> = Router::new();
        publish(&router, 1, clock(false), &[]).unwrap();
        let refuse = |target: &str, caller: Option<&str>| match router.route(target, caller) {
            Routed::Refused(failure) => (failure.code, failure.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(refuse("clok.now", None).1, "no module `clok` serves; did you mean `clock`?");
        let (code, message) = refuse("clock.nov", Some("greeter.hello"));
        assert_eq!(code, Code::NotFound);
        assert_eq!(
            message,
            "module `clock` has no verb `nov`, which `greeter.hello` calls; did you mean `now`?"
        );
        assert_eq!(refuse("clock.tick", Some("greeter.hello")).0, Code::PermissionDenied);
        assert!(matches!(router.route("clock.tick", Some("clock.now")), Routed::Wait));
        assert_eq!(refuse("ftl.deploy", None).0, Code::PermissionDenied);
    }

    #[test]
    fn an_older_table_is_refused() {
        let router: Router<Way> = Router::new();
        publish(&router, 2, clock(false), &[]).unwrap();
        assert!(publish(&router, 2, clock(false), &[]).is_err());
        assert!(publish(&router, 1, clock(false), &[]).is_err());
        assert_eq!(router.version(), TableVersion { epoch: Epoch(1), seq: 2 });
    }
}
