//! The Controller's shell in this world: it carries out the first action of a fresh plan, and tells what arrives.
//! Here the properties of single steps are checked.

use std::collections::{BTreeMap, BTreeSet};

use ftl_controller::desired::{Applied, ChangeState, Outcome, Reason, Startup, Transaction, Want};
use ftl_controller::observed::{Observed, Refused, Routes, Stage};
use ftl_controller::plan::{Action, plan};
use ftl_controller::time::Time;
use ftl_core::key::{ChangeId, RunnerKey};
use ftl_core::platform::InstanceRef;
use ftl_core::runner::{Order, Registration, Report};

use super::world::{
    Answer, Body, Broken, Controller, Durable, Habit, Message, Op, Parcel, Request, TICK, World, index_of,
    platform,
};

/// Its life.
impl World {
    pub(crate) fn start(&mut self) {
        let adopting = if self.tied { BTreeSet::new() } else { [platform(0), platform(1)].into() };
        let startup = Startup { adopting, at: self.clock() };
        self.desired.start(&startup);
        self.ghost.log.push(Durable::Start(startup));
        self.note(format!("CONTROLLER STARTS, epoch {}", self.desired.epoch));
        let platforms = [(platform(0), TICK), (platform(1), TICK)];
        self.controller = Some(Controller {
            observed: Observed::new(self.desired.epoch, platforms, self.clock()),
            idle_at: self.now,
            quiet_until: None,
            stale: Vec::new(),
            deployed_to: BTreeSet::new(),
        });
        let now = self.now;
        self.processes.iter_mut().for_each(|process| process.moved_at = now);
        self.requests.iter_mut().for_each(|request| request.at = now);
        self.answers.iter_mut().for_each(|answer| answer.at = now);
    }

    pub(crate) fn restart(&mut self) {
        self.budget.restart -= 1;
        self.ghost.happened.controller = true;
        let controller = self.controller.take();
        if self.budget.frozen > 0 && !self.tied {
            self.budget.frozen -= 1;
            self.note("CONTROLLER FROZEN, another takes over".into());
            self.frozen = controller.map(|controller| (controller, self.desired.clone()));
        } else {
            self.note("CONTROLLER KILLED".into());
        }
        self.net.clear();
        // What a dead Controller asked may still be answered, to the next one.
        self.answers.retain(|answer| matches!(answer.what, Answer::Listed(..)));
        for process in &mut self.processes {
            (process.session, process.moved_at) = (None, self.now);
        }
        if self.tied {
            self.requests.clear();
            self.answers.clear();
            self.ghost.self_ended.clear();
            for process in &mut self.processes {
                process.removed = true;
                process.end.get_or_insert_default();
            }
        }
    }

    /// It does not run for a while, and finds its clock ahead.
    pub(crate) fn pause(&mut self) {
        self.budget.pause -= 1;
        self.ghost.happened.controller = true;
        self.note("CONTROLLER PAUSED for 15 ticks".into());
        self.ahead += TICK * 15;
    }

    pub(crate) fn operate(&mut self) {
        let op = self.ops.remove(0);
        self.note(format!("client: {op:?}"));
        self.ghost.acked.push(op.request);
        self.carry(&op);
        self.sent.push(op);
    }

    pub(crate) fn operate_unheard(&mut self) {
        self.budget.ack_lost -= 1;
        let op = self.ops[0].clone();
        self.note(format!("client: {op:?}, its answer is LOST"));
        self.carry(&op);
        self.sent.push(op);
    }

    pub(crate) fn operate_again(&mut self, index: usize) {
        self.budget.op_copy -= 1;
        let op = self.sent[index].clone();
        self.note(format!("a late COPY of {op:?}"));
        self.carry(&op);
    }

    fn carry(&mut self, op: &Op) {
        let change = self.change(op);
        if self.broken == Broken::Requests {
            self.desired.requests.clear();
        }
        let rolling: Vec<ChangeId> = self.desired.rolling().map(|change| change.id).collect();
        match self.desired.apply(&change) {
            Applied::New(_) if self.ghost.carried_out.contains(&op.request) => {
                self.violated("P4", format!("request {} carried out twice", op.request));
            }
            Applied::New(_) => self.ghost.carried_out.push(op.request),
            Applied::Known(_) => {}
            Applied::Conflict => self.violated("P4", format!("request {} conflicts with itself", op.request)),
        }
        if self.broken == Broken::SupersedeAll {
            for id in rolling.into_iter().rev().skip(1) {
                self.desired.changes.get_mut(&id).unwrap().state = ChangeState::Rolling;
                self.ghost.final_states.remove(&id);
            }
        }
        self.ghost.log.push(Durable::Apply(change));
    }
}

/// Its plans.
impl World {
    pub(crate) fn plan_step(&mut self) {
        let Some(mut controller) = self.controller.take() else { return };
        let clock = self.clock();
        if self.broken != Broken::Rebase {
            controller.observed.rebase(&self.timings, clock);
        }
        let mut action = (!controller.stale.is_empty()).then(|| controller.stale.remove(0));
        if action.is_none() {
            let plan = plan(&self.desired, &controller.observed, &self.timings, clock);
            if plan.actions.is_empty() {
                (controller.idle_at, controller.quiet_until) = (self.now, Some(plan.wake));
                self.check_sleep(&controller.observed, plan.wake);
            }
            let mut actions = plan.actions.into_iter();
            action = actions.next();
            if self.broken == Broken::FreshPlan {
                controller.stale = actions.collect();
            }
        }
        self.controller = Some(controller);
        if let Some(action) = action {
            self.note(format!("plan: {action:?}"));
            self.execute(action);
        }
    }

    fn execute(&mut self, action: Action) {
        let clock = self.clock();
        match action {
            Action::Exit => self.violated("exit", "no platform said that a newer Controller acts".into()),
            Action::Write(transaction) => self.write(&transaction),
            Action::Publish(routes) => self.publish(routes),
            Action::Create(key) => {
                let Some(slot) = self.desired.slot(key) else { return };
                let target = slot.target.clone();
                let controller = self.controller.as_mut().unwrap();
                controller.observed.create_sent(&self.desired, key, clock);
                self.ask(index_of(&target.platform), Request::Create(key, target));
            }
            Action::Deploy(key) => {
                self.observed().deploy_sent(key);
                let first = self.controller.as_mut().unwrap().deployed_to.insert(key);
                if first || self.broken != Broken::DeployPerSession {
                    self.send(key, Body::Deploy);
                }
            }
            Action::SendDrain(key) => self.send_drain(key),
            Action::Stop { platform, instance } => {
                self.check_not_routed("Stop", instance.runner);
                self.observed().stop_sent(instance.runner, clock);
                self.ask(index_of(&platform), Request::Stop(instance.runner));
            }
            Action::Record { platform, instance, exit } => {
                self.observed().tail_sent(instance.runner, clock);
                let request = match self.broken {
                    Broken::RecordFirst => Request::Purge(instance.runner),
                    _ => Request::Tail(instance.runner, exit),
                };
                self.ask(index_of(&platform), request);
            }
            Action::Purge { platform, instance } => self.ask_purge(index_of(&platform), &instance),
            Action::List(platform) => {
                let number = self.observed().list_sent(&platform, clock);
                self.ask(index_of(&platform), Request::List(number));
            }
            other => panic!("an action that this world does not know: {other:?}"),
        }
    }

    fn observed(&mut self) -> &mut Observed {
        &mut self.controller.as_mut().unwrap().observed
    }

    fn ask(&mut self, side: usize, what: Request) {
        self.requests.push(Parcel { what, platform: side, at: self.now, late: false });
    }

    fn ask_purge(&mut self, side: usize, instance: &InstanceRef) {
        let clock = self.clock();
        self.check_not_routed("Purge", instance.runner);
        self.observed().purge_sent(instance.runner, clock);
        self.ask(side, Request::Purge(instance.runner));
    }

    fn send(&mut self, key: RunnerKey, body: Body) {
        let Some(seen) = self.controller.as_ref().unwrap().observed.seen(key) else { return };
        let nonce = u32::from_le_bytes(seen.instance.0[..4].try_into().unwrap());
        self.net.push(Message { body, session: seen.session, key, nonce, at: self.now });
    }

    fn send_drain(&mut self, key: RunnerKey) {
        let clock = self.clock();
        self.check_not_routed("Drain", key);
        if self.ghost.routed.contains(&key) {
            self.violated("P1", format!("Drain of key {key}, which routers still route to"));
        }
        if let Some(seen) = self.controller.as_ref().unwrap().observed.seen(key) {
            let nonce = u32::from_le_bytes(seen.instance.0[..4].try_into().unwrap());
            self.ghost.drained.insert(nonce);
        }
        self.observed().drain_sent(key, clock);
        self.send(key, Body::Drain);
    }

    fn check_not_routed(&mut self, what: &str, key: RunnerKey) {
        if self.controller.as_ref().is_some_and(|controller| controller.observed.routes_to(key)) {
            self.violated("P1", format!("{what} of key {key}, which the table routes to"));
        }
    }

    pub(crate) fn write(&mut self, transaction: &Transaction) {
        self.check_write(transaction);
        let outcome = self.desired.write(transaction);
        self.ghost.log.push(Durable::Write(transaction.clone()));
        if outcome == Outcome::PremiseGone && self.broken == Broken::Nothing {
            self.violated("premise", format!("{transaction:?} was planned afresh and its premise is gone"));
        }
        if matches!(transaction, Transaction::Commit { .. }) {
            for (module, want) in &self.desired.serving {
                let lowest = self.ghost.lowest.entry(module.clone()).or_insert(0);
                *lowest = usize::from(want.replicas).min(*lowest);
            }
        }
        if let Transaction::MarkDrain { key } = transaction
            && self.broken == Broken::WithdrawFirst
        {
            self.send_drain(*key);
        }
    }

    /// An old Controller that was frozen goes on.
    pub(crate) fn frozen_step(&mut self) {
        let Some((mut controller, desired)) = self.frozen.take() else { return };
        let clock = self.clock();
        for side in 0..2 {
            let number = controller.observed.list_sent(&platform(side), clock);
            let statuses = self.statuses(side);
            controller.observed.on_listed(&desired, &platform(side), number, &statuses);
        }
        controller.observed.rebase(&self.timings, clock);
        let plan = plan(&desired, &controller.observed, &self.timings, clock);
        let Some(action) = plan.actions.into_iter().find(|action| !matches!(action, Action::List(_))) else {
            return;
        };
        self.note(format!("the frozen Controller: {action:?}"));
        match action {
            Action::Write(transaction) => {
                if self.broken == Broken::EpochFence {
                    self.write(&transaction);
                }
                return;
            }
            Action::Publish(routes) => {
                controller.observed.published(routes);
            }
            Action::Create(key) => {
                controller.observed.create_sent(&desired, key, clock);
                let target = desired.slots[&key].target.clone();
                self.ask(index_of(&target.platform), Request::Create(key, target));
            }
            Action::Deploy(key) => controller.observed.deploy_sent(key),
            Action::SendDrain(key) => controller.observed.drain_sent(key, clock),
            Action::Stop { platform, instance } => {
                controller.observed.stop_sent(instance.runner, clock);
                self.ask(index_of(&platform), Request::Stop(instance.runner));
            }
            Action::Purge { platform, instance } => {
                controller.observed.purge_sent(instance.runner, clock);
                self.ask(index_of(&platform), Request::Purge(instance.runner));
            }
            Action::Record { instance, .. } => controller.observed.tail_sent(instance.runner, clock),
            _ => return,
        }
        self.frozen = Some((controller, desired));
    }
}

/// What arrives.
impl World {
    pub(crate) fn deliver(&mut self, index: usize) {
        let message = self.net.remove(index);
        self.note(format!("key {} session {}: {:?}", message.key, message.session, message.body));
        if !message.body.is_up() {
            return self.hear(&message);
        }
        let clock = self.clock();
        let Some(mut controller) = self.controller.take() else { return };
        let observed = &mut controller.observed;
        let mut session = message.session;
        if self.broken == Broken::SessionFence {
            session = observed.seen(message.key).map_or(session, |seen| seen.session);
        }
        let order = Order { epoch: observed.epoch(), session };
        let taken = match &message.body {
            Body::Register(report) => {
                let resume = self.broken != Broken::Resume || *report != Report::Ready;
                let report = if resume { report.clone() } else { Report::Starting };
                let instance = self.processes[message.nonce as usize].instance();
                let registration = Registration::new("rust".parse().unwrap(), instance, report);
                let known =
                    observed.on_register(&self.desired, message.key, message.session, &registration, clock);
                known.map(drop)
            }
            Body::Report(report) => observed.on_report(&self.desired, message.key, order, report, clock),
            Body::Disconnected => observed.on_disconnected(message.key, session, clock),
            Body::Deploy | Body::Drain | Body::Gone => Ok(()),
        };
        self.controller = Some(controller);
        if taken == Err(Refused::Gone) {
            let body = Body::Gone;
            self.net.push(Message { body, at: self.now, ..message });
        }
    }

    pub(crate) fn answer(&mut self, index: usize) {
        let Parcel { what, platform: side, .. } = self.answers.remove(index);
        let clock = self.clock();
        let Some(mut controller) = self.controller.take() else { return };
        let observed = &mut controller.observed;
        match &what {
            Answer::Created(instance) => observed.on_created(instance.runner, instance.clone(), clock),
            Answer::CreateFailed(key, error) => observed.on_create_failed(*key, error),
            Answer::Purged(key) => observed.on_purged(&self.desired, &platform(side), *key),
            Answer::Listed(number, statuses) => {
                observed.on_listed(&self.desired, &platform(side), *number, statuses);
                let slots = self.desired.slots.keys();
                let ended = slots.filter(|key| observed.end_of(**key).is_some());
                self.ghost.seen_ended.extend(ended);
            }
            Answer::Tail(..) => {}
        }
        self.controller = Some(controller);
        if let Answer::Tail(key, exit) = what
            && self.desired.ended.get(&key).is_some_and(|ended| !ended.full)
        {
            let tail = vec![format!("last words of {key}")];
            self.write(&Transaction::Record { key, exit, tail });
        }
    }
}

/// The properties of single steps.
impl World {
    /// Nothing is missed by sleeping until the plan said that it would wake.
    fn check_sleep(&mut self, observed: &Observed, wake: Time) {
        let last = wake.minus(std::time::Duration::from_micros(1));
        let missed = plan(&self.desired, observed, &self.timings, last).actions;
        if !missed.is_empty() {
            self.violated("wake", format!("{missed:?} is due before {wake:?}"));
        }
    }

    fn publish(&mut self, routes: Routes) {
        let mut rows: BTreeMap<_, usize> = BTreeMap::new();
        for row in &routes.rows {
            let key = row.replica.runner;
            let nonce = u32::from_le_bytes(row.replica.instance.0[..4].try_into().unwrap());
            *rows.entry(row.module.clone()).or_default() += 1;
            if !self.ghost.deployed.contains(&nonce) {
                self.violated("P1", format!("the table routes to n{nonce}, which never reported Deployed"));
            }
            if self.ghost.drained.contains(&nonce) {
                self.violated("P1", format!("the table routes to n{nonce}, which was sent Drain"));
            }
            if self.ghost.seen_ended.contains(&key) {
                self.violated("P1", format!("the table routes to key {key}, whose end was seen"));
            }
            let slot = self.desired.slot(key);
            if !slot.is_some_and(|slot| self.desired.serves(&slot.target)) {
                self.violated("P5", format!("the table routes to key {key}, whose target does not serve"));
            }
        }
        self.check_rows(&rows);
        self.ghost.rows = rows;
        self.ghost.routed = routes.rows.iter().map(|row| row.replica.runner).collect();
        let replicas = self.desired.serving.iter();
        self.ghost.lowest =
            replicas.map(|(module, want)| (module.clone(), usize::from(want.replicas))).collect();
        self.observed().published(routes);
    }

    /// P2, as far as it can be seen in the table.
    fn check_rows(&mut self, rows: &BTreeMap<ftl_core::name::ModuleName, usize>) {
        let happened = self.ghost.happened;
        if happened.runner || happened.connection || happened.term || (self.tied && happened.controller) {
            return;
        }
        for (module, before) in self.ghost.rows.clone() {
            let restless = |(id, habit): (&ftl_core::key::DeploymentId, &Habit)| {
                *id.module() == module && matches!(habit, Habit::CrashesAfter(_))
            };
            let lowest = self.ghost.lowest.get(&module).copied().unwrap_or(0);
            let now = rows.get(&module).copied().unwrap_or(0);
            if now < before.min(lowest) && !self.habits.iter().any(restless) {
                self.violated("P2", format!("{module} falls from {before} to {now} rows without any fault"));
            }
        }
    }

    fn check_write(&mut self, transaction: &Transaction) {
        match transaction {
            Transaction::Commit { change, .. } => self.check_commit(*change),
            Transaction::Fail { change, reason } => self.check_fail(*change, reason),
            Transaction::Replace { key, .. } => self.check_replace(*key),
            Transaction::MarkDrain { key } => self.check_mark_drain(*key),
            _ => {}
        }
    }

    fn has_ready(&self, want: &Want) -> bool {
        let observed = &self.controller.as_ref().unwrap().observed;
        let ready = |key: RunnerKey| {
            observed.end_of(key).is_none()
                && observed.seen(key).is_some_and(|seen| seen.is_connected() && seen.stage == Stage::Ready)
        };
        let slots = self.desired.staying(&want.target).filter(|slot| ready(slot.key));
        slots.count() >= usize::from(want.replicas)
    }

    fn check_commit(&mut self, id: ChangeId) {
        let Some(change) = self.desired.changes.get(&id).cloned() else { return };
        if !change.wanted.values().all(|want| self.has_ready(want)) {
            self.violated("P5", format!("change {id} commits while a target is not ready"));
        }
        let overlaps = |newer: &ftl_controller::desired::Change| {
            newer.wanted.keys().any(|module| change.wanted.contains_key(module))
        };
        if self.desired.changes.values().any(|newer| newer.id > id && overlaps(newer)) {
            self.violated(
                "P4",
                format!("change {id} commits after an overlapping newer one was acknowledged"),
            );
        }
    }

    fn check_fail(&mut self, id: ChangeId, reason: &Reason) {
        let Some(change) = self.desired.changes.get(&id).cloned() else { return };
        let healthy = change.wanted.values().all(|want| self.is_healthy(&want.target));
        let happened = self.ghost.happened;
        match reason {
            Reason::Deadline if healthy && !happened.any() => {
                self.violated("P9", format!("healthy change {id} failed by its deadline without any fault"));
            }
            Reason::CrashLoop if healthy && change.wanted.values().all(|want| self.has_ready(want)) => {
                self.violated(
                    "P9",
                    format!("change {id} failed as a crash loop while its targets are ready"),
                );
            }
            Reason::CrashLoop if healthy && !happened.runner && !happened.term => {
                self.violated("P7", format!("change {id} failed as a crash loop, and no Runner crashed"));
            }
            Reason::Refused(_) if healthy => {
                self.violated("P9", format!("change {id} was refused, and its targets are not"));
            }
            _ => {}
        }
    }

    fn check_replace(&mut self, key: RunnerKey) {
        let Some(slot) = self.desired.slot(key).cloned() else { return };
        if !self.ghost.happened.runner && self.is_healthy(&slot.target) {
            self.violated("P7", format!("healthy key {key} replaced without any Runner's fault"));
        }
        let lives = self.processes.iter().any(|process| process.key == key && process.is_live());
        let ended = self.controller.as_ref().unwrap().observed.end_of(key).is_some();
        if lives && ended {
            self.violated("P7", format!("live key {key} replaced for a stale end"));
        }
    }

    fn check_mark_drain(&mut self, key: RunnerKey) {
        let Some(slot) = self.desired.slot(key) else { return };
        let kept = self.desired.kept.get(slot.target.module());
        let keeps = kept.filter(|kept| kept.want.target == slot.target && self.clock() < kept.until);
        let staying = self.desired.staying(&slot.target).count();
        let seen = self.controller.as_ref().and_then(|controller| controller.observed.seen(key));
        let leaves = seen.is_some_and(|seen| matches!(seen.stage, Stage::Draining | Stage::Drained));
        if keeps.is_some_and(|kept| staying <= usize::from(kept.want.replicas)) && !leaves {
            self.violated("P10", format!("kept key {key} drained before its time"));
        }
    }
}
