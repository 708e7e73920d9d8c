//! Every interleaving of a few calls at the moments that matter: when a circuit trips, and when it is
//! half-open. Run by `cargo xtask test`, or with `RUSTFLAGS="--cfg fusebox_loom"`.
#![cfg(fusebox_loom)]
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::time::Duration;

use fusebox_circuit_breaker::engine::{
    ByHand, Circuit, Closing, CoolDown, CountsAs, End, Hanging, Quorum, Reserved, Settings, Share,
    Shell, Ticket, Transition, Verdict, WindowSettings,
};
use fusebox_core::{CircuitState, Outcome, Timestamp};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Counts the transitions into each state, so that one told twice is seen.
#[derive(Default)]
struct Told {
    opened: AtomicUsize,
    half_opened: AtomicUsize,
    closed: AtomicUsize,
}

impl Shell for Told {
    fn draw(&self) -> u32 {
        0
    }

    fn tell(&self, transition: Transition) {
        let count = match transition.to {
            CircuitState::Open => &self.opened,
            CircuitState::HalfOpen => &self.half_opened,
            _ => &self.closed,
        };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn settings(window: WindowSettings) -> Settings {
    Settings {
        window,
        minimum_calls: 2,
        failures: Share::new(1.0),
        consecutive: None,
        slow: None,
        hanging: None,
        throttled: CountsAs::Nothing,
        cancelled: CountsAs::Nothing,
        cancellations: None,
        cool_down: CoolDown::Fixed(Duration::from_nanos(100)),
        longest_retry_after: Duration::ZERO,
        probes: 1,
        probe_deadline: Duration::from_nanos(100),
        closing: Closing::Successes(1),
        ramp: None,
    }
}

const TIME: WindowSettings = WindowSettings::Time { bucket: 1_000 };
const COUNT: WindowSettings = WindowSettings::Count { calls: 2 };

struct Scene {
    circuit: Circuit,
    told: Told,
}

impl Scene {
    fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            circuit: Circuit::new(settings, 2, None),
            told: Told::default(),
        })
    }

    fn admit(&self, shard: usize, now: u64) -> Option<(usize, Ticket)> {
        let (circuit, now) = (&self.circuit, Timestamp::from_nanos(now));
        let verdict = match circuit.admit_at_once() {
            Some(ticket) => Verdict::Admitted(ticket),
            None => circuit.admit(circuit.shard(shard), now, &self.told),
        };
        match verdict {
            Verdict::Admitted(ticket) => Some((shard, ticket)),
            Verdict::Refused { .. } => None,
        }
    }

    fn end(&self, (shard, mut ticket): (usize, Ticket), outcome: Outcome, now: u64) {
        let (circuit, now) = (&self.circuit, Timestamp::from_nanos(now));
        let shard = circuit.shard(shard);
        if outcome != Outcome::Success || !circuit.end_well(shard, &ticket, || now) {
            circuit.end(shard, &mut ticket, outcome.into(), now, &self.told);
        }
    }

    /// The end of a call that the dependency has turned away.
    fn end_throttled(&self, (shard, mut ticket): (usize, Ticket), wish: u64, now: u64) {
        let end = End {
            retry_after: Some(Duration::from_nanos(wish)),
            ..Outcome::Throttled.into()
        };
        let (shard, now) = (self.circuit.shard(shard), Timestamp::from_nanos(now));
        self.circuit.end(shard, &mut ticket, end, now, &self.told);
    }

    fn state(&self) -> CircuitState {
        self.circuit.state().public()
    }

    /// Open since instant 1, until 101.
    fn trip(&self) {
        for _ in 0..2 {
            let ticket = self.admit(0, 1).unwrap();
            self.end(ticket, Outcome::Failure, 1);
        }
        assert_eq!(self.state(), CircuitState::Open);
    }
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Enough for every bug of two threads that is known; unbounded it would take minutes.
    builder.preemption_bound = Some(3);
    // A look at a time window reads every bucket.
    builder.max_branches = 20_000;
    builder.check(model);
}

/// Two threads, each with one of the two failures that are needed.
fn two_failures_trip_once(window: WindowSettings) {
    explore(move || {
        let scene = Scene::new(settings(window));
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Failure, 1);
        other.join().unwrap();
        assert_eq!(scene.state(), CircuitState::Open);
        assert_eq!(scene.told.opened.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn two_failures_on_two_threads_trip_a_time_window_exactly_once() {
    two_failures_trip_once(TIME);
}

#[test]
fn two_failures_on_two_threads_trip_a_count_window_exactly_once() {
    two_failures_trip_once(COUNT);
}

#[test]
fn the_sums_of_a_count_window_stay_true_when_threads_overtake_each_other() {
    explore(|| {
        let mut settings = settings(WindowSettings::Count { calls: 1 });
        settings.failures = None;
        let scene = Scene::new(settings);
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Success, 1);
        other.join().unwrap();
        // One place, so it holds whichever call came last, and then it is forgotten.
        let ticket = scene.admit(0, 2).unwrap();
        scene.end(ticket, Outcome::Success, 2);
        let totals = scene.circuit.totals(Timestamp::from_nanos(2));
        assert_eq!((totals.calls, totals.failed), (1, 0));
    });
}

#[test]
fn a_success_beside_the_first_failure_is_counted_once() {
    explore(|| {
        let mut settings = settings(WindowSettings::Count { calls: 4 });
        settings.failures = None;
        let scene = Scene::new(settings);
        let before = scene.admit(0, 0).unwrap();
        scene.end(before, Outcome::Success, 0);
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Success, 1);
        other.join().unwrap();
        let totals = scene.circuit.totals(Timestamp::from_nanos(1));
        assert_eq!((totals.calls, totals.failed), (3, 1));
    });
}

#[test]
fn a_failure_is_not_forgotten_when_the_last_one_leaves_at_the_same_moment() {
    explore(|| {
        let mut settings = settings(WindowSettings::Count { calls: 2 });
        settings.failures = None;
        let scene = Scene::new(settings);
        for outcome in [Outcome::Failure, Outcome::Success] {
            let ticket = scene.admit(0, 0).unwrap();
            scene.end(ticket, outcome, 0);
        }
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Success, 1);
        other.join().unwrap();
        let totals = scene.circuit.totals(Timestamp::from_nanos(1));
        assert_eq!((totals.calls, totals.failed), (2, 1));
        // And it leaves in its turn.
        for _ in 0..2 {
            let ticket = scene.admit(0, 2).unwrap();
            scene.end(ticket, Outcome::Success, 2);
        }
        assert_eq!(scene.circuit.totals(Timestamp::from_nanos(2)).failed, 0);
    });
}

#[test]
fn a_call_that_ends_while_another_one_trips_does_not_count_for_the_next_generation() {
    explore(|| {
        let mut settings = settings(TIME);
        settings.minimum_calls = 1;
        let scene = Scene::new(settings);
        let (first, late) = (scene.admit(0, 0).unwrap(), scene.admit(1, 0).unwrap());
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.end(late, Outcome::Failure, 1))
        };
        scene.end(first, Outcome::Failure, 1);
        if let Some(transition) = scene.circuit.by_hand(ByHand::Reset) {
            scene.told.tell(transition);
        }
        let fresh = scene.circuit.totals(Timestamp::from_nanos(1));
        assert_eq!(fresh.failed, 0);
        other.join().unwrap();
        // Either it came before the reset, or it is of a generation that is over.
        assert_eq!(scene.circuit.totals(Timestamp::from_nanos(1)).failed, 0);
        assert_eq!(scene.state(), CircuitState::Closed);
    });
}

#[test]
fn of_two_calls_at_the_end_of_the_cool_down_one_is_the_probe() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        scene.trip();
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.admit(1, 101))
        };
        let mine = scene.admit(0, 101);
        let theirs = other.join().unwrap();
        assert!(mine.is_some() != theirs.is_some());
        assert_eq!(scene.told.half_opened.load(Ordering::SeqCst), 1);
        assert_eq!(scene.state(), CircuitState::HalfOpen);
    });
}

#[test]
fn of_two_probes_that_disagree_the_first_one_decides() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        scene.trip();
        let probe = scene.admit(0, 101).unwrap();
        let other = {
            let scene = scene.clone();
            thread::spawn(move || {
                if let Some(ticket) = scene.admit(1, 102) {
                    scene.end(ticket, Outcome::Success, 102);
                }
            })
        };
        scene.end(probe, Outcome::Failure, 102);
        other.join().unwrap();
        // The place was free for a moment. Who took it either has closed the circuit before the
        // failure came (which then is one of an older generation), or moves nothing.
        if scene.told.closed.load(Ordering::SeqCst) == 1 {
            assert_eq!(scene.state(), CircuitState::Closed);
            return;
        }
        assert_eq!(scene.state(), CircuitState::Open);
        assert!(scene.admit(0, 103).is_none());
        assert_eq!(scene.told.opened.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_probe_that_missed_its_deadline_and_its_successor_close_the_circuit_once() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        scene.trip();
        let hung = scene.admit(0, 101).unwrap();
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.end(hung, Outcome::Success, 300))
        };
        // Its deadline was 201: either it was back before, or its place is taken.
        let successor = scene.admit(1, 300);
        if let Some(successor) = successor {
            scene.end(successor, Outcome::Success, 300);
        }
        other.join().unwrap();
        assert_eq!(scene.state(), CircuitState::Closed);
        assert_eq!(scene.told.closed.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_place_is_never_held_twice() {
    explore(|| {
        let mut settings = settings(TIME);
        settings.closing = Closing::Successes(100);
        let scene = Scene::new(settings);
        scene.trip();
        let first = scene.admit(0, 101).unwrap();
        let now = Arc::new(AtomicUsize::new(0));
        let probe = |scene: &Scene, now: &AtomicUsize, shard| {
            if let Some(ticket) = scene.admit(shard, 102) {
                assert_eq!(now.fetch_add(1, Ordering::SeqCst), 0, "two probes at once");
                now.fetch_sub(1, Ordering::SeqCst);
                scene.end(ticket, Outcome::Success, 102);
            }
        };
        scene.end(first, Outcome::Success, 101);
        let other = {
            let (scene, now) = (scene.clone(), now.clone());
            thread::spawn(move || probe(&scene, &now, 1))
        };
        probe(&scene, &now, 0);
        other.join().unwrap();
        assert_eq!(scene.circuit.probes(Timestamp::from_nanos(103)), 0);
    });
}

#[test]
fn two_failures_on_either_side_of_a_buckets_end_trip_exactly_once() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1_000))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Failure, 999);
        other.join().unwrap();
        assert_eq!(scene.state(), CircuitState::Open);
        assert_eq!(scene.told.opened.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_success_beside_a_failure_ends_the_row_before_or_after_it() {
    explore(|| {
        let mut settings = settings(TIME);
        (settings.failures, settings.consecutive) = (None, Some(3));
        let scene = Scene::new(settings);
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Failure, 0);
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end(ticket, Outcome::Failure, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Success, 1);
        other.join().unwrap();
        let in_a_row = scene.circuit.in_a_row();
        assert!(in_a_row <= 1, "{in_a_row} with a success among them");
    });
}

/// Opens when two calls hang for forty, which is seen in quarters of ten.
fn hanging() -> Settings {
    Settings {
        failures: None,
        hanging: Some(Hanging {
            calls: 2,
            longer_than: 40,
        }),
        ..settings(TIME)
    }
}

/// A call of a circuit that times its calls.
fn take_off(scene: &Scene, shard: usize, now: u64) -> Option<(usize, Ticket)> {
    let circuit = &scene.circuit;
    let now = Timestamp::from_nanos(now);
    match circuit.admit(circuit.shard(shard), now, &scene.told) {
        Verdict::Admitted(ticket) => Some((shard, ticket)),
        Verdict::Refused(_) => None,
    }
}

#[test]
fn a_call_that_ends_while_somebody_looks_for_hanging_ones_is_taken_off_once() {
    explore(|| {
        let scene = Scene::new(hanging());
        let hung = take_off(&scene, 0, 0).unwrap();
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.end(hung, Outcome::Success, 60))
        };
        // One alone never opens it.
        let next = take_off(&scene, 0, 60).unwrap();
        other.join().unwrap();
        assert_eq!(scene.circuit.hanging(), 0);
        scene.end(next, Outcome::Success, 61);
        assert_eq!(scene.circuit.hanging(), 0);
        assert_eq!(scene.state(), CircuitState::Closed);
    });
}

#[test]
fn two_calls_that_hang_open_it_whoever_looks() {
    explore(|| {
        let scene = Scene::new(hanging());
        let _hung = [take_off(&scene, 0, 0), take_off(&scene, 1, 0)];
        let other = {
            let scene = scene.clone();
            // Into the place of the first, eight quarters later.
            thread::spawn(move || take_off(&scene, 0, 80).is_some())
        };
        let mine = take_off(&scene, 1, 80).is_some();
        let theirs = other.join().unwrap();
        // Both may have looked before the other was done; but whoever comes next sees it.
        let next = take_off(&scene, 0, 81).is_some();
        assert!(!next, "mine {mine}, theirs {theirs}");
        assert_eq!(scene.told.opened.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn of_two_circuits_that_trip_at_once_the_guard_lets_one() {
    explore(|| {
        let mut settings = settings(TIME);
        settings.minimum_calls = 1;
        let quorum = std::sync::Arc::new(Quorum::new(50));
        let member = || {
            Arc::new(Scene {
                circuit: Circuit::new(settings, 1, Some(quorum.clone())),
                told: Told::default(),
            })
        };
        let (mine, theirs) = (member(), member());
        let other = {
            let theirs = theirs.clone();
            let ticket = theirs.admit(0, 0).unwrap();
            thread::spawn(move || theirs.end(ticket, Outcome::Failure, 1))
        };
        let ticket = mine.admit(0, 0).unwrap();
        mine.end(ticket, Outcome::Failure, 1);
        other.join().unwrap();
        let open = [&mine, &theirs].map(|scene| scene.state() == CircuitState::Open);
        assert_ne!(open[0], open[1]);
        assert_eq!(quorum.denied(), 1);
    });
}

#[test]
fn an_answer_at_the_deadline_of_a_probe_counts_or_comes_too_late() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        scene.trip();
        let (shard, mut ticket) = scene.admit(0, 101).unwrap();
        let other = {
            let scene = scene.clone();
            thread::spawn(move || {
                let circuit = &scene.circuit;
                circuit.answered_well(circuit.shard(shard), &mut ticket);
                scene.end((shard, ticket), Outcome::Failure, 202);
            })
        };
        // Its deadline was 201.
        let successor = scene.admit(1, 201);
        other.join().unwrap();
        if let Some(successor) = successor {
            scene.end(successor, Outcome::Success, 203);
        }
        let (opened, closed) = (&scene.told.opened, &scene.told.closed);
        match scene.state() {
            // The place was taken from it: answered, that was its success; or else its failure came too late.
            CircuitState::Closed => assert_eq!(closed.load(Ordering::SeqCst), 1),
            // It was faster than its successor.
            CircuitState::Open => assert_eq!(opened.load(Ordering::SeqCst), 2),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_place_that_was_reserved_begins_or_is_taken_away_never_both() {
    explore(|| {
        let scene = Scene::new(settings(TIME));
        scene.trip();
        let at = Timestamp::from_nanos;
        let Reserved::Probe(mut waiting) = scene.circuit.reserve(at(101), &scene.told) else {
            panic!("there is a place");
        };
        let other = {
            let scene = scene.clone();
            thread::spawn(move || scene.circuit.begins(&mut waiting, at(201)))
        };
        let taken = scene.admit(1, 201).is_some();
        let begun = other.join().unwrap();
        assert_ne!(begun, taken);
        assert_eq!(scene.circuit.probes(at(202)), 1);
    });
}

#[test]
fn of_two_wishes_at_once_the_longer_one_counts() {
    explore(|| {
        let mut settings = settings(TIME);
        settings.longest_retry_after = Duration::from_nanos(1_000);
        settings.minimum_calls = 1;
        let scene = Scene::new(settings);
        let other = {
            let scene = scene.clone();
            let ticket = scene.admit(1, 0).unwrap();
            thread::spawn(move || scene.end_throttled(ticket, 900, 1))
        };
        let ticket = scene.admit(0, 0).unwrap();
        scene.end_throttled(ticket, 500, 2);
        other.join().unwrap();
        let ticket = scene.admit(0, 0).unwrap();
        scene.end(ticket, Outcome::Failure, 3);
        let left = scene.circuit.opens_for(Timestamp::from_nanos(3));
        assert_eq!(left, Some(Duration::from_nanos(898)));
    });
}
