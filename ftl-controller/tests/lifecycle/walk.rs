//! Random schedules, each from a seed: so that a violation can be played again.

use std::collections::BTreeMap;
use std::time::Duration;

use ftl_controller::desired::Target;
use ftl_controller::timings::Timings;

use super::world::{Broken, Budget, Event, Ghost, Habit, Op, TICK, World, target};

/// So many ticks after the last fault everything is at rest: a deadline, and what follows from it.
const REST_TICKS: usize = 75;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn up_to(&mut self, most: u8) -> u8 {
        u8::try_from(self.below(usize::from(most) + 1)).unwrap()
    }
}

/// A world in which version 1 of both modules serves.
pub(crate) fn serving(timings: Timings, a: u16, b: u16, b_on: usize) -> World {
    let mut world = World::new(timings);
    world.ops = vec![world.op(0, &[(target("a", 1, 0), a), (target("b", 1, b_on), b)])];
    world.apply(Event::Start);
    world.apply(Event::Op);
    world.finish();
    world.assert_kept();
    let (rows, lowest) = (world.ghost.rows.clone(), world.ghost.lowest.clone());
    let Ghost { deployed, log, routed, .. } = world.ghost;
    world.ghost = Ghost { rows, lowest, deployed, log, routed, ..Ghost::default() };
    world.sent.clear();
    world.trace.clear();
    world
}

fn ops(random: &mut Random, b_on: usize) -> Vec<Vec<(Target, u16)>> {
    let (a1, a2, a3) = (target("a", 1, 0), target("a", 2, 0), target("a", 3, 0));
    let (b1, b2, b3) = (target("b", 1, b_on), target("b", 2, b_on), target("b", 3, b_on));
    let both = |n: u16, m: u16| vec![(a2.clone(), n), (b2.clone(), m)];
    match random.below(16) {
        0 => vec![both(1, 1)],
        1 => vec![both(1, 1), vec![(a1, 1), (b1, 1)]],
        2 => vec![vec![(a1.clone(), 2)], vec![(a1, 1)]],
        3 => vec![both(1, 1), vec![(a3, 1), (b3, 1)]],
        4 => vec![both(2, 2)],
        5 => vec![vec![(a2, 1)], vec![(b2, 1)]],
        6 => vec![vec![(a2, 1)], vec![(b2, 1)], vec![(a3, 1), (b3, 1)]],
        7 => vec![both(1, 1), vec![(a3, 1)]],
        8 => vec![vec![(a2, 2)], vec![(b1, 2)], vec![(a1, 1)]],
        9 => vec![vec![(target("a", 1, 1), 1)]],
        10 => vec![vec![(a2.clone(), 1)], vec![(a1, 1)], vec![(a2, 2)]],
        11 => vec![both(2, 1), vec![(a2, 1)], vec![(a1, 2), (b1, 1)]],
        12 => vec![vec![(b2, 1)], vec![(target("a", 2, 1), 1)], vec![(b1, 1)]],
        13 => vec![vec![(a1, 2)], both(2, 2), vec![(a3, 1)]],
        _ => vec![],
    }
}

fn habits(random: &mut Random, world: &mut World) {
    let a = |version| target("a", version, 0).deployment;
    let b = |version| target("b", version, 0).deployment;
    let (id, habit) = match random.below(11) {
        0 => (b(2), Habit::CrashesAtStart),
        1 => (a(2), Habit::NeverReady),
        2 => (a(2), Habit::CrashesAfter(10)),
        3 => (a(1), Habit::CrashesAfter(10)),
        4 => (a(2), Habit::CrashesAtStart),
        5 => (a(2), Habit::DiesBeforeRegistering),
        6 => (b(2), Habit::Refused),
        7 => (b(2), Habit::NeverRegisters),
        _ => return,
    };
    world.habits.insert(id, habit);
}

fn budget(random: &mut Random) -> Budget {
    // Faults are spread: without any of Runners in a quarter of the walks, without broken connections in another.
    let kind = random.below(4);
    let mut some = |most: u8, on: bool| if on { random.up_to(most) } else { 0 };
    Budget {
        restart: some(2, true),
        frozen: some(1, true),
        pause: some(1, true),
        crash: some(3, kind > 0),
        kill: some(1, kind > 0),
        hang: some(1, kind > 1),
        cut: some(1, kind > 1),
        term: some(1, kind > 1),
        disconnect: some(2, kind != 1),
        lose: some(2, true),
        duplicate: some(2, true),
        busy: some(1, true),
        platform_down: some(1, true),
        ack_lost: some(1, true),
        op_copy: some(1, true),
    }
}

fn weight(event: Event, hurry: usize) -> usize {
    match event {
        Event::Tick | Event::Deliver(_) | Event::Step(_) => 8 * hurry,
        Event::Plan => 10 * hurry,
        Event::Do(_) | Event::Answer(_) | Event::Refuse(_) => 6 * hurry,
        Event::Start => 4 * hurry,
        Event::Heal(_) => hurry,
        Event::Op => 2,
        _ => 1,
    }
}

/// The bases that walks begin from.
pub(crate) struct Bases(Vec<(World, usize)>);

impl Bases {
    pub(crate) fn new(keep: bool) -> Self {
        let mut timings = Timings::of_tick(TICK);
        if keep {
            timings.keep = TICK * 30;
        }
        let base = |a, b, on| (serving(timings.clone(), a, b, on), on);
        Self(vec![base(1, 1, 0), base(2, 1, 1), base(2, 2, 0), base(1, 2, 1)])
    }
}

/// One walk, to its end. Returns the world, and how many ticks after the last fault it came to rest.
pub(crate) fn walk(bases: &Bases, seed: u64, broken: Broken) -> (World, usize) {
    let mut random = Random::new(seed);
    let (base, b_on) = &bases.0[random.below(bases.0.len())];
    let mut world = base.clone();
    let ops = ops(&mut random, *b_on);
    world.ops = ops.into_iter().zip(1..).map(|(wanted, request)| Op { request, wanted }).collect();
    habits(&mut random, &mut world);
    world.budget = budget(&mut random);
    world.tied = random.below(5) == 0;
    world.upgrades = random.below(3) == 0;
    if random.below(4) == 0 {
        world.timings.settle = TICK * 12;
    }
    world.broken = broken;
    // The faults that the rule is against come often, so that it is missed soon.
    match broken {
        Broken::Hold => world.timings.hold = Duration::ZERO,
        Broken::Lease => world.timings.lease = TICK * 10_000,
        Broken::EpochFence => (world.budget.restart, world.budget.frozen) = (2, 1),
        Broken::DeployPerSession => world.budget.disconnect = 4,
        _ => {}
    }
    let hurry = [1, 4, 12][random.below(3)];
    let length = (50 + random.below(150)) * if hurry == 1 { 1 } else { 3 };
    for _ in 0..length {
        let events = world.enabled();
        let mut point = random.below(events.iter().map(|event| weight(*event, hurry)).sum());
        let event = events.iter().find(|event| {
            let weight = weight(**event, hurry);
            let found = point < weight;
            point = point.saturating_sub(weight);
            found
        });
        world.apply(*event.unwrap());
        if world.violation.is_some() {
            return (world, 0);
        }
    }
    let rest = world.finish();
    (world, rest)
}

/// `FTL_WALKS=100` walks a hundred times as far.
fn explore(keep: bool, seeds: std::ops::Range<u64>) {
    let further = std::env::var("FTL_WALKS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    let seeds = seeds.start..seeds.start + (seeds.end - seeds.start) * further;
    let bases = Bases::new(keep);
    let (mut states, mut longest) = (BTreeMap::<String, u32>::new(), 0);
    for seed in seeds.clone() {
        let (world, rest) = walk(&bases, seed, Broken::Nothing);
        if let Some((property, what)) = &world.violation {
            panic!("seed {seed}: {property}: {what}\n{}", world.trace.join("\n"));
        }
        longest = longest.max(rest);
        for change in world.desired.changes.values() {
            *states.entry(format!("{:?}", change.state)).or_default() += 1;
        }
    }
    println!("{seeds:?}: at rest after {longest} ticks at most; {states:?}");
    assert!(longest <= REST_TICKS, "at rest only after {longest} ticks");
    assert!(states.len() >= 5, "the walks must reach every state of a change: {states:?}");
}

#[test]
fn every_property_holds_whatever_happens() {
    explore(false, 0..2000);
}

#[test]
fn every_property_holds_while_versions_are_kept() {
    explore(true, 1_000_000..1_001_000);
}

/// A rule that can be taken away without any property noticing is not tested.
#[test]
fn every_rule_is_missed() {
    let bases = Bases::new(false);
    let broken = [
        (Broken::Hold, "P2"),
        (Broken::Lease, "P6"),
        (Broken::Rebase, "P7"),
        (Broken::SessionFence, "P7"),
        (Broken::FreshPlan, "P"),
        (Broken::RecordFirst, "P8"),
        (Broken::WithdrawFirst, "P1"),
        (Broken::SupersedeAll, "P4"),
        (Broken::Requests, "P4"),
        (Broken::EpochFence, "P"),
        (Broken::DeployPerSession, "P"),
        (Broken::Resume, "P"),
    ];
    for (broken, property) in broken {
        let violated = (0..20_000).find_map(|seed| {
            let violation = walk(&bases, seed, broken).0.violation?;
            violation.0.starts_with(property).then_some((seed, violation))
        });
        println!("{broken:?}: {violated:?}");
        assert!(violated.is_some(), "without {broken:?}, nothing violated {property}");
    }
}
