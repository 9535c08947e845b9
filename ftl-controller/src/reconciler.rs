//! The loop: takes messages, plans, carries out the first action, plans anew.
//!
//! It is the only writer of desired state. It waits for its own store and for nothing else: platforms have workers,
//! orders to Runners are tasks of their own, and what becomes of either arrives as a message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::boot::Boot;
use ftl_core::controller::ChangeSpec;
use ftl_core::key::{ChangeId, RunnerKey, Session};
use ftl_core::platform::{Capability, ClusterSpec, ErrorKind, InstanceSpec, PlatformError};
use ftl_core::routing::RoutingTable;
use ftl_core::runner::{Order, Registration, Report, Runner};
use ftl_core::sequence::{Actor, Event};
use ftl_core::{ControllerError, Failure, Platform};
use ftl_wire::{Authority, Connection};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::desired::{Applied, Desired, NewChange, Outcome, Slot, Transaction};
use crate::error::{ServiceError, in_words, refusal};
use crate::mailbox::{Mailbox, Message, ending};
use crate::observed::{Observed, Routes};
use crate::options::Options;
use crate::plan::{Action, plan};
use crate::platforms::{Doors, PlatformEvent, Task, Workers, end_with_controller};
use crate::runners::{DataPath, PeerOf};
use crate::specs::Specs;
use crate::status::Moment;
use crate::store::{Store, StoreError};
use crate::time::{Clock, Time};

/// How long an instance without a slot may take to end: its calls have been drained, or are given up.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Messages that are taken before the next plan: however many come, something is decided.
const MESSAGES_IN_A_ROW: usize = 64;

/// The newest connection of a Runner.
#[derive(Debug)]
struct Way {
    session: Session,
    connection: Connection,
    runner: Arc<dyn Runner>,
}

/// The reconciler; see the module.
#[derive(Debug)]
pub(crate) struct Reconciler {
    options: Arc<Options>,
    clock: Clock,
    store: Store,
    desired: Desired,
    observed: Observed,
    path: DataPath,
    workers: Workers,
    ways: HashMap<RunnerKey, Way>,
    specs: Specs,
    /// Grows with everything that somebody may want to know.
    news: watch::Sender<u64>,
    /// Orders on their way to Runners, and the workers.
    tasks: JoinSet<()>,
    /// The store failed: nothing is written before then, and it is read again first, because nobody knows how far the
    /// failed transaction came.
    ailing: Option<Ailing>,
}

/// A store that does not take what it is given.
#[derive(Debug)]
struct Ailing {
    until: Time,
    why: String,
}

/// What a reconciler begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) desired: Desired,
    /// Those of all that is desired; the data path knows the slots already.
    pub(crate) specs: Specs,
    pub(crate) path: DataPath,
    /// Where the data path listens.
    pub(crate) addresses: Vec<String>,
    pub(crate) doors: Doors,
    pub(crate) mailbox: Mailbox,
    pub(crate) news: watch::Sender<u64>,
}

impl Reconciler {
    /// Starts the workers.
    pub(crate) fn begin(beginning: Beginning) -> Self {
        let Beginning { options, clock, store, desired, specs, path, addresses, doors, mailbox, news } =
            beginning;
        let platforms = options.platforms.iter().map(|platform| {
            let description = platform.describe();
            (description.name.clone(), description.facts.start_typical)
        });
        let observed = Observed::new(desired.epoch, platforms, clock.now());
        let mut tasks = JoinSet::new();
        let mut cluster = ClusterSpec::new(path.cluster.clone(), desired.epoch, addresses);
        cluster.programs.clone_from(&options.runner);
        cluster.owner.clone_from(&options.owner);
        let workers = Workers::start(&options.platforms, &cluster, &doors, &mailbox, &mut tasks);
        let ways = HashMap::new();
        Self {
            options,
            clock,
            store,
            desired,
            observed,
            path,
            workers,
            ways,
            specs,
            news,
            tasks,
            ailing: None,
        }
    }

    /// Runs until it is asked to end, or must.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        ending: CancellationToken,
    ) -> Result<(), ServiceError> {
        while !ending.is_cancelled() {
            for _ in 0..MESSAGES_IN_A_ROW {
                let Ok(message) = inbox.try_recv() else { break };
                self.take(message).await?;
            }
            let wake = match self.step().await? {
                Some(wake) => self.clock.instant(wake),
                None => continue,
            };
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message).await?,
                    None => return Err(ServiceError::Internal("nobody can reach the reconciler".to_owned())),
                },
                () = sleep_until(wake) => {}
                () = ending.cancelled() => break,
            }
            while self.tasks.try_join_next().is_some() {}
        }
        self.end(inbox).await
    }

    /// Plans, and carries out the first action; or answers until when there is nothing to do.
    async fn step(&mut self) -> Result<Option<Time>, ServiceError> {
        let now = self.clock.now();
        self.observed.rebase(&self.options.timings, now);
        if self.ailing.as_ref().is_some_and(|ailing| ailing.until <= now) {
            self.read_again().await?;
        }
        let planned = plan(&self.desired, &self.observed, &self.options.timings, now);
        // What needs no transaction follows from what is durable, and does not wait for one that cannot be written.
        let writes = |action: &Action| matches!(action, Action::Write(_));
        match planned.actions.into_iter().find(|action| self.ailing.is_none() || !writes(action)) {
            None => {
                Ok(Some(self.ailing.as_ref().map_or(planned.wake, |ailing| ailing.until.min(planned.wake))))
            }
            Some(action) => {
                tracing::debug!(?action, "next");
                self.carry_out(action, now).await?;
                Ok(None)
            }
        }
    }

    async fn carry_out(&mut self, action: Action, now: Time) -> Result<(), ServiceError> {
        match action {
            Action::Exit => return Err(ServiceError::Fenced),
            Action::Write(transaction) => self.write(&transaction).await?,
            Action::Publish(routes) => self.publish(routes),
            Action::Create(key) => self.create(key, now),
            Action::Deploy(key) => self.deploy(key),
            Action::SendDrain(key) => self.send_drain(key, now),
            Action::Stop { platform, instance } => {
                self.observed.stop_sent(instance.runner, now);
                self.workers.give(&platform, Task::Stop { instance, grace: STOP_GRACE });
            }
            Action::Record { platform, instance, exit } => {
                self.observed.tail_sent(instance.runner, now);
                self.workers.give(&platform, Task::Tail { instance, exit });
            }
            Action::Purge { platform, instance } => {
                self.observed.purge_sent(instance.runner, now);
                self.workers.give(&platform, Task::Purge(instance));
            }
            Action::List(platform) => {
                let number = self.observed.list_sent(&platform, now);
                self.workers.give(&platform, Task::List(number));
            }
        }
        Ok(())
    }

    /// Durable first, then here; neither, while the store fails.
    async fn write(&mut self, transaction: &Transaction) -> Result<(), ServiceError> {
        let stored = match self.store.write(transaction).await {
            Ok(stored) => stored,
            Err(error) => return self.ail(error),
        };
        if stored != Outcome::Done || self.desired.write(transaction) != Outcome::Done {
            // The store is right, whatever this process believed.
            tracing::warn!(?transaction, "a transaction's premise was gone; reading the store again");
            self.read_again().await?;
        }
        if let Transaction::Replace { key, end, .. } = transaction {
            let exit = end.exit.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(runner = %key, why = %end.why, exit, "a replica is replaced");
        }
        self.show_slots();
        self.tell_news();
        Ok(())
    }

    /// The store failed. A full disk must not end what serves: it is told, and tried again; what will not pass ends the
    /// Controller.
    fn ail(&mut self, error: StoreError) -> Result<(), ServiceError> {
        match error {
            StoreError::Database { .. } => {}
            // Of the one who asked for it, not of the store.
            StoreError::UnknownDeployment => return Ok(()),
            _ => return Err(error.into()),
        }
        if self.ailing.is_none() {
            tracing::error!(error = &error as &dyn std::error::Error, "nothing can be decided");
        }
        let until = self.clock.now().plus(self.options.timings.retry);
        self.ailing = Some(Ailing { until, why: in_words(&error) });
        self.tell_news();
        Ok(())
    }

    /// Believes the store instead of memory.
    async fn read_again(&mut self) -> Result<(), ServiceError> {
        let read = async {
            self.desired = self.store.load().await?;
            self.specs.read(&self.store, &self.desired).await
        };
        if let Err(error) = read.await {
            return self.ail(error);
        }
        if self.ailing.take().is_some() {
            tracing::info!("the store is read again");
        }
        self.show_slots();
        self.tell_news();
        Ok(())
    }

    fn publish(&mut self, routes: Routes) {
        let specs = routes.modules.values().filter_map(|id| self.specs.get(id));
        let modules = specs.map(|slot| Arc::new(slot.spec.schema.clone())).collect();
        let rows = routes.rows.clone();
        let version = self.observed.published(routes);
        let id = format!("{}", rows.len());
        Event::new(Actor::Controller, Actor::Controller, "UpdateRoutingTable", "", &id).record();
        let table = RoutingTable { version, modules, rows };
        let ways = &self.ways;
        let find =
            |row: &ftl_core::routing::Row| ways.get(&row.replica.runner).map(|way| way.connection.clone());
        if let Err(stale) = self.path.router.update_routing_table(table, find) {
            tracing::error!(%stale, "a route table was not taken");
        }
        self.tell_news();
    }

    fn create(&mut self, key: RunnerKey, now: Time) {
        self.observed.create_sent(&self.desired, key, now);
        let Some(slot) = self.desired.slot(key) else { return };
        let platform = slot.target.platform.clone();
        if !self.workers.has(&platform) {
            let message = format!("the platform `{platform}` is not configured any more");
            let error = PlatformError::new(ErrorKind::Unsupported, message);
            return self.observed.on_create_failed(key, &error);
        }
        match self.instance(slot) {
            // A worker that has too much to do already is asked again, as one that did not answer.
            Some(instance) => drop(self.workers.give(&platform, Task::Create(Box::new(instance)))),
            None => tracing::error!(runner = %key, "the store does not know its deployment"),
        }
    }

    /// What to create for a slot, and what its Runner is told once it is known how it reaches this Controller.
    fn instance(&self, slot: &Slot) -> Option<(InstanceSpec, Boot)> {
        let deployment = &self.specs.get(&slot.target.deployment)?.spec;
        let (cluster, epoch, language) =
            (self.path.cluster.clone(), self.desired.epoch, deployment.language.clone());
        let secret = self.path.secret(slot.key);
        let boot = Boot::new(cluster.clone(), slot.key, language.clone(), epoch, Vec::new(), secret);
        let program = self.options.runner.clone();
        let mut spec = InstanceSpec::new(cluster, slot.key, language, epoch, program, boot.to_document());
        spec.env = self.options.runner_env.clone();
        spec.needs = deployment.needs.clone();
        spec.labels.insert("module".to_owned(), slot.target.module().to_string());
        spec.labels.insert("deployment".to_owned(), slot.target.deployment.to_string());
        Some((spec, boot))
    }

    /// Who to order, and in whose name.
    fn way(&self, key: RunnerKey) -> Option<(Arc<dyn Runner>, Order)> {
        let way = self.ways.get(&key)?;
        Some((way.runner.clone(), Order { epoch: self.desired.epoch, session: way.session }))
    }

    fn deploy(&mut self, key: RunnerKey) {
        self.observed.deploy_sent(key);
        let Some(slot) = self.desired.slot(key) else { return };
        let id = slot.target.deployment.clone();
        if let Some((runner, order)) = self.way(key) {
            self.tasks.spawn(async move { warn_if_refused(key, "Deploy", runner.deploy(order, &id).await) });
        }
    }

    fn send_drain(&mut self, key: RunnerKey, now: Time) {
        self.observed.drain_sent(key, now);
        let grace = self.options.timings.grace;
        if let Some((runner, order)) = self.way(key) {
            self.tasks.spawn(async move { warn_if_refused(key, "Drain", runner.drain(order, grace).await) });
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), ServiceError> {
        let now = self.clock.now();
        match message {
            Message::Register { peer, registration, connection, runner, reply } => {
                let way = Way { session: peer.order.session, connection, runner };
                // Who asked may have gone; its connection's end is a message of its own.
                let _ = reply.send(self.register(peer, &registration, way, now));
            }
            Message::Deployed { peer, reply } => {
                let _ = reply.send(self.report(peer, &Report::Ready, now));
            }
            Message::Report { peer, report, reply } => {
                let _ = reply.send(self.report(peer, &report, now));
            }
            Message::Disconnected { key, session } => {
                if self.ways.get(&key).is_some_and(|way| way.session == session) {
                    self.ways.remove(&key);
                }
                if self.observed.on_disconnected(key, session, now).is_ok() {
                    self.tell_news();
                }
            }
            Message::Platform(event) => self.hear(event, now).await?,
            Message::Apply { change, deadline, reply } => {
                let applied = match self.apply(&change, deadline, now).await {
                    Ok(id) => Ok(id),
                    Err(Applying::Refused(error)) => Err(error),
                    Err(Applying::Store(error)) => {
                        let refusal = refusal(&error);
                        self.ail(error)?;
                        Err(refusal)
                    }
                };
                let _ = reply.send(applied);
            }
            Message::Status { reply } => {
                let _ = reply.send(Ok(self.moment(now).modules()));
            }
            Message::ChangeStatus { id, reply } => {
                let seen = *self.news.borrow();
                let missing = || ControllerError::NotFound {
                    what: "change".to_owned(),
                    name: id.to_string(),
                    hint: None,
                };
                let _ = reply.send(self.moment(now).change(id, seen).ok_or_else(missing));
            }
        }
        Ok(())
    }

    fn moment(&self, now: Time) -> Moment<'_> {
        let (desired, observed, timings) = (&self.desired, &self.observed, &self.options.timings);
        let trouble = self.ailing.as_ref().map(|ailing| ailing.why.as_str());
        Moment { desired, observed, timings, now, trouble }
    }

    fn register(
        &mut self,
        peer: PeerOf,
        registration: &Registration,
        way: Way,
        now: Time,
    ) -> Result<(), ControllerError> {
        let (key, session) = (peer.key, peer.order.session);
        // The end of its connection may have been told already, and is told once.
        if !way.connection.is_open() {
            return Err(ControllerError::Stale);
        }
        self.observed.on_register(&self.desired, key, session, registration, now)?;
        self.ways.insert(key, way);
        // The same replica on a new connection: the row is the same, the way behind it is not.
        if self.observed.routes_to(key)
            && let Some(published) = self.observed.table()
        {
            self.publish(published.routes.clone());
        }
        self.tell_news();
        Ok(())
    }

    fn report(&mut self, peer: PeerOf, report: &Report, now: Time) -> Result<(), ControllerError> {
        let stage = |observed: &Observed| observed.seen(peer.key).map(|seen| seen.stage.clone());
        let before = stage(&self.observed);
        self.observed.on_report(&self.desired, peer.key, peer.order, report, now)?;
        if stage(&self.observed) != before {
            if let (Report::Crashed(_), Some(slot)) = (report, self.desired.slot(peer.key))
                && let Some(view) = self.specs.get(&slot.target.deployment)
            {
                self.path.artefacts.doubt(&view.spec.artefacts.digests());
            }
            self.tell_news();
        }
        Ok(())
    }

    async fn hear(&mut self, event: PlatformEvent, now: Time) -> Result<(), ServiceError> {
        match event {
            PlatformEvent::Created { key, instance } => self.observed.on_created(key, instance, now),
            PlatformEvent::NotCreated { key, error } => {
                let said = self.observed.creation(key).and_then(|creation| creation.failed.as_ref());
                if said != Some(&error.advice()) {
                    tracing::warn!(runner = %key, error = &error as &dyn std::error::Error, "not created");
                }
                self.observed.on_create_failed(key, &error);
                self.tell_news();
            }
            PlatformEvent::Listed { platform, number, instances } => {
                self.observed.on_listed(&self.desired, &platform, number, &instances);
                if self.observed.on_recovery(&platform) {
                    tracing::info!(%platform, "a platform answers again");
                    self.tell_news();
                }
            }
            PlatformEvent::Woken { platform } => self.observed.on_wake(&platform),
            // A second answer for one end tells nothing new.
            PlatformEvent::Read { key, .. }
                if self.desired.ended.get(&key).is_none_or(|ended| ended.full) => {}
            PlatformEvent::Read { key, exit, tail } => {
                self.write(&Transaction::Record { key, exit, tail }).await?;
            }
            PlatformEvent::Purged { platform, key } => {
                self.observed.on_purged(&self.desired, &platform, key);
            }
            PlatformEvent::Stopped { platform } => self.observed.on_wake(&platform),
            PlatformEvent::Failed { platform, error } => {
                self.observed.on_platform_failed(&error);
                if self.observed.on_trouble(&platform, &error, now) {
                    if self.desired.slots.values().any(|slot| slot.target.platform == platform) {
                        tracing::warn!(%platform, error = &error as &dyn std::error::Error, "a platform failed");
                    }
                    self.tell_news();
                }
            }
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        change: &ChangeSpec,
        deadline: Duration,
        now: Time,
    ) -> Result<ChangeId, Applying> {
        let new = NewChange::of_spec(change, deadline, now).map_err(Applying::Refused)?;
        let stored = self.store.apply(&new).await?;
        if self.desired.apply(&new) != stored {
            self.desired = self.store.load().await?;
        }
        self.specs.read(&self.store, &self.desired).await?;
        self.tell_news();
        match stored {
            Applied::New(id) | Applied::Known(id) => Ok(id),
            Applied::Conflict => {
                Err(Applying::Refused(ControllerError::Conflict(change.request.to_string())))
            }
        }
    }

    /// Tells the data path which slots there are.
    fn show_slots(&self) {
        self.path.slots.store(Arc::new(self.specs.of_slots(&self.desired)));
    }

    fn tell_news(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Ends what does not outlive a Controller, answering Runners as long as they have last words.
    async fn end(mut self, mut inbox: mpsc::Receiver<Message>) -> Result<(), ServiceError> {
        let (options, cluster) = (self.options.clone(), self.path.cluster.clone());
        let ends_with_us = |platform: &&Arc<dyn Platform>| {
            let description = platform.describe();
            // Where instances go on by themselves, there are some only if this Controller asked for them.
            let went_on = !description.can(Capability::Adopt) || self.workers.used(&description.name);
            went_on && !(options.outlived && description.can(Capability::Adopt))
        };
        let tied: Vec<_> = options.platforms.iter().filter(ends_with_us).cloned().collect();
        let mut ends = JoinSet::new();
        for platform in tied {
            let cluster = cluster.clone();
            let finished = self.workers.finish(&platform.describe().name);
            ends.spawn(async move {
                finished.await;
                end_with_controller(&*platform, &cluster).await;
            });
        }
        let ended = async { while ends.join_next().await.is_some() {} };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(message) = inbox.recv() => match message {
                    Message::Apply { reply, .. } => {
                        let _ = reply.send(Err(ending()));
                    }
                    message => self.take(message).await?,
                },
            }
        }
        self.store.close().await;
        Ok(())
    }
}

fn warn_if_refused(key: RunnerKey, order: &str, answer: Result<(), Failure>) {
    if let Err(failure) = answer {
        // A lost connection is a message of its own; anything else ends by a deadline of the plan.
        tracing::warn!(runner = %key, order, %failure, "an order was not taken");
    }
}

/// Why a change was not taken.
enum Applying {
    Refused(ControllerError),
    Store(StoreError),
}

impl From<StoreError> for Applying {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
