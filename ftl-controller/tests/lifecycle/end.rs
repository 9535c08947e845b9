//! What must be true when faults have stopped and everything has run on fairly.

use ftl_controller::desired::{Kept, Want};
use ftl_controller::plan::Action;
use ftl_core::key::RunnerKey;

use super::world::{Budget, Event, Habit, World, index_of};

/// Ticks within which a platform that stays down must not keep anything else from its end.
const ONE_DOWN_TICKS: usize = 80;
/// Ticks after which everything must have come to its end.
const END_TICKS: usize = 220;
/// So long nothing happens but listings: then it is the end.
const CALM_TICKS: usize = 24;
/// More creations than so, after the last fault, are a loop.
const CREATED_MAX: u32 = 40;
/// More events in one tick than so are a livelock.
const EVENTS_MAX: usize = 4000;

impl World {
    /// Runs what is due now, until nothing is. Returns whether anything but listings was done.
    pub(crate) fn round(&mut self) -> bool {
        let mut acted = false;
        if self.controller.is_none() {
            self.apply(Event::Start);
        }
        for _ in 0..EVENTS_MAX {
            if self.violation.is_some() {
                return acted;
            }
            if let Some(event) = self.enabled().into_iter().find(|event| event.is_normal()) {
                self.apply(event);
                continue;
            }
            match self.planned().and_then(|plan| plan.actions.into_iter().next()) {
                Some(action) => acted |= !matches!(action, Action::List(_)),
                None => {
                    self.apply(Event::Plan);
                    return acted;
                }
            }
            self.apply(Event::Plan);
        }
        self.violated("P6", format!("more than {EVENTS_MAX} events in one tick"));
        acted
    }

    /// Faults stop; runs on until nothing happens any more. Returns after how many ticks the last thing happened.
    pub(crate) fn finish(&mut self) -> usize {
        self.note("faults stop".into());
        self.budget = Budget::default();
        self.ops.clear();
        self.frozen = None;
        for index in 0..self.processes.len() {
            if self.processes[index].cut {
                self.apply(Event::Heal(index));
            }
        }
        if self.down[0] != self.down[1] {
            self.finish_with_one_down();
        }
        self.down = [false; 2];
        let created = self.ghost.created;
        let (mut calm, mut last) = (0, 0);
        for tick in 0..END_TICKS {
            let acted = self.round();
            (calm, last) = if acted { (0, tick) } else { (calm + 1, last) };
            if calm > CALM_TICKS || self.violation.is_some() || (self.is_restless() && tick > 100) {
                break;
            }
            self.apply(Event::Tick);
        }
        if self.violation.is_some() || self.is_restless() {
            return 0;
        }
        self.check_end(calm, self.ghost.created - created);
        last
    }

    /// Whether something that serves or is kept crashes again and again: then there is no end.
    fn is_restless(&self) -> bool {
        self.wanted().iter().any(|want| matches!(self.habit(&want.target), Habit::CrashesAfter(_)))
    }

    fn kept(&self) -> impl Iterator<Item = &Kept> {
        self.desired.kept.values().filter(|kept| self.clock() < kept.until)
    }

    fn wanted(&self) -> Vec<Want> {
        let kept = self.kept().map(|kept| &kept.want);
        self.desired.serving.values().chain(kept).cloned().collect()
    }

    /// P6′: what does not need the platform that is down comes to its end.
    fn finish_with_one_down(&mut self) {
        let up = if self.down[0] { 1 } else { 0 };
        for _ in 0..ONE_DOWN_TICKS {
            self.round();
            self.apply(Event::Tick);
        }
        self.round();
        if self.violation.is_some() {
            return;
        }
        let rolling: Vec<_> = self.desired.rolling().map(|change| change.id).collect();
        if !rolling.is_empty() {
            self.violated("P6'", format!("{rolling:?} still roll while platform {} is down", 1 - up));
        }
        self.check_modules(Some(up));
    }

    fn check_end(&mut self, calm: usize, created: u32) {
        if calm <= CALM_TICKS {
            self.violated("P6", format!("no end within {END_TICKS} ticks"));
        }
        if created > CREATED_MAX {
            self.violated("P6", format!("{created} instances created after the last fault"));
        }
        if self.desired.rolling().next().is_some() {
            self.violated("P6", "a change neither committed nor failed".into());
        }
        if self.ghost.carried_out.is_empty() && !self.tied && self.ghost.created > 0 {
            let happened = self.ghost.happened;
            if !happened.runner && !happened.term && self.habits.is_empty() {
                self.violated("P7", "instances created, and nothing was asked and no Runner failed".into());
            }
        }
        for request in self.ghost.acked.clone() {
            if !self.ghost.carried_out.contains(&request) {
                self.violated("P4", format!("request {request} acknowledged and not carried out"));
            }
        }
        self.check_modules(None);
        self.check_instances();
    }

    /// P6: what serves is there and routed to; with `only`, on that platform.
    fn check_modules(&mut self, only: Option<usize>) {
        let table = self.controller.as_ref().and_then(|controller| controller.observed.table());
        let rows = table.map(|table| table.routes.rows.clone()).unwrap_or_default();
        for want in self.desired.serving.clone().values() {
            let elsewhere = only.is_some_and(|side| side != index_of(&want.target.platform));
            if elsewhere || matches!(self.habit(&want.target), Habit::CrashesAfter(_)) {
                continue;
            }
            let mine = |key: RunnerKey| rows.iter().any(|row| row.replica.runner == key);
            let of =
                self.processes.iter().filter(|process| process.target == want.target && process.is_live());
            let (live, serving) = of.fold((0, 0), |(live, serving), process| {
                (live + 1, serving + usize::from(process.serves() && mine(process.key)))
            });
            if serving != usize::from(want.replicas) {
                let what = format!("{:?} wants {}, {serving} really serve", want.target, want.replicas);
                self.violated("P6", what);
            }
            if live > usize::from(want.replicas) && only.is_some() {
                self.violated("P3", format!("{live} of {:?} live for {}", want.target, want.replicas));
            }
        }
    }

    /// P3 and P8: nothing is left over, nothing is forgotten.
    fn check_instances(&mut self) {
        let mut keys: Vec<RunnerKey> =
            self.processes.iter().filter(|process| !process.removed).map(|process| process.key).collect();
        keys.sort();
        let slots: Vec<RunnerKey> = self.desired.slots.keys().copied().collect();
        let wanted: usize = self.wanted().iter().map(|want| usize::from(want.replicas)).sum();
        if keys != slots || slots.len() != wanted {
            self.violated("P3", format!("instances {keys:?}, slots {slots:?}, {wanted} wanted"));
        }
        for key in self.ghost.self_ended.clone() {
            let known =
                self.desired.ended.get(&key).is_some_and(|ended| ended.full && ended.end.exit.is_some());
            if !known {
                self.violated("P8", format!("the exit of key {key} is nowhere on record"));
            }
        }
    }

    /// Lets so many ticks pass, doing what is due.
    pub(crate) fn run(&mut self, ticks: usize) {
        self.run_until(ticks, |_| false);
    }

    /// Lets ticks pass until something is so, at most so many. Returns how many it took.
    pub(crate) fn run_until(&mut self, ticks: usize, until: impl Fn(&Self) -> bool) -> usize {
        for tick in 0..ticks {
            self.round();
            if until(self) || self.violation.is_some() {
                return tick;
            }
            self.apply(Event::Tick);
        }
        self.round();
        ticks
    }

    /// Panics with the story if a property was violated.
    pub(crate) fn assert_kept(&self) {
        if let Some((property, what)) = &self.violation {
            panic!("{property}: {what}\n{}", self.trace.join("\n"));
        }
    }
}
