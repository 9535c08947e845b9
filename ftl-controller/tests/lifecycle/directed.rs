//! Schedules written by hand: each once broke a design, and the rule that it asks for must stand.

use std::time::Duration;

use ftl_controller::desired::{
    Applied, Change, ChangeState, End, Outcome, Reason, Startup, Target, Transaction, Why,
};
use ftl_controller::observed::{Observed, Refused, ReplicaState, Stage};
use ftl_controller::plan::{Action, TAIL_TRIES, plan};
use ftl_controller::timings::Timings;
use ftl_core::key::{ChangeId, Instance, RunnerKey, Session};
use ftl_core::platform::{ErrorKind, PlatformError};
use ftl_core::runner::{Order, Registration, Report};

use super::walk::serving;
use super::world::{Answer, Body, Budget, Event, Habit, Op, Request, TICK, World, platform, target};

const ALL: Budget = Budget {
    restart: 9,
    frozen: 0,
    pause: 9,
    crash: 9,
    kill: 9,
    hang: 9,
    cut: 9,
    term: 9,
    disconnect: 9,
    lose: 9,
    duplicate: 9,
    busy: 9,
    platform_down: 9,
    ack_lost: 9,
    op_copy: 9,
};

/// One replica of each module serves on the left, and anything may be done to it.
fn calm() -> World {
    let mut world = serving(Timings::of_tick(TICK), 1, 1, 0);
    world.budget = ALL;
    world
}

fn ask(world: &mut World, request: u32, wanted: &[(Target, u16)]) -> ChangeId {
    let id = world.desired.next_change;
    world.ops = vec![Op { request, wanted: wanted.to_vec() }];
    world.apply(Event::Op);
    id
}

fn state(world: &World, id: ChangeId) -> &ChangeState {
    &world.desired.changes[&id].state
}

fn ends(world: &mut World, id: ChangeId, within: usize) -> usize {
    let took = world.run_until(within, |world| *state(world, id) != ChangeState::Rolling);
    world.assert_kept();
    took
}

fn rows(world: &World, name: &str) -> usize {
    let table = world.controller.as_ref().and_then(|controller| controller.observed.table());
    table.map_or(0, |table| table.routes.rows.iter().filter(|row| row.module.as_str() == name).count())
}

/// The live process of a module's serving version.
fn process_of(world: &World, name: &str) -> usize {
    let serves = |target: &Target| target.module().as_str() == name && world.desired.serves(target);
    world.processes.iter().position(|process| process.is_live() && serves(&process.target)).unwrap()
}

fn actions(world: &World) -> Vec<Action> {
    world.planned().unwrap().actions
}

fn observed(world: &mut World) -> &mut Observed {
    &mut world.controller.as_mut().unwrap().observed
}

fn registration(nonce: u8, report: Report) -> Registration {
    Registration::new("rust".parse().unwrap(), Instance([nonce; 16]), report)
}

/// 1. A key that is used again: what was sent to end the old one would end the new one.
#[test]
fn keys_are_never_reused() {
    let mut world = calm();
    let mut before = world.desired.next_key;
    for _ in 0..3 {
        let index = process_of(&world, "a");
        world.apply(Event::Crash(index));
        world.run(40);
        world.assert_kept();
        assert!(world.desired.slots.keys().any(|key| *key >= before), "a fresh key took its place");
        before = world.desired.next_key;
        world.apply(Event::Restart);
        world.apply(Event::Start);
        assert_eq!(world.desired.next_key, before, "and the counter outlives the Controller");
        world.run(10);
    }
}

/// 2. The end of session 3 arrives after session 5 has registered.
#[test]
fn a_late_disconnect_disconnects_nothing() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let (key, old) = (world.processes[index].key, world.processes[index].session.unwrap());
    let ready_at = observed(&mut world).seen(key).unwrap().ready_at;
    world.apply(Event::Disconnect(index));
    world.run(2);
    assert_eq!(observed(&mut world).seen(key).unwrap().ready_at, ready_at, "it served all the time");
    let clock = world.clock();
    assert_eq!(observed(&mut world).on_disconnected(key, old, clock), Err(Refused::Stale));
    assert!(observed(&mut world).seen(key).unwrap().is_connected());
    let now = world.processes[index].session.unwrap();
    assert_eq!(observed(&mut world).on_disconnected(key, now, clock), Ok(()));
    assert!(!observed(&mut world).seen(key).unwrap().is_connected());
}

/// Messages of another epoch or session are told so; a Runner without a slot is told that it is not wanted.
#[test]
fn the_fence_names_what_it_refuses() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let (key, session) = (world.processes[index].key, world.processes[index].session.unwrap());
    let (clock, desired) = (world.clock(), world.desired.clone());
    let epoch = desired.epoch;
    let observed = observed(&mut world);
    let mut report = |key, epoch, session| {
        observed.on_report(&desired, key, Order { epoch, session }, &Report::Draining, clock)
    };
    assert_eq!(report(key, ftl_core::key::Epoch(epoch.0 + 1), session), Err(Refused::Stale));
    assert_eq!(report(key, epoch, Session(session.0 + 1)), Err(Refused::Stale));
    assert_eq!(report(RunnerKey(99), epoch, session), Err(Refused::Gone));
    assert_eq!(report(key, epoch, session), Ok(()));
    let new = registration(1, Report::Ready);
    assert_eq!(observed.on_register(&desired, key, session, &new, clock), Err(Refused::Stale));
    assert_eq!(observed.on_register(&desired, RunnerKey(99), Session(999), &new, clock), Err(Refused::Gone));
    assert!(observed.seen(RunnerKey(99)).is_none(), "and it is not remembered");
}

/// Two processes cannot be one replica.
#[test]
fn a_second_process_under_one_key_ends_it() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    let (clock, desired) = (world.clock(), world.desired.clone());
    let second = registration(99, Report::Starting);
    let refused = observed(&mut world).on_register(&desired, key, Session(1_000), &second, clock);
    assert_eq!(refused, Err(Refused::Gone));
    assert!(matches!(&actions(&world)[..], [Action::Publish(routes), ..] if routes.rows.len() == 1));
    world.ghost.happened.runner = true;
    world.run(1);
    assert!(world.desired.slot(key).is_none(), "it is replaced");
}

/// 3. After a restart the table would be empty for a moment.
#[test]
fn a_restart_publishes_when_all_have_reported() {
    let mut world = calm();
    world.apply(Event::Restart);
    world.apply(Event::Start);
    assert!(!actions(&world).iter().any(|action| matches!(action, Action::Publish(_))));
    world.run(2);
    assert_eq!((rows(&world, "a"), rows(&world, "b")), (1, 1));

    let index = process_of(&world, "a");
    world.apply(Event::Cut(index));
    world.apply(Event::Restart);
    let waited = world.run_until(20, |world| rows(world, "b") == 1);
    assert_eq!(waited, 6, "who does not come back holds the others for HOLD and no longer");
    assert_eq!(rows(&world, "a"), 0);
    world.assert_kept();
}

/// Only who serves is waited for: a replica that never gets ready holds nobody.
#[test]
fn a_restart_waits_for_nobody_who_does_not_serve() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::NeverReady);
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    world.run(3);
    world.apply(Event::Restart);
    let waited = world.run_until(20, |world| rows(world, "a") == 1 && rows(world, "b") == 1);
    assert!(waited <= 2, "waited {waited} ticks");
    world.assert_kept();
}

/// Who of a surplus is to leave is decided when those who stay have reported.
#[test]
fn nothing_is_drained_while_the_table_is_held() {
    let mut world = serving(Timings::of_tick(TICK), 2, 1, 0);
    world.budget = ALL;
    let wanted = target("a", 1, 0);
    let keys: Vec<RunnerKey> = world.desired.staying(&wanted).map(|slot| slot.key).collect();
    let away = world.processes.iter().position(|process| process.key == keys[0]).unwrap();
    ask(&mut world, 1, &[(wanted.clone(), 1)]);
    world.apply(Event::Plan);
    assert_eq!(world.desired.staying(&wanted).count(), 2, "committed, and nobody drained yet");
    world.apply(Event::Cut(away));
    world.apply(Event::Restart);
    world.apply(Event::Start);
    let drains = |action: &Action| matches!(action, Action::Write(Transaction::MarkDrain { .. }));
    assert!(!actions(&world).iter().any(drains));
    world.run(20);
    let stays: Vec<RunnerKey> = world.desired.staying(&wanted).map(|slot| slot.key).collect();
    assert_eq!(stays, [keys[1]], "the one that reported");
    world.assert_kept();
}

/// A replica on its way out that was not heard yet in this epoch may be serving still.
#[test]
fn a_restart_gives_the_draining_time_to_report() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.ghost.happened.term = true;
    world.write(&Transaction::MarkDrain { key });
    world.apply(Event::Restart);
    world.apply(Event::Start);
    for _ in 0..world.planned().unwrap().actions.len() {
        world.apply(Event::Plan);
    }
    assert!(world.desired.slot(key).is_some());
    world.run_until(30, |world| world.desired.slot(key).is_none());
    world.assert_kept();
    assert_eq!(world.desired.ended[&key].end.why, Why::Drained);
    world.finish();
    world.assert_kept();
}

/// A replica on its way out whose host is away is waited for no longer than its lease.
#[test]
fn the_draining_that_are_away_are_given_up() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Cut(index));
    world.write(&Transaction::MarkDrain { key });
    let took = world.run_until(30, |world| world.desired.slot(key).is_none());
    assert_eq!((took, world.desired.ended[&key].end.why), (6, Why::Silent));
    world.finish();
    world.assert_kept();
}

/// 4. The change that a plan would commit is superseded, or loses a replica, before it does.
#[test]
fn a_commit_is_planned_afresh() {
    let mut world = calm();
    let first = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let due = |world: &World| {
        actions(world).iter().any(|action| matches!(action, Action::Write(Transaction::Commit { .. })))
    };
    let mut steps = 0;
    while !due(&world) {
        let event = world.enabled().into_iter().find(|event| event.is_normal()).unwrap_or(Event::Plan);
        world.apply(event);
        if world.planned().unwrap().actions.is_empty() {
            world.apply(Event::Tick);
        }
        steps += 1;
        assert!(steps < 1000);
    }
    let mut lost = world.clone();
    let index = lost.processes.iter().position(|process| process.target == target("a", 2, 0)).unwrap();
    lost.apply(Event::Disconnect(index));
    lost.apply(Event::Deliver(lost.net.len() - 1));
    assert!(!due(&lost), "its replica is away");

    ask(&mut world, 2, &[(target("a", 3, 0), 1)]);
    assert!(!due(&world), "it was superseded");
    let commit = Transaction::Commit { change: first, keep_until: None };
    assert_eq!(world.desired.write(&commit), Outcome::PremiseGone, "and even an old plan could not");
}

/// 5. The Controller was asleep, and every lease seems to have run out.
#[test]
fn a_pause_of_the_controller_replaces_nobody() {
    let mut world = calm();
    let keys: Vec<RunnerKey> = world.desired.slots.keys().copied().collect();
    world.apply(Event::Pause);
    world.run(30);
    world.assert_kept();
    assert!(world.desired.slots.keys().eq(&keys));
    assert_eq!((rows(&world, "a"), rows(&world, "b")), (1, 1));
}

/// Nor is somebody given up who was just about to register.
#[test]
fn a_pause_of_the_controller_does_not_count_for_provisioning() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::NeverRegisters);
    let key = world.desired.next_key;
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    world.run(8);
    world.apply(Event::Pause);
    let took = world.run_until(40, |world| world.desired.ended.contains_key(&key));
    assert_eq!(8 + took, 18, "PROVISION without the pause");
}

/// 6. Created and not recorded: when the answer is lost, the instance is.
#[test]
fn a_slot_is_durable_before_its_instance_is_asked_for() {
    let mut world = calm();
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let first = actions(&world).remove(0);
    assert!(matches!(first, Action::Write(Transaction::Add { .. })), "{first:?}");
    let creates = |world: &World| actions(world).iter().filter(|a| matches!(a, Action::Create(_))).count();
    assert_eq!(creates(&world), 0);
    world.apply(Event::Plan);
    assert_eq!(creates(&world), 1);
    world.apply(Event::Plan);
    let index = world.requests.iter().position(|r| matches!(r.what, Request::Create(..))).unwrap();
    world.apply(Event::Do(index));
    let index = world.answers.iter().position(|a| matches!(a.what, Answer::Created(_))).unwrap();
    world.apply(Event::LoseAnswer(index));
    let created = world.ghost.created;
    world.run(20);
    assert_eq!(world.ghost.created, created, "asked again, the platform finds what it made");
    world.finish();
    world.assert_kept();
}

/// 7. A newer wish for a module, while an older one rolls, is not lost when the older ends.
#[test]
fn the_newest_number_of_replicas_wins() {
    let mut world = calm();
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    world.run(1);
    let newer = ask(&mut world, 2, &[(target("a", 2, 0), 2)]);
    ends(&mut world, newer, 60);
    assert_eq!(world.desired.serving.values().next().unwrap().replicas, 2);
    world.finish();
    world.assert_kept();
}

/// Of a surplus, those leave that do not serve, and then the newest.
#[test]
fn the_surplus_that_leaves_is_what_is_missed_least() {
    for oldest_is_away in [true, false] {
        let mut world = serving(Timings::of_tick(TICK), 2, 1, 0);
        world.budget = ALL;
        let keys: Vec<RunnerKey> = world.desired.staying(&target("a", 1, 0)).map(|slot| slot.key).collect();
        if oldest_is_away {
            let index = world.processes.iter().position(|process| process.key == keys[0]).unwrap();
            let (session, clock) = (world.processes[index].session.unwrap(), world.clock());
            world.apply(Event::Cut(index));
            observed(&mut world).on_disconnected(keys[0], session, clock).unwrap();
        }
        let fewer = ask(&mut world, 1, &[(target("a", 1, 0), 1)]);
        ends(&mut world, fewer, 10);
        let stays: Vec<RunnerKey> = world.desired.staying(&target("a", 1, 0)).map(|slot| slot.key).collect();
        assert_eq!(stays, [keys[usize::from(oldest_is_away)]]);
        world.finish();
        world.assert_kept();
    }
}

/// 8. An old Controller that was frozen wakes, and sees instances whose keys it never gave out.
#[test]
fn only_own_keys_are_collected() {
    let mut world = calm();
    let old = world.desired.clone();
    ask(&mut world, 1, &[(target("a", 1, 0), 2)]);
    world.run(20);
    assert_eq!(rows(&world, "a"), 2);
    let (clock, statuses) = (world.clock(), world.statuses(0));
    let mut observed = Observed::new(old.epoch, [(platform(0), TICK)], clock);
    let number = observed.list_sent(&platform(0), clock);
    assert!(observed.on_listed(&old, &platform(0), number, &statuses));
    let stops = |desired| {
        let plan = plan(desired, &observed, &world.timings, clock);
        plan.actions.into_iter().filter(|action| matches!(action, Action::Stop { .. })).count()
    };
    assert_eq!(stops(&old), 0);
    let mut owner = old.clone();
    owner.next_key = world.desired.next_key;
    assert_eq!(stops(&owner), 1, "who gave the key out, and has no slot, does stop it");
}

/// 10. SIGTERM from outside: the Runner drains, and is never ready again.
#[test]
fn who_is_ended_from_outside_is_drained_and_replaced() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Term(index));
    let took = world.run_until(30, |world| world.desired.slot(key).is_none() && rows(world, "a") == 1);
    assert!(took < 12, "took {took} ticks");
    assert_eq!(world.desired.ended[&key].end.why, Why::Drained);
    let attempts: Vec<u32> = world.desired.slots.values().map(|slot| slot.attempts).collect();
    assert_eq!(attempts, [0, 0], "it is no failure");
    world.finish();
    world.assert_kept();
}

/// 11. Its end was seen; then the registration arrives that it had sent before.
#[test]
fn the_dead_do_not_come_back_by_registering() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Kill(index));
    let clock = world.clock();
    let desired = world.desired.clone();
    let statuses = world.statuses(0);
    let number = observed(&mut world).list_sent(&platform(0), clock);
    observed(&mut world).on_listed(&desired, &platform(0), number, &statuses);
    let mut registration = registration(0, Report::Ready);
    registration.instance = world.processes[index].instance();
    observed(&mut world).on_register(&desired, key, Session(1_000), &registration, clock).unwrap();
    let slot = &desired.slots[&key];
    let timings = world.timings.clone();
    assert_eq!(observed(&mut world).state_of(slot, &timings, clock), ReplicaState::Crashed);
    let routes_to = |action: &Action| match action {
        Action::Publish(routes) => routes.rows.iter().any(|row| row.replica.runner == key),
        _ => false,
    };
    let actions = actions(&world);
    assert!(matches!(actions[0], Action::Publish(_)) && !actions.iter().any(routes_to), "{actions:?}");
    assert!(matches!(actions[1], Action::Write(Transaction::Replace { .. })), "{actions:?}");
}

/// 12. A listing asked for before the creation lacks its instance.
#[test]
fn that_a_listing_lacks_a_wanted_key_means_nothing() {
    let mut world = calm();
    let desired = world.desired.clone();
    for _ in 0..5 {
        let clock = world.clock();
        let number = observed(&mut world).list_sent(&platform(0), clock);
        assert!(observed(&mut world).on_listed(&desired, &platform(0), number, &[]));
        assert!(actions(&world).iter().all(|action| matches!(action, Action::List(_))));
        world.apply(Event::Tick);
    }
}

/// 13. The instance is gone before anybody read how it ended.
#[test]
fn an_end_is_on_record_before_the_instance_is_removed() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Crash(index));
    world.run_until(20, |world| world.requests.iter().any(|r| matches!(r.what, Request::Tail(..))));
    let full = |world: &World| world.desired.ended.get(&key).is_some_and(|ended| ended.full);
    let removed = |world: &World| world.processes[index].removed;
    world.run_until(20, full);
    assert!(full(&world));
    assert_eq!(world.desired.ended[&key].end.tail, [format!("last words of {key}")]);
    world.run_until(20, removed);
    assert!(removed(&world));
    world.assert_kept();
}

/// Nobody waits for last lines for ever.
#[test]
fn after_some_tries_an_end_is_recorded_without_its_last_lines() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Crash(index));
    let mut asked = 0;
    for _ in 0..60 {
        while let Some(index) = world.requests.iter().position(|r| matches!(r.what, Request::Tail(..))) {
            world.budget.lose = 1;
            world.apply(Event::LoseRequest(index));
            asked += 1;
        }
        if let Some(event) = world.enabled().into_iter().find(|event| event.is_normal()) {
            world.apply(event);
            continue;
        }
        match world.planned().unwrap().actions.is_empty() {
            true => world.apply(Event::Tick),
            false => world.apply(Event::Plan),
        }
    }
    world.run(20);
    assert_eq!(asked, TAIL_TRIES);
    let ended = &world.desired.ended[&key];
    assert!(ended.full && ended.end.tail.is_empty() && ended.end.exit.is_some(), "{ended:?}");
    assert!(world.processes[index].removed);
}

/// 14. The answer to the dead Controller's 19th listing reaches the next one.
#[test]
fn a_listing_of_another_epoch_is_not_the_newest() {
    let mut world = calm();
    let clock = world.clock();
    let mut old = observed(&mut world).list_sent(&platform(0), clock);
    old.seq = 19;
    world.apply(Event::Restart);
    world.apply(Event::Start);
    let desired = world.desired.clone();
    let statuses = world.statuses(0);
    assert!(!observed(&mut world).on_listed(&desired, &platform(0), old, &[]));
    let own = observed(&mut world).list_sent(&platform(0), clock);
    let newer = observed(&mut world).list_sent(&platform(0), clock);
    assert!(observed(&mut world).on_listed(&desired, &platform(0), newer, &statuses));
    assert!(!observed(&mut world).on_listed(&desired, &platform(0), own, &[]), "it is late");
    let key = *desired.slots.keys().next().unwrap();
    let (_, listing) = observed(&mut world).platforms().next().unwrap();
    assert!(listing.get(key).is_some());

    let index = world.processes.iter().position(|process| process.key == key).unwrap();
    world.apply(Event::Kill(index));
    let statuses = world.statuses(0);
    assert!(!observed(&mut world).on_listed(&desired, &platform(0), old, &statuses));
    assert!(observed(&mut world).end_of(key).is_some(), "but an end stays one, whoever asked");
}

/// The time that a Runner has to register runs from the first acknowledgement, and a repeated one does not prolong it.
#[test]
fn a_creation_is_acknowledged_once() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let (key, instance) = (world.processes[index].key, world.instance_ref(&world.processes[index]));
    let acked_at = observed(&mut world).creation(key).unwrap().acked_at;
    let later = world.clock();
    observed(&mut world).on_created(key, instance, later);
    assert!(acked_at.is_some_and(|at| at < later));
    assert_eq!(observed(&mut world).creation(key).unwrap().acked_at, acked_at);
}

/// 15. {a} and {b} roll; then {a, b} is asked for.
#[test]
fn a_change_supersedes_all_that_it_overlaps() {
    let mut world = calm();
    let a = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let b = ask(&mut world, 2, &[(target("b", 2, 0), 1)]);
    let both = ask(&mut world, 3, &[(target("a", 3, 0), 1), (target("b", 3, 0), 1)]);
    let superseded = ChangeState::Failed(Reason::Superseded);
    assert_eq!((state(&world, a), state(&world, b)), (&superseded, &superseded));
    ends(&mut world, both, 40);
    let change: &Change = &world.desired.changes[&both];
    assert_eq!(change.state, ChangeState::Committed);
    assert_eq!(change.prev.len(), 2, "what served before is on record");
    world.finish();
    world.assert_kept();
}

/// 16. A change of a that never gets ready, then a healthy one of b.
#[test]
fn changes_do_not_wait_for_each_other() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::NeverReady);
    let stuck = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    world.run(3);
    let healthy = ask(&mut world, 2, &[(target("b", 2, 0), 1)]);
    assert!(ends(&mut world, healthy, 60) < 8);
    assert_eq!(state(&world, healthy), &ChangeState::Committed);
    assert_eq!(state(&world, stuck), &ChangeState::Rolling);
    ends(&mut world, stuck, 80);
    assert!(matches!(state(&world, stuck), ChangeState::Failed(_)));
    world.finish();
    world.assert_kept();
}

/// 17. A repeated creation finds the instance ended, and is acknowledged.
#[test]
fn what_ended_stays_ended() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    world.apply(Event::Kill(index));
    let (clock, desired, statuses) = (world.clock(), world.desired.clone(), world.statuses(0));
    let instance = world.instance_ref(&world.processes[index]);
    let number = observed(&mut world).list_sent(&platform(0), clock);
    observed(&mut world).on_listed(&desired, &platform(0), number, &statuses);
    observed(&mut world).on_created(key, instance, clock);
    assert!(actions(&world).iter().any(
        |action| matches!(action, Action::Write(Transaction::Replace { key: replaced, .. }) if *replaced == key)
    ));
}

/// 18. The answer was lost and the request repeated; or an old copy of it arrives after a newer one.
#[test]
fn a_request_that_was_carried_out_is_not_again() {
    let mut world = calm();
    let wanted = [(target("a", 2, 0), 1)];
    world.ops = vec![Op { request: 1, wanted: wanted.to_vec() }];
    world.apply(Event::OpAckLost);
    world.apply(Event::Op);
    let back = ask(&mut world, 2, &[(target("a", 1, 0), 1)]);
    world.apply(Event::OpCopy(0));
    world.apply(Event::Restart);
    world.run(3);
    world.apply(Event::OpCopy(0));
    ends(&mut world, back, 60);
    assert_eq!(state(&world, back), &ChangeState::Committed);
    assert!(world.desired.serves(&target("a", 1, 0)));
    let mut other = world.change(&world.sent[0].clone());
    other.content = ftl_core::Digest::of(b"something else");
    assert_eq!(world.desired.apply(&other), Applied::Conflict);
    world.assert_kept();
}

/// 19. The way back to replicas that carry attempts from long ago.
#[test]
fn old_attempts_do_not_bar_the_way_back() {
    let mut world = calm();
    world.timings.keep = TICK * 60;
    for _ in 0..3 {
        let index = process_of(&world, "a");
        world.apply(Event::Crash(index));
        world.run_until(40, |world| rows(world, "a") == 1);
    }
    assert!(world.desired.slots.values().any(|slot| slot.attempts > 2), "it crashed too often in a row");
    let there = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    ends(&mut world, there, 40);
    let created = world.ghost.created;
    let back = ask(&mut world, 2, &[(target("a", 1, 0), 1)]);
    assert_eq!(ends(&mut world, back, 40), 0, "it is ready already");
    assert_eq!(state(&world, back), &ChangeState::Committed);
    assert_eq!(world.ghost.created, created, "and nothing was created");
    world.assert_kept();
}

/// More replicas of what serves or is kept, while the ones that are there carry attempts from long ago.
#[test]
fn what_served_before_is_no_crash_loop() {
    for version in [1, 2] {
        let mut world = calm();
        world.timings.keep = TICK * 60;
        for _ in 0..3 {
            let index = process_of(&world, "a");
            world.apply(Event::Crash(index));
            world.run_until(40, |world| rows(world, "a") == 1);
        }
        let there = ask(&mut world, 1, &[(target("a", version, 0), 1)]);
        ends(&mut world, there, 40);
        assert!(world.desired.slots.values().any(|slot| slot.attempts > 2));
        let more = ask(&mut world, 2, &[(target("a", 1, 0), 2)]);
        ends(&mut world, more, 40);
        assert_eq!(state(&world, more), &ChangeState::Committed, "from version {version}");
        world.assert_kept();
    }
}

/// Nor do the attempts of a surplus replica bar a change whose replicas are ready.
#[test]
fn who_is_ready_commits_before_anything_is_a_crash_loop() {
    let mut world = calm();
    world.ghost.happened.runner = true;
    let asked = target("a", 2, 0);
    ask(&mut world, 1, &[(asked.clone(), 2)]);
    world.apply(Event::Plan);
    world.apply(Event::Plan);
    let later = world.clock().plus(TICK * 40);
    let replace = |world: &mut World, attempts| {
        let key = world.desired.staying(&asked).last().unwrap().key;
        let (end, at) = (End::new(Why::Silent), world.clock());
        world.write(&Transaction::Replace { key, end, attempts, not_before: later, at });
    };
    replace(&mut world, 1);
    world.run(4);
    replace(&mut world, 3);
    let fewer = ask(&mut world, 2, &[(target("a", 2, 0), 1)]);
    world.apply(Event::Plan);
    assert_eq!(state(&world, fewer), &ChangeState::Committed);
}

/// The table says which version serves even when no replica of it does.
#[test]
fn a_table_without_rows_names_the_new_version() {
    let mut world = calm();
    let index = process_of(&world, "a");
    world.apply(Event::Down(0));
    world.apply(Event::Kill(index));
    world.run(12);
    assert_eq!(rows(&world, "a"), 0);
    let (change, asked) = (world.desired.next_change, target("a", 2, 1));
    world.ops = vec![Op { request: 1, wanted: vec![(asked.clone(), 1)] }];
    world.apply(Event::Op);
    for _ in 0..400 {
        if *state(&world, change) == ChangeState::Committed {
            break;
        }
        let event = world.enabled().into_iter().find(|event| event.is_normal());
        let idle = world.planned().unwrap().actions.is_empty();
        world.apply(event.unwrap_or(if idle { Event::Tick } else { Event::Plan }));
    }
    assert_eq!(state(&world, change), &ChangeState::Committed);
    let index = process_of(&world, "a");
    let (key, session) = (world.processes[index].key, world.processes[index].session.unwrap());
    let clock = world.clock();
    observed(&mut world).on_disconnected(key, session, clock).unwrap();
    let publishes = |action: &Action| match action {
        Action::Publish(routes) => routes.modules.values().any(|id| *id == asked.deployment),
        _ => false,
    };
    assert!(actions(&world).iter().any(publishes));
}

/// 20. A module moves to another platform, and is counted there.
#[test]
fn replicas_are_counted_per_platform() {
    let mut world = calm();
    let moved = target("a", 1, 1);
    let change = ask(&mut world, 1, &[(moved.clone(), 1)]);
    world.apply(Event::Plan);
    assert_eq!(
        state(&world, change),
        &ChangeState::Rolling,
        "what runs on the left is no replica on the right"
    );
    ends(&mut world, change, 40);
    assert!(world.desired.serves(&moved));
    world.finish();
    world.assert_kept();
}

/// 21. Asking for what serves, with fewer replicas, keeps nothing.
#[test]
fn only_another_target_is_kept() {
    let mut world = serving(Timings::of_tick(TICK), 2, 1, 0);
    world.timings.keep = TICK * 30;
    let fewer = ask(&mut world, 1, &[(target("a", 1, 0), 1)]);
    ends(&mut world, fewer, 20);
    assert!(world.desired.kept.is_empty());
    let next = ask(&mut world, 2, &[(target("a", 2, 0), 1)]);
    ends(&mut world, next, 20);
    assert_eq!(world.desired.kept.len(), 1);
    world.finish();
    world.assert_kept();
}

/// 23. A platform is down for long: nothing that waits for it is given up, and no keys pile up.
#[test]
fn provisioning_runs_from_the_acknowledgement() {
    let mut world = calm();
    world.apply(Event::Down(0));
    let before = world.desired.next_key;
    let index = process_of(&world, "a");
    world.apply(Event::Crash(index));
    world.run(3);
    let key = *world.desired.slots.keys().last().unwrap();
    world.run(100);
    assert!(world.desired.slot(key).is_some() || world.desired.next_key.0 - before.0 <= 2);
    assert!(world.desired.next_key.0 - before.0 <= 2, "{:?} keys", world.desired.next_key.0 - before.0);
    world.apply(Event::Up(0));
    let took = world.run_until(20, |world| rows(world, "a") == 1);
    assert!(took < 8, "took {took} ticks");
    world.finish();
    world.assert_kept();
}

/// An instance that was acknowledged and whose Runner never registers is given up, again and again until the deadline.
#[test]
fn who_never_registers_is_replaced() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::NeverRegisters);
    let key = world.desired.next_key;
    let change = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let took = world.run_until(40, |world| world.desired.ended.contains_key(&key));
    assert_eq!(took, 18, "PROVISION after the acknowledgement");
    assert_eq!(world.desired.ended[&key].end.why, Why::NeverRegistered);
    ends(&mut world, change, 60);
    assert!(matches!(state(&world, change), ChangeState::Failed(Reason::Deadline | Reason::CrashLoop)));
    world.finish();
    world.assert_kept();
}

/// A Runner that registered and whose deployment never serves is given up.
#[test]
fn who_is_never_ready_is_replaced() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::NeverReady);
    let key = world.desired.next_key;
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let took = world.run_until(40, |world| world.desired.ended.contains_key(&key));
    assert_eq!(took, 8, "START after the registration");
    assert_eq!(world.desired.ended[&key].end.why, Why::NeverReady);
    world.assert_kept();
}

/// 24. While one platform does not answer, a Runner on the other hangs.
#[test]
fn a_dead_platform_delays_nothing_on_another() {
    let mut world = serving(Timings::of_tick(TICK), 1, 1, 1);
    world.budget = ALL;
    world.apply(Event::Down(1));
    ask(&mut world, 1, &[(target("b", 1, 1), 2)]);
    world.run(4);
    let index = process_of(&world, "a");
    world.apply(Event::Hang(index));
    let withdrawn = world.run_until(40, |world| rows(world, "a") == 0);
    let replaced = world.run_until(40, |world| rows(world, "a") == 1);
    assert!(withdrawn <= 7 && withdrawn + replaced <= 12, "withdrawn {withdrawn}, replaced {replaced}");
    world.assert_kept();
}

/// 25. One platform is down; the other's ends are still seen, and its garbage collected.
#[test]
fn platforms_are_listed_each_for_itself() {
    let mut world = serving(Timings::of_tick(TICK), 1, 1, 1);
    world.budget = ALL;
    world.apply(Event::Down(1));
    world.run(12);
    let index = process_of(&world, "a");
    world.apply(Event::Kill(index));
    let withdrawn = world.run_until(40, |world| rows(world, "a") == 0);
    assert!(withdrawn <= 5, "withdrawn after {withdrawn} ticks");
    let removed = world.run_until(40, |world| world.processes[index].removed);
    assert!(removed <= 8, "removed after {removed} ticks");
    world.assert_kept();
}

/// 28. The connection breaks between the registration and Deploy.
#[test]
fn deploy_is_sent_on_each_connection() {
    let mut world = calm();
    let asked = target("a", 2, 0);
    let change = ask(&mut world, 1, &[(asked, 1)]);
    let sent = |world: &World| world.net.iter().any(|message| message.body == Body::Deploy);
    for _ in 0..200 {
        if sent(&world) {
            break;
        }
        let event = world.enabled().into_iter().find(|event| event.is_normal());
        let idle = world.planned().unwrap().actions.is_empty();
        world.apply(event.unwrap_or(if idle { Event::Tick } else { Event::Plan }));
    }
    assert!(sent(&world));
    let nonce = world.net.iter().find(|message| message.body == Body::Deploy).unwrap().nonce;
    world.apply(Event::Disconnect(nonce as usize));
    assert!(!sent(&world), "it is lost with its connection");
    assert!(ends(&mut world, change, 60) < 6);
    assert_eq!(state(&world, change), &ChangeState::Committed);
    world.finish();
    world.assert_kept();
}

/// What a platform refuses for good ends the change at once, in the platform's words.
#[test]
fn a_refused_creation_fails_its_change_at_once() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::Refused);
    let change = ask(&mut world, 1, &[(target("a", 2, 0), 1), (target("b", 2, 0), 1)]);
    assert!(ends(&mut world, change, 60) <= 1);
    assert_eq!(state(&world, change), &ChangeState::Failed(Reason::Refused("no such thing here".into())));
    world.finish();
    world.assert_kept();
    assert!(world.desired.serves(&target("b", 1, 0)), "the old version serves");
}

/// What serves is asked for again, ever more slowly, and its history says why it is not there.
#[test]
fn a_refused_creation_of_what_serves_is_repeated_with_backoff() {
    let mut world = calm();
    let index = process_of(&world, "a");
    world.apply(Event::Crash(index));
    world.habits.insert(target("a", 1, 0).deployment, Habit::Refused);
    let before = world.desired.next_key.0;
    world.run(60);
    let keys = world.desired.next_key.0 - before;
    assert!((5..=10).contains(&keys), "{keys} tries in 60 ticks");
    let refused = world.desired.ended.values().rev().find(|ended| ended.end.why == Why::Refused).unwrap();
    assert_eq!(refused.to_string(), "refused: no such thing here");
    world.habits.clear();
    let back = world.run_until(30, |world| rows(world, "a") == 1);
    assert!(back <= 12, "back after {back} ticks");
    world.finish();
    world.assert_kept();
}

/// Instances that a former Controller asked for otherwise are adopted all the same: a conflict with what is listed under
/// the slot's key is no refusal, whichever of the two answers comes first.
#[test]
fn a_conflict_with_the_own_instance_is_an_acknowledgement() {
    for listed_first in [true, false] {
        let mut world = calm();
        world.upgrades = true;
        let index = process_of(&world, "a");
        let key = world.processes[index].key;
        // It registers late: until then all that is known is what the platform says.
        world.apply(Event::Cut(index));
        world.apply(Event::Restart);
        world.apply(Event::Start);
        let error = PlatformError::new(ErrorKind::Conflict, "made otherwise");
        let (clock, desired) = (world.clock(), world.desired.clone());
        let statuses = world.statuses(0);
        let observed = observed(&mut world);
        let number = observed.list_sent(&platform(0), clock);
        observed.create_sent(&desired, key, clock);
        if listed_first {
            observed.on_listed(&desired, &platform(0), number, &statuses);
            observed.on_create_failed(key, &error);
        } else {
            observed.on_create_failed(key, &error);
            assert!(observed.creation(key).unwrap().refused.is_none(), "not before it is known whose it is");
            observed.on_listed(&desired, &platform(0), number, &statuses);
        }
        let creation = observed.creation(key).unwrap();
        assert!(creation.acked_at.is_some() && creation.refused.is_none(), "{creation:?}");
        assert_eq!(creation.instance.as_ref().map(|instance| instance.runner), Some(key));
    }
}

/// A conflict with something that is not listed is a refusal: a stranger stands in the way.
#[test]
fn a_conflict_with_a_stranger_is_a_refusal() {
    let mut world = calm();
    let key = world.desired.next_key;
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    while world.requests.iter().all(|request| !matches!(request.what, Request::Create(..))) {
        world.apply(Event::Plan);
    }
    world.requests.retain(|request| !matches!(request.what, Request::Create(..)));
    let (clock, desired) = (world.clock(), world.desired.clone());
    let statuses = world.statuses(0);
    let observed = observed(&mut world);
    let before = observed.list_sent(&platform(0), clock);
    observed.on_create_failed(key, &PlatformError::new(ErrorKind::Conflict, "the name is taken"));
    observed.on_listed(&desired, &platform(0), before, &statuses);
    assert!(observed.creation(key).unwrap().refused.is_none(), "that was asked before");
    let after = observed.list_sent(&platform(0), clock);
    observed.on_listed(&desired, &platform(0), after, &statuses);
    assert_eq!(observed.creation(key).unwrap().refused.as_deref(), Some("the name is taken"));
}

/// A busy platform is asked for the same instance again, when it said.
#[test]
fn a_busy_platform_is_asked_again_when_it_said() {
    let mut world = calm();
    let key = world.desired.next_key;
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    while world.requests.iter().all(|request| !matches!(request.what, Request::Create(..))) {
        world.apply(Event::Plan);
    }
    let mut error = PlatformError::new(ErrorKind::Exhausted, "no room");
    error.retry_after = Some(TICK * 10);
    world.requests.retain(|request| !matches!(request.what, Request::Create(..)));
    observed(&mut world).on_create_failed(key, &error);
    let took = world.run_until(30, |world| world.ghost.created == 1);
    assert_eq!(took, 10);
    assert!(world.desired.slot(key).is_some(), "under the same key");
    world.finish();
    world.assert_kept();
}

/// A platform that has seen a higher generation: this Controller must go, and touches nothing.
#[test]
fn a_stale_controller_exits() {
    let mut world = calm();
    let stale = PlatformError::new(ErrorKind::Stale, "generation 7 acts");
    let unsure = PlatformError::new(ErrorKind::Stale, "?").with_unknown_effect();
    observed(&mut world).on_platform_failed(&unsure);
    assert!(!actions(&world).contains(&Action::Exit));
    observed(&mut world).on_platform_failed(&stale);
    assert_eq!(actions(&world), [Action::Exit]);
}

/// Where instances end with their Controller, a restart begins anew with fresh keys, and nothing counts as a crash.
#[test]
fn without_adoption_a_restart_begins_anew() {
    let mut world = calm();
    world.tied = true;
    let old: Vec<RunnerKey> = world.desired.slots.keys().copied().collect();
    let mut pure = world.desired.clone();
    pure.start(&Startup { adopting: [platform(0)].into(), at: world.clock() });
    assert!(pure.slots.keys().eq(&old), "who is adopted keeps its key");

    world.apply(Event::Restart);
    let took = world.run_until(20, |world| rows(world, "a") == 1 && rows(world, "b") == 1);
    assert!(took <= 4, "served again after {took} ticks");
    for key in old {
        assert!(world.desired.slot(key).is_none());
        let ended = &world.desired.ended[&key];
        assert_eq!(
            (ended.end.why, ended.full, ended.end.why.is_failure()),
            (Why::ControllerEnded, true, false)
        );
    }
    assert!(world.desired.slots.values().all(|slot| slot.attempts == 0));
    world.finish();
    world.assert_kept();
}

/// What it buys to observe ends: a program that dies before it registers is a crash loop, long before the deadline.
#[test]
fn who_dies_before_registering_is_a_crash_loop() {
    let mut world = calm();
    world.habits.insert(target("a", 2, 0).deployment, Habit::DiesBeforeRegistering);
    let change = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let took = ends(&mut world, change, 60);
    assert_eq!(state(&world, change), &ChangeState::Failed(Reason::CrashLoop));
    assert!(took <= 25, "took {took} ticks");
    world.finish();
    world.assert_kept();
}

/// With SETTLE, who crashes soon after it was ready does not commit.
#[test]
fn settle_waits_for_the_crash_that_comes() {
    for (settle, state_then) in [(0, ChangeState::Committed), (12, ChangeState::Failed(Reason::CrashLoop))] {
        let mut world = calm();
        world.timings.settle = TICK * settle;
        world.habits.insert(target("a", 2, 0).deployment, Habit::CrashesAfter(4));
        let change = ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
        ends(&mut world, change, 60);
        assert_eq!(state(&world, change), &state_then);
    }
}

/// What serves already need not settle again.
#[test]
fn more_of_what_serves_does_not_settle() {
    let mut world = calm();
    world.timings.settle = TICK * 12;
    let change = ask(&mut world, 1, &[(target("a", 1, 0), 2)]);
    assert!(ends(&mut world, change, 60) < 6);
    assert_eq!(state(&world, change), &ChangeState::Committed);
}

/// A Runner that was ready for long enough begins to count its attempts anew.
#[test]
fn attempts_are_forgotten_by_who_was_stable() {
    let mut world = calm();
    let crash = |world: &mut World, after: usize| {
        world.run(after);
        let index = process_of(world, "a");
        let key = world.processes[index].key;
        world.apply(Event::Crash(index));
        world.run_until(40, |world| world.desired.slot(key).is_none());
        let attempts = world.desired.slots.values().last().unwrap().attempts;
        world.run_until(40, |world| rows(world, "a") == 1);
        attempts
    };
    let attempts: Vec<u32> = [20, 1, 1, 1, 20, 1].into_iter().map(|after| crash(&mut world, after)).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 1, 2]);
}

/// Grace and its slack bound a drain that never ends.
#[test]
fn a_drain_that_never_ends_is_cut() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let key = world.processes[index].key;
    ask(&mut world, 1, &[(target("a", 2, 0), 1)]);
    let sent = |world: &World| world.net.iter().any(|message| message.body == Body::Drain);
    while !sent(&world) {
        let event = world.enabled().into_iter().find(|event| event.is_normal());
        let idle = world.planned().unwrap().actions.is_empty();
        world.apply(event.unwrap_or(if idle { Event::Tick } else { Event::Plan }));
    }
    world.net.retain(|message| message.body != Body::Drain);
    let took = world.run_until(40, |world| world.desired.slot(key).is_none());
    assert_eq!(took, 9, "GRACE and its slack after it was sent");
    assert_eq!(world.desired.ended[&key].end.why, Why::DrainCut);
}

/// What reports say goes only forward within a session.
#[test]
fn a_report_never_goes_back() {
    let mut world = calm();
    let index = process_of(&world, "a");
    let (key, session) = (world.processes[index].key, world.processes[index].session.unwrap());
    let (clock, desired) = (world.clock(), world.desired.clone());
    let order = Order { epoch: desired.epoch, session };
    let observed = observed(&mut world);
    for (report, stage) in [
        (Report::Starting, Stage::Ready),
        (Report::Draining, Stage::Draining),
        (Report::Ready, Stage::Draining),
        (Report::Drained, Stage::Drained),
        (Report::Draining, Stage::Drained),
    ] {
        observed.on_report(&desired, key, order, &report, clock).unwrap();
        assert_eq!(observed.seen(key).unwrap().stage, stage);
    }
}

/// A plan that has nothing to do sleeps, but never so long that it looks like a pause.
#[test]
fn a_calm_plan_sleeps_for_less_than_a_pause() {
    let world = calm();
    let plan = world.planned().unwrap();
    assert!(plan.actions.is_empty());
    let sleeps = plan.wake.since(world.clock());
    assert!(sleeps > Duration::ZERO && sleeps <= world.timings.own_pause / 2);
}
