//! Everything that exists, and what may happen next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ftl_controller::desired::{Desired, NewChange, Startup, Target, Transaction, Want};
use ftl_controller::observed::{ListNumber, Observed};
use ftl_controller::plan::{Plan, plan};
use ftl_controller::time::Time;
use ftl_controller::timings::Timings;
use ftl_core::Digest;
use ftl_core::key::{DeploymentId, Epoch, Instance, RunnerKey, Session};
use ftl_core::name::{ChangeRequest, ModuleName, PlatformName};
use ftl_core::platform::{Exit, InstanceRef, PlatformError};
use ftl_core::runner::Report;

/// A healthy hop takes at most so long.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// The two platforms.
pub(crate) const PLATFORMS: [&str; 2] = ["left", "right"];

/// A rule that is taken away, to see which property notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing: the real thing.
    Nothing,
    /// A new epoch publishes at once.
    Hold,
    /// Silence is never noticed.
    Lease,
    /// A pause of the Controller is not noticed.
    Rebase,
    /// Messages of former sessions are taken for those of the newest.
    SessionFence,
    /// The whole plan is carried out, not its first action and then a fresh one.
    FreshPlan,
    /// An instance is removed before its end is recorded.
    RecordFirst,
    /// The table is withdrawn after Drain is sent.
    WithdrawFirst,
    /// A new change supersedes only the newest that overlaps.
    SupersedeAll,
    /// Requests are not remembered.
    Requests,
    /// A transaction of an old epoch is carried out.
    EpochFence,
    /// Deploy is sent once to a Runner, not once on each of its connections.
    DeployPerSession,
    /// What a Runner that connects again says of itself is not believed.
    Resume,
}

/// How the deployments of a target behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Healthy,
    CrashesAtStart,
    NeverReady,
    DiesBeforeRegistering,
    NeverRegisters,
    CrashesAfter(u32),
    /// The platform refuses to create it.
    Refused,
}

/// How many faults of each kind may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) restart: u8,
    pub(crate) frozen: u8,
    pub(crate) pause: u8,
    pub(crate) crash: u8,
    pub(crate) kill: u8,
    pub(crate) hang: u8,
    pub(crate) cut: u8,
    pub(crate) term: u8,
    pub(crate) disconnect: u8,
    pub(crate) lose: u8,
    pub(crate) duplicate: u8,
    pub(crate) busy: u8,
    pub(crate) platform_down: u8,
    pub(crate) ack_lost: u8,
    pub(crate) op_copy: u8,
}

/// Which kinds of faults have happened: a property may excuse by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Happened {
    pub(crate) runner: bool,
    pub(crate) connection: bool,
    pub(crate) term: bool,
    pub(crate) controller: bool,
    pub(crate) platform: bool,
}

impl Happened {
    pub(crate) fn any(&self) -> bool {
        self.runner || self.connection || self.term || self.controller || self.platform
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    No,
    Starting,
    Up(Time),
}

/// A Runner's process with its deployment.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) nonce: u32,
    pub(crate) key: RunnerKey,
    pub(crate) target: Target,
    /// The Controller's life that asked for it.
    pub(crate) epoch: Epoch,
    pub(crate) end: Option<Exit>,
    pub(crate) removed: bool,
    pub(crate) by_itself: bool,
    pub(crate) user: User,
    pub(crate) session: Option<Session>,
    pub(crate) draining: bool,
    pub(crate) drained: bool,
    pub(crate) grace: Time,
    pub(crate) gone: bool,
    pub(crate) cut: bool,
    pub(crate) hung: bool,
    pub(crate) faulty: bool,
    pub(crate) moved_at: Time,
}

impl Process {
    pub(crate) fn instance(&self) -> Instance {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.nonce.to_le_bytes());
        Instance(bytes)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.end.is_none()
    }

    pub(crate) fn serves(&self) -> bool {
        self.is_live() && !self.hung && !self.draining && matches!(self.user, User::Up(_))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Register(Report),
    Report(Report),
    Disconnected,
    Deploy,
    Drain,
    Gone,
}

impl Body {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self, Self::Register(_) | Self::Report(_) | Self::Disconnected)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) body: Body,
    pub(crate) session: Session,
    pub(crate) key: RunnerKey,
    pub(crate) nonce: u32,
    pub(crate) at: Time,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Create(RunnerKey, Target),
    Stop(RunnerKey),
    Tail(RunnerKey, Exit),
    Purge(RunnerKey),
    List(ListNumber),
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Created(InstanceRef),
    CreateFailed(RunnerKey, std::rc::Rc<PlatformError>),
    Tail(RunnerKey, Exit),
    Purged(RunnerKey),
    Listed(ListNumber, Vec<ftl_core::platform::InstanceStatus>),
}

/// A message to or from a platform.
#[derive(Clone, Debug)]
pub(crate) struct Parcel<T> {
    pub(crate) what: T,
    pub(crate) platform: usize,
    pub(crate) at: Time,
    /// A late copy: nobody waits for it.
    pub(crate) late: bool,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op {
    pub(crate) request: u32,
    pub(crate) wanted: Vec<(Target, u16)>,
}

/// A Controller's process.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    pub(crate) observed: Observed,
    /// When its plan was last found empty.
    pub(crate) idle_at: Time,
    /// Until then an empty plan must stay empty, if nothing arrives.
    pub(crate) quiet_until: Option<Time>,
    /// With [`Broken::FreshPlan`]: what is left of the plan.
    pub(crate) stale: Vec<ftl_controller::plan::Action>,
    /// With [`Broken::DeployPerSession`].
    pub(crate) deployed_to: BTreeSet<RunnerKey>,
}

/// What no process knows, but the properties do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ghost {
    pub(crate) happened: Happened,
    /// Processes that reported Deployed.
    pub(crate) deployed: BTreeSet<u32>,
    /// Processes that were sent Drain.
    pub(crate) drained: BTreeSet<u32>,
    /// Keys whose end the Controller was told.
    pub(crate) seen_ended: BTreeSet<RunnerKey>,
    /// Keys that ended by themselves while they were wanted.
    pub(crate) self_ended: BTreeSet<RunnerKey>,
    pub(crate) acked: Vec<u32>,
    pub(crate) carried_out: Vec<u32>,
    pub(crate) created: u32,
    /// The keys that routers route to: those of the last table of any epoch.
    pub(crate) routed: BTreeSet<RunnerKey>,
    /// Rows per module in the last table, and the lowest number wanted since.
    pub(crate) rows: BTreeMap<ModuleName, usize>,
    pub(crate) lowest: BTreeMap<ModuleName, usize>,
    /// Final states that were seen.
    pub(crate) final_states: BTreeMap<ftl_core::key::ChangeId, ftl_controller::desired::ChangeState>,
    /// Everything that was made durable, in order.
    pub(crate) log: Vec<Durable>,
}

/// What was made durable, for the real store to repeat.
#[derive(Clone, Debug)]
pub(crate) enum Durable {
    Start(Startup),
    Apply(NewChange),
    Write(Transaction),
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) broken: Broken,
    pub(crate) timings: Timings,
    pub(crate) now: Time,
    /// How far the Controller's clock is ahead: by its own pauses.
    pub(crate) ahead: Duration,
    pub(crate) desired: Desired,
    pub(crate) controller: Option<Controller>,
    pub(crate) frozen: Option<(Controller, Desired)>,
    /// Whether instances end with their Controller (no `adopt`).
    pub(crate) tied: bool,
    /// Whether every Controller asks for instances otherwise than the one before it.
    pub(crate) upgrades: bool,
    pub(crate) processes: Vec<Process>,
    pub(crate) net: Vec<Message>,
    pub(crate) requests: Vec<Parcel<Request>>,
    pub(crate) answers: Vec<Parcel<Answer>>,
    pub(crate) down: [bool; 2],
    pub(crate) habits: BTreeMap<DeploymentId, Habit>,
    pub(crate) ops: Vec<Op>,
    pub(crate) sent: Vec<Op>,
    pub(crate) budget: Budget,
    pub(crate) sessions: u64,
    pub(crate) ghost: Ghost,
    pub(crate) violation: Option<(&'static str, String)>,
    pub(crate) trace: Vec<String>,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Tick,
    Plan,
    Start,
    Restart,
    Pause,
    Frozen,
    Op,
    OpAckLost,
    OpCopy(usize),
    Deliver(usize),
    Do(usize),
    Refuse(usize),
    LoseRequest(usize),
    CopyRequest(usize),
    Busy(usize),
    Answer(usize),
    LoseAnswer(usize),
    Step(usize),
    Crash(usize),
    Kill(usize),
    Hang(usize),
    Cut(usize),
    Heal(usize),
    Term(usize),
    Disconnect(usize),
    Down(usize),
    Up(usize),
}

impl Event {
    /// Whether it is part of the normal course, that goes on when faults have stopped.
    pub(crate) fn is_normal(self) -> bool {
        matches!(self, Self::Deliver(_) | Self::Do(_) | Self::Refuse(_) | Self::Answer(_) | Self::Step(_))
    }
}

pub(crate) fn module(name: &str) -> ModuleName {
    name.parse().unwrap()
}

pub(crate) fn platform(index: usize) -> PlatformName {
    PLATFORMS[index].parse().unwrap()
}

/// Version `version` of a module on a platform.
pub(crate) fn target(name: &str, version: u8, on: usize) -> Target {
    let deployment = DeploymentId::new(module(name), Digest::of(&[version]));
    Target { deployment, platform: platform(on) }
}

pub(crate) fn index_of(platform: &PlatformName) -> usize {
    PLATFORMS.iter().position(|name| *name == platform.as_str()).unwrap()
}

impl World {
    pub(crate) fn new(timings: Timings) -> Self {
        Self {
            broken: Broken::Nothing,
            timings,
            now: Time::from_micros(1_000_000_000),
            ahead: Duration::ZERO,
            desired: Desired::new(),
            controller: None,
            frozen: None,
            tied: false,
            upgrades: false,
            processes: Vec::new(),
            net: Vec::new(),
            requests: Vec::new(),
            answers: Vec::new(),
            down: [false; 2],
            habits: BTreeMap::new(),
            ops: Vec::new(),
            sent: Vec::new(),
            budget: Budget::default(),
            sessions: 0,
            ghost: Ghost::default(),
            violation: None,
            trace: Vec::new(),
        }
    }

    /// The time on the Controller's clock.
    pub(crate) fn clock(&self) -> Time {
        self.now.plus(self.ahead)
    }

    pub(crate) fn note(&mut self, line: String) {
        let at = self.now.since(Time::from_micros(1_000_000_000)).as_millis() / TICK.as_millis();
        self.trace.push(format!("{at:4} {line}"));
    }

    pub(crate) fn violated(&mut self, property: &'static str, what: String) {
        self.note(format!("*** {property}: {what}"));
        self.violation.get_or_insert((property, what));
    }

    pub(crate) fn habit(&self, target: &Target) -> Habit {
        self.habits.get(&target.deployment).copied().unwrap_or(Habit::Healthy)
    }

    pub(crate) fn is_healthy(&self, target: &Target) -> bool {
        self.habit(target) == Habit::Healthy
    }

    /// An operation of the client, to be sent.
    pub(crate) fn op(&self, request: u32, wanted: &[(Target, u16)]) -> Op {
        Op { request, wanted: wanted.to_vec() }
    }

    /// The operation as the Controller reads it.
    pub(crate) fn change(&self, op: &Op) -> NewChange {
        let wanted = op.wanted.iter().map(|(target, replicas)| {
            (target.module().clone(), Want { target: target.clone(), replicas: *replicas })
        });
        let at = self.clock();
        NewChange {
            request: format!("r{}", op.request).parse::<ChangeRequest>().unwrap(),
            content: Digest::of(format!("{:?}", op.wanted).as_bytes()),
            wanted: wanted.collect(),
            deadline: at.plus(self.timings.change_deadline),
            at,
        }
    }

    pub(crate) fn planned(&self) -> Option<Plan> {
        let controller = self.controller.as_ref()?;
        Some(plan(&self.desired, &controller.observed, &self.timings, self.clock()))
    }

    fn is_old(&self, at: Time) -> bool {
        self.now.since(at) >= TICK
    }

    /// Whether this message can arrive now: the first of its connection and direction, between two who can talk.
    fn is_deliverable(&self, index: usize) -> bool {
        let message = &self.net[index];
        let same =
            |other: &Message| other.session == message.session && other.body.is_up() == message.body.is_up();
        let process = &self.processes[message.nonce as usize];
        self.controller.is_some()
            && !self.net[..index].iter().any(same)
            && !process.cut
            && (message.body.is_up() || !process.hung)
    }

    /// Whether a process has something to do by itself.
    fn may_step(&self, process: &Process) -> bool {
        if !process.is_live() || process.hung {
            return false;
        }
        let habit = self.habit(&process.target);
        let up_at = match process.user {
            User::Up(at) => Some(at),
            _ => None,
        };
        process.gone
            || habit == Habit::DiesBeforeRegistering
            || (process.user == User::Starting && habit != Habit::NeverReady)
            || matches!((habit, up_at), (Habit::CrashesAfter(ticks), Some(at)) if self.now >= at.plus(TICK * ticks))
            || (process.draining && !process.drained)
            || (process.session.is_none()
                && !process.cut
                && habit != Habit::NeverRegisters
                && self.controller.is_some())
    }

    /// Everything that may happen now. Time stands still while something healthy is overdue.
    pub(crate) fn enabled(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut overdue = false;
        for index in 0..self.net.len() {
            if self.is_deliverable(index) {
                events.push(Event::Deliver(index));
                overdue |= self.is_old(self.net[index].at);
            }
        }
        overdue |= self.enabled_platforms(&mut events);
        overdue |= self.enabled_processes(&mut events);
        overdue |= self.enabled_controller(&mut events);
        if !overdue {
            events.push(Event::Tick);
        }
        events
    }

    fn enabled_platforms(&self, events: &mut Vec<Event>) -> bool {
        let budget = &self.budget;
        let mut overdue = false;
        for (index, request) in self.requests.iter().enumerate() {
            let down = self.down[request.platform];
            events.push(if down { Event::Refuse(index) } else { Event::Do(index) });
            if budget.lose > 0 {
                events.push(Event::LoseRequest(index));
            }
            if budget.duplicate > 0 {
                events.push(Event::CopyRequest(index));
            }
            if budget.busy > 0 && matches!(request.what, Request::Create(..)) {
                events.push(Event::Busy(index));
            }
            overdue |= !request.late && self.now.since(request.at) >= TICK * 3;
        }
        if self.controller.is_some() {
            for (index, answer) in self.answers.iter().enumerate() {
                events.push(Event::Answer(index));
                if budget.lose > 0 {
                    events.push(Event::LoseAnswer(index));
                }
                overdue |= self.is_old(answer.at);
            }
        }
        for side in 0..2 {
            if self.down[side] {
                events.push(Event::Up(side));
            } else if budget.platform_down > 0 {
                events.push(Event::Down(side));
            }
        }
        overdue
    }

    fn enabled_processes(&self, events: &mut Vec<Event>) -> bool {
        let budget = &self.budget;
        let mut overdue = false;
        for (index, process) in self.processes.iter().enumerate().filter(|(_, process)| process.is_live()) {
            if self.may_step(process) {
                events.push(Event::Step(index));
                overdue |= self.is_old(process.moved_at);
            }
            let faults = [
                (budget.crash > 0, Event::Crash(index)),
                (budget.kill > 0, Event::Kill(index)),
                (budget.hang > 0 && !process.hung, Event::Hang(index)),
                (budget.cut > 0 && !process.cut, Event::Cut(index)),
                (process.cut, Event::Heal(index)),
                (
                    budget.disconnect > 0 && process.session.is_some() && !process.cut,
                    Event::Disconnect(index),
                ),
                (budget.term > 0 && process.serves(), Event::Term(index)),
            ];
            events.extend(faults.into_iter().filter(|(may, _)| *may).map(|(_, event)| event));
        }
        overdue
    }

    fn enabled_controller(&self, events: &mut Vec<Event>) -> bool {
        let budget = &self.budget;
        if self.frozen.is_some() && self.controller.is_some() {
            events.push(Event::Frozen);
        }
        let Some(controller) = &self.controller else {
            events.push(Event::Start);
            return false;
        };
        events.push(Event::Plan);
        if !self.ops.is_empty() {
            events.push(Event::Op);
            if budget.ack_lost > 0 {
                events.push(Event::OpAckLost);
            }
        }
        if budget.op_copy > 0 {
            events.extend((0..self.sent.len()).map(Event::OpCopy));
        }
        if budget.restart > 0 {
            events.push(Event::Restart);
        }
        if budget.pause > 0 {
            events.push(Event::Pause);
        }
        self.is_old(controller.idle_at)
    }

    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Tick => self.tick(),
            Event::Plan => self.plan_step(),
            Event::Start => self.start(),
            Event::Restart => self.restart(),
            Event::Pause => self.pause(),
            Event::Frozen => self.frozen_step(),
            Event::Op => self.operate(),
            Event::OpAckLost => self.operate_unheard(),
            Event::OpCopy(index) => self.operate_again(index),
            Event::Deliver(index) => self.deliver(index),
            Event::Do(index) => self.carry_out(index),
            Event::Refuse(index) => self.refuse(index),
            Event::LoseRequest(index) => self.lose_request(index),
            Event::CopyRequest(index) => self.copy_request(index),
            Event::Busy(index) => self.busy(index),
            Event::Answer(index) => self.answer(index),
            Event::LoseAnswer(index) => self.lose_answer(index),
            Event::Step(index) => self.step(index),
            Event::Crash(index) => self.crash(index),
            Event::Kill(index) => self.kill(index),
            Event::Hang(index) => self.hang(index),
            Event::Cut(index) => self.cut(index),
            Event::Heal(index) => self.heal(index),
            Event::Term(index) => self.term(index),
            Event::Disconnect(index) => self.disconnect(index),
            Event::Down(side) => self.platform_down(side),
            Event::Up(side) => self.down[side] = false,
        }
        let arrived = !matches!(event, Event::Plan | Event::Tick | Event::Frozen);
        if let Some(controller) = self.controller.as_mut().filter(|_| arrived) {
            controller.quiet_until = None;
        }
        self.check_final_states();
    }

    fn tick(&mut self) {
        self.now = self.now.plus(TICK);
        self.heartbeat();
        let quiet = self.controller.as_ref().and_then(|controller| controller.quiet_until);
        if quiet.is_some_and(|until| self.clock() < until)
            && let Some(plan) = self.planned()
            && !plan.actions.is_empty()
        {
            self.violated("wake", format!("{:?} before the plan said that it would wake", plan.actions));
        }
    }

    fn check_final_states(&mut self) {
        use ftl_controller::desired::ChangeState;
        let mut left = Vec::new();
        for (id, change) in &self.desired.changes {
            if change.state != ChangeState::Rolling {
                let state = self.ghost.final_states.entry(*id).or_insert_with(|| change.state.clone());
                if *state != change.state {
                    left.push(format!("change {id} went from {state:?} to {:?}", change.state));
                }
            }
        }
        left.into_iter().for_each(|what| self.violated("P4", what));
    }
}
