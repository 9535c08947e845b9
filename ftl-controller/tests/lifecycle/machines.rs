//! The fake platforms and the Runners on them.

use std::rc::Rc;

use ftl_core::Digest;
use ftl_core::key::{RunnerKey, Session};
use ftl_core::platform::{ErrorKind, Exit, InstanceRef, InstanceState, InstanceStatus, PlatformError};
use ftl_core::runner::{Crash, Report};

use super::world::{Answer, Body, Habit, Message, Parcel, Process, Request, TICK, User, World, index_of};

/// Runners.
impl World {
    pub(crate) fn step(&mut self, index: usize) {
        self.processes[index].moved_at = self.now;
        let process = self.processes[index].clone();
        let (nonce, habit) = (process.nonce, self.habit(&process.target));
        if process.user == User::No && habit == Habit::DiesBeforeRegistering {
            self.note(format!("n{nonce} dies before it registers"));
            self.die(index, true);
        } else if process.gone {
            self.note(format!("n{nonce} exits, no longer wanted"));
            self.die(index, false);
        } else if process.user == User::Starting && habit != Habit::NeverReady {
            self.finish_start(index, habit);
        } else if self.is_crash_due(&process, habit) {
            self.crash_reporting(index);
        } else if process.draining && !process.drained {
            self.note(format!("n{nonce} drained"));
            self.processes[index].drained = true;
            self.say(index, Body::Report(Report::Drained));
        } else if process.session.is_none() {
            self.dial(index);
        }
    }

    fn is_crash_due(&self, process: &Process, habit: Habit) -> bool {
        matches!((habit, process.user), (Habit::CrashesAfter(ticks), User::Up(at)) if self.now >= at.plus(TICK * ticks))
    }

    fn finish_start(&mut self, index: usize, habit: Habit) {
        if habit == Habit::CrashesAtStart {
            return self.crash_reporting(index);
        }
        let nonce = self.processes[index].nonce;
        self.note(format!("n{nonce} is up"));
        self.processes[index].user = User::Up(self.now);
        self.ghost.deployed.insert(nonce);
        self.say(index, Body::Report(Report::Ready));
    }

    fn crash_reporting(&mut self, index: usize) {
        self.note(format!("the deployment of n{} crashes", self.processes[index].nonce));
        self.say(index, Body::Report(Report::Crashed(Crash::new("exited with code 1"))));
        self.die(index, true);
    }

    fn dial(&mut self, index: usize) {
        self.sessions += 1;
        let process = &mut self.processes[index];
        process.session = Some(Session(self.sessions));
        let report = match process.user {
            _ if process.drained => Report::Drained,
            _ if process.draining => Report::Draining,
            User::Up(_) => Report::Ready,
            _ => Report::Starting,
        };
        let line =
            format!("n{} key {} dials, session {}, {report:?}", process.nonce, process.key, self.sessions);
        self.note(line);
        self.say(index, Body::Register(report));
    }

    /// Sends to the Controller, if there is a way.
    fn say(&mut self, index: usize, body: Body) {
        let process = &self.processes[index];
        let (Some(session), Some(_), false) = (process.session, &self.controller, process.cut) else {
            return;
        };
        let (key, nonce) = (process.key, process.nonce);
        self.net.push(Message { body, session, key, nonce, at: self.now });
    }

    /// What the Controller sent arrives.
    pub(crate) fn hear(&mut self, message: &Message) {
        let index = message.nonce as usize;
        let (now, grace) = (self.now, self.timings.grace);
        let process = &mut self.processes[index];
        if process.session != Some(message.session) || !process.is_live() {
            return;
        }
        process.moved_at = now;
        match message.body {
            Body::Deploy if process.user == User::No => process.user = User::Starting,
            Body::Drain => (process.draining, process.grace) = (true, now.plus(grace)),
            Body::Gone => {
                process.gone = true;
                let wanted = self.desired.slot(message.key).is_some_and(|slot| !slot.drain);
                if wanted && !self.processes[index].faulty && !self.ghost.happened.runner {
                    self.violated("P7", format!("healthy n{} rejected", message.nonce));
                }
            }
            _ => {}
        }
    }

    /// A process ends, by itself or because it was told to.
    pub(crate) fn die(&mut self, index: usize, by_itself: bool) {
        if !self.processes[index].is_live() {
            return;
        }
        let key = self.processes[index].key;
        if by_itself && self.desired.slot(key).is_some() {
            self.processes[index].by_itself = true;
            self.ghost.self_ended.insert(key);
        }
        let mut exit = Exit::new(!by_itself);
        exit.code = Some(1);
        self.processes[index].end = Some(exit);
        self.drop_connection(index);
    }

    fn drop_connection(&mut self, index: usize) {
        self.processes[index].moved_at = self.now;
        let Some(session) = self.processes[index].session else { return };
        self.say(index, Body::Disconnected);
        self.processes[index].session = None;
        self.net.retain(|message| message.body.is_up() || message.session != session);
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.budget.crash -= 1;
        self.ghost.happened.runner = true;
        self.note(format!("n{} key {} CRASHES", self.processes[index].nonce, self.processes[index].key));
        self.processes[index].faulty = true;
        self.die(index, true);
    }

    /// It ends together with its connection, and nobody is told.
    pub(crate) fn kill(&mut self, index: usize) {
        self.budget.kill -= 1;
        self.ghost.happened.runner = true;
        self.note(format!(
            "n{} key {} KILLED silently",
            self.processes[index].nonce, self.processes[index].key
        ));
        self.processes[index].faulty = true;
        let session = self.processes[index].session.take();
        self.die(index, true);
        self.net.retain(|message| Some(message.session) != session);
    }

    pub(crate) fn hang(&mut self, index: usize) {
        self.budget.hang -= 1;
        self.ghost.happened.runner = true;
        self.note(format!("n{} key {} HANGS", self.processes[index].nonce, self.processes[index].key));
        (self.processes[index].hung, self.processes[index].faulty) = (true, true);
    }

    pub(crate) fn cut(&mut self, index: usize) {
        self.budget.cut -= 1;
        self.ghost.happened.runner = true;
        self.note(format!(
            "the host of n{} key {} CUT",
            self.processes[index].nonce, self.processes[index].key
        ));
        (self.processes[index].cut, self.processes[index].faulty) = (true, true);
    }

    pub(crate) fn heal(&mut self, index: usize) {
        self.note(format!("the host of n{} is back", self.processes[index].nonce));
        self.processes[index].cut = false;
        self.drop_connection(index);
    }

    /// Somebody else asks it to end.
    pub(crate) fn term(&mut self, index: usize) {
        self.budget.term -= 1;
        self.ghost.happened.term = true;
        self.note(format!("n{} key {} SIGTERM", self.processes[index].nonce, self.processes[index].key));
        self.processes[index].draining = true;
        self.processes[index].moved_at = self.now;
        self.say(index, Body::Report(Report::Draining));
    }

    pub(crate) fn disconnect(&mut self, index: usize) {
        self.budget.disconnect -= 1;
        self.ghost.happened.connection = true;
        self.note(format!(
            "connection of n{} key {} BREAKS",
            self.processes[index].nonce, self.processes[index].key
        ));
        self.drop_connection(index);
    }

    /// Every healthy Runner is heard.
    pub(crate) fn heartbeat(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        let clock = self.now.plus(self.ahead);
        let epoch = controller.observed.epoch();
        for process in
            self.processes.iter().filter(|process| process.is_live() && !process.hung && !process.cut)
        {
            let Some(session) = process.session else { continue };
            let order = ftl_core::runner::Order { epoch, session };
            // It may not have registered yet, or be unwanted: both are answered, and neither is of interest here.
            let _ =
                controller.observed.on_report(&self.desired, process.key, order, &Report::Starting, clock);
        }
    }
}

/// Platforms.
impl World {
    pub(crate) fn instance_ref(&self, process: &Process) -> InstanceRef {
        InstanceRef::new("test".parse().unwrap(), process.key, process.nonce.to_string())
    }

    pub(crate) fn statuses(&self, side: usize) -> Vec<InstanceStatus> {
        let here = |process: &&Process| !process.removed && index_of(&process.target.platform) == side;
        let status = |process: &Process| {
            let state = process.end.clone().map_or(InstanceState::Running, InstanceState::Ended);
            InstanceStatus::new(self.instance_ref(process), Digest::of(b""), self.desired.epoch, state)
        };
        self.processes.iter().filter(here).map(status).collect()
    }

    fn existing(&self, key: RunnerKey) -> Option<usize> {
        self.processes.iter().position(|process| process.key == key && !process.removed)
    }

    fn reply(&mut self, side: usize, what: Answer) {
        if self.controller.is_some() {
            self.answers.push(Parcel { what, platform: side, at: self.now, late: false });
        }
    }

    pub(crate) fn carry_out(&mut self, index: usize) {
        let Parcel { what, platform, .. } = self.requests.remove(index);
        self.note(format!("platform {platform} does {what:?}"));
        match what {
            Request::Create(key, target) => self.create(platform, key, target),
            Request::Stop(key) => self.stop(key),
            Request::Tail(key, exit) => self.reply(platform, Answer::Tail(key, exit)),
            Request::Purge(key) => self.purge(platform, key),
            Request::List(number) => {
                let statuses = self.statuses(platform);
                self.reply(platform, Answer::Listed(number, statuses));
            }
        }
    }

    fn create(&mut self, side: usize, key: RunnerKey, target: ftl_controller::desired::Target) {
        if self.habit(&target) == Habit::Refused {
            let error = PlatformError::new(ErrorKind::Invalid, "no such thing here");
            return self.reply(side, Answer::CreateFailed(key, Rc::new(error)));
        }
        let existing = self.existing(key);
        if let Some(index) = existing
            && self.upgrades
            && self.processes[index].epoch != self.desired.epoch
        {
            let error = PlatformError::new(ErrorKind::Conflict, "made otherwise");
            return self.reply(side, Answer::CreateFailed(key, Rc::new(error)));
        }
        let index = existing.unwrap_or_else(|| {
            self.ghost.created += 1;
            let nonce = u32::try_from(self.processes.len()).unwrap();
            self.processes.push(Process {
                nonce,
                key,
                target,
                epoch: self.desired.epoch,
                end: None,
                removed: false,
                by_itself: false,
                user: User::No,
                session: None,
                draining: false,
                drained: false,
                grace: self.now,
                gone: false,
                cut: false,
                hung: false,
                faulty: false,
                moved_at: self.now,
            });
            nonce as usize
        });
        let instance = self.instance_ref(&self.processes[index]);
        self.reply(side, Answer::Created(instance));
    }

    fn stop(&mut self, key: RunnerKey) {
        let Some(index) = self.existing(key) else { return };
        let process = &self.processes[index];
        if process.cut {
            return;
        }
        let wanted = self.desired.slot(key).is_some_and(|slot| !slot.drain);
        if wanted && process.is_live() && !process.faulty {
            self.violated("P7", format!("a wanted healthy instance of key {key} was stopped"));
        } else if process.serves()
            && !process.faulty
            && !self.ghost.happened.runner
            && self.is_healthy(&process.target)
        {
            self.violated("P7", format!("a healthy serving instance of key {key} was stopped without drain"));
        }
        self.die(index, false);
    }

    fn purge(&mut self, side: usize, key: RunnerKey) {
        if let Some(index) = self.existing(key) {
            let process = &self.processes[index];
            if process.cut || process.is_live() {
                return;
            }
            let known =
                self.desired.ended.get(&key).is_some_and(|ended| ended.full && ended.end.exit.is_some());
            if process.by_itself && !known {
                self.violated(
                    "P8",
                    format!("key {key} ended by itself and was removed before it was recorded"),
                );
            }
            self.processes[index].removed = true;
        }
        self.reply(side, Answer::Purged(key));
    }

    pub(crate) fn refuse(&mut self, index: usize) {
        let Parcel { what, platform, .. } = self.requests.remove(index);
        self.note(format!("platform {platform} is down: {what:?} errs"));
        if let Request::Create(key, _) = what {
            let error = PlatformError::new(ErrorKind::Unavailable, "down").with_unknown_effect();
            self.reply(platform, Answer::CreateFailed(key, Rc::new(error)));
        }
    }

    pub(crate) fn busy(&mut self, index: usize) {
        self.budget.busy -= 1;
        self.ghost.happened.platform = true;
        let Parcel { what, platform, .. } = self.requests.remove(index);
        self.note(format!("platform {platform} is busy: {what:?} errs"));
        if let Request::Create(key, _) = what {
            let mut error = PlatformError::new(ErrorKind::Busy, "busy");
            error.retry_after = Some(TICK * 5);
            self.reply(platform, Answer::CreateFailed(key, Rc::new(error)));
        }
    }

    pub(crate) fn lose_request(&mut self, index: usize) {
        self.budget.lose -= 1;
        self.ghost.happened.platform = true;
        let lost = self.requests.remove(index);
        self.note(format!("request LOST {:?}", lost.what));
    }

    pub(crate) fn lose_answer(&mut self, index: usize) {
        self.budget.lose -= 1;
        self.ghost.happened.platform = true;
        let lost = self.answers.remove(index);
        self.note(format!("answer LOST {:?}", lost.what));
    }

    pub(crate) fn copy_request(&mut self, index: usize) {
        self.budget.duplicate -= 1;
        let copy = Parcel { late: true, ..self.requests[index].clone() };
        self.note(format!("request COPIED {:?}", copy.what));
        self.requests.push(copy);
    }

    pub(crate) fn platform_down(&mut self, side: usize) {
        self.budget.platform_down -= 1;
        self.ghost.happened.platform = true;
        self.note(format!("PLATFORM {side} DOWN"));
        self.down[side] = true;
    }
}
