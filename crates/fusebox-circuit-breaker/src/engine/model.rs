//! The machine once more, as slow and as plain as can be: it keeps every call for ever and adds them
//! all up whenever it wants to know something. Whatever is done to both, in any order and at any time,
//! they must say the same.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test's panic is its report"
)]

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use fusebox_core::{CircuitState, Outcome, Timestamp};
use proptest::prelude::*;

use super::{
    ByHand, Circuit, Closing, CoolDown, CountsAs, End, Hanging, Ramp, Settings, Share, Shell, Slow,
    Ticket, Transition, Tunable, Verdict, WindowSettings,
};

/// Draws the same numbers for the machine and for the model.
#[derive(Default)]
struct Dice {
    thrown: Cell<u32>,
    told: RefCell<Vec<(CircuitState, CircuitState)>>,
}

impl Shell for Dice {
    fn draw(&self) -> u32 {
        self.thrown.set(self.thrown.get() + 1);
        self.thrown.get().wrapping_mul(0x9E37_79B9)
    }

    fn tell(&self, transition: Transition) {
        self.told
            .borrow_mut()
            .push((transition.from, transition.to));
    }
}

struct Model {
    settings: Settings,
    dice: Dice,
    state: CircuitState,
    generation: u32,
    ramp_since: Option<u64>,
    until: u64,
    attempts: u32,
    /// When the dependency asked to be left alone, and until when.
    asked: Option<(u64, u64)>,
    held_back: u64,
    ramp_tickets: u64,
    /// Of this generation: when it ended, and what it was.
    ended: Vec<(u64, Kind)>,
    /// Every call that was let through and is not over.
    flying: Vec<Flying>,
    probed: (u32, u32),
    /// The places for probes: until when they are taken, and by whom.
    places: Vec<(u64, Option<usize>)>,
    next_id: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Judged { failed: bool, slow: bool },
    Cancelled,
}

#[derive(Clone, Copy, Debug)]
struct Flying {
    id: usize,
    generation: u32,
    began: u64,
    answered: bool,
    judged: bool,
    probe: bool,
    /// Whether the machine knows when it began.
    timed: bool,
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            dice: Dice::default(),
            state: CircuitState::Closed,
            generation: 0,
            ramp_since: None,
            until: 0,
            attempts: 0,
            asked: None,
            held_back: 0,
            ramp_tickets: 0,
            ended: Vec::new(),
            flying: Vec::new(),
            probed: (0, 0),
            places: vec![(0, None); settings.probes as usize],
            next_id: 0,
        }
    }

    fn enter(&mut self, state: CircuitState) {
        if self.state != state {
            self.dice.told.borrow_mut().push((self.state, state));
        }
        self.state = state;
        self.generation += 1;
        self.ended.clear();
        self.ramp_since = None;
        self.probed = (0, 0);
        self.asked = None;
        self.held_back = 0;
    }

    fn open(&mut self, now: u64) {
        let length = self
            .settings
            .cool_down
            .length(self.attempts, self.dice.draw());
        self.attempts += 1;
        self.until = (now + length).max(self.wish(now).unwrap_or(0));
        self.enter(CircuitState::Open);
    }

    /// Until when the dependency wants to be left alone, if that was not long ago.
    fn wish(&self, now: u64) -> Option<u64> {
        let fresh = match self.settings.window {
            WindowSettings::Time { bucket } => 16 * bucket,
            WindowSettings::Count { .. } => match self.settings.cool_down {
                CoolDown::Fixed(length) => nanos(length),
                CoolDown::Exponential { first, .. } => nanos(first),
            },
        };
        let (heard, until) = self.asked?;
        (now - heard <= fresh).then_some(until)
    }

    fn hanging(&self, now: u64) -> usize {
        let Some(hanging) = self.settings.hanging else {
            return 0;
        };
        let quarter = hanging.longer_than.div_ceil(4);
        self.flying
            .iter()
            .filter(|call| call.judged && call.generation == self.generation && !call.answered)
            .filter(|call| now / quarter - call.began / quarter >= 5)
            .count()
    }

    fn admit(&mut self, now: u64) -> Option<usize> {
        if self.state == CircuitState::Open && now >= self.until {
            self.enter(CircuitState::HalfOpen);
        }
        let (mut judged, mut probe, mut began) = (false, false, now);
        match self.state {
            CircuitState::Disabled => {}
            CircuitState::Open | CircuitState::ForcedOpen => return None,
            CircuitState::HalfOpen if now < self.held_back => return None,
            CircuitState::HalfOpen => {
                let free = |place: &(u64, Option<usize>)| place.1.is_none() || place.0 <= now;
                let at = self.places.iter().position(free)?;
                let (before, holder) = self.places[at];
                // No deadline twice for one place.
                let term = nanos(self.settings.probe_deadline);
                let until = (now + term).max(before + 1);
                let answered = self.flying.iter().any(|call| {
                    Some(call.id) == holder && call.answered && call.generation == self.generation
                });
                if answered {
                    let generation = self.generation;
                    self.places[at] = (until, None);
                    if let Some(kind) = self.kind(Outcome::Success.into(), term) {
                        self.probed(kind, now);
                    }
                    if self.generation != generation {
                        return self.admit(now);
                    }
                }
                self.places[at] = (until, Some(self.next_id + 1));
                // For the same reason: of those that take a place in one instant, each begins a nanosecond later.
                began = until - term;
                probe = true;
            }
            CircuitState::Closed => {
                if let Some(since) = self.ramp_since {
                    let ramp = self.settings.ramp;
                    match ramp.and_then(|ramp| ramp.share_at(now - since)) {
                        Some(share) => {
                            let ticket = self.ramp_tickets;
                            self.ramp_tickets += 1;
                            let spread = ticket.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
                            if (spread * 1_000_000) >> 32 >= u64::from(share) {
                                return None;
                            }
                        }
                        None => {
                            self.ramp_since = None;
                            self.attempts = 0;
                        }
                    }
                }
                let most = self.settings.hanging.map_or(u32::MAX, |most| most.calls);
                if self.hanging(now) >= most as usize {
                    self.open(now);
                    return None;
                }
                judged = true;
            }
        }
        self.next_id += 1;
        self.flying.push(Flying {
            id: self.next_id,
            generation: self.generation,
            began,
            answered: false,
            judged,
            probe,
            timed: true,
        });
        Some(self.next_id)
    }

    fn kind(&self, end: End, ran: u64) -> Option<Kind> {
        if end.local {
            return None;
        }
        let slow = self.settings.slow.is_some_and(|slow| ran >= slow.at_least);
        let counted = |counts, slow| match counts {
            CountsAs::Nothing => None,
            CountsAs::Success => Some(Kind::Judged {
                failed: false,
                slow,
            }),
            CountsAs::Failure => Some(Kind::Judged { failed: true, slow }),
        };
        match end.outcome {
            Outcome::Success => counted(CountsAs::Success, slow),
            Outcome::Failure => counted(CountsAs::Failure, slow),
            Outcome::Throttled => counted(self.settings.throttled, slow),
            Outcome::Cancelled => counted(self.settings.cancelled, false).or(self
                .settings
                .cancellations
                .is_some()
                .then_some(Kind::Cancelled)),
        }
    }

    fn end(&mut self, id: usize, end: End, now: u64) {
        let place = self.flying.iter().position(|call| call.id == id).unwrap();
        let call = self.flying.swap_remove(place);
        if call.probe {
            let mut places = self.places.iter_mut();
            let Some(place) = places.find(|place| place.1 == Some(id)) else {
                // Somebody else has it: too late.
                return;
            };
            place.1 = None;
        }
        if call.generation != self.generation || !(call.probe || call.judged) {
            return;
        }
        if let (Some(wish), Outcome::Failure | Outcome::Throttled, false) =
            (end.retry_after, end.outcome, end.local)
        {
            let until = now + nanos(wish.min(self.settings.longest_retry_after));
            if self.wish(now).is_none_or(|before| before < until) {
                self.asked = Some((now, until));
            }
            if call.probe {
                self.held_back = self.held_back.max(until);
            }
        }
        let ran = if call.timed {
            now.saturating_sub(call.began)
        } else {
            0
        };
        let Some(kind) = self.kind(end, ran) else {
            return;
        };
        if call.probe {
            self.probed(kind, now);
            return;
        }
        self.ended.push((now, kind));
        let good = Kind::Judged {
            failed: false,
            slow: false,
        };
        if kind != good && self.too_bad(now) {
            self.open(now);
        }
    }

    fn probed(&mut self, kind: Kind, now: u64) {
        match kind {
            Kind::Cancelled => return,
            Kind::Judged {
                failed: false,
                slow: false,
            } => self.probed.0 += 1,
            Kind::Judged { .. } => self.probed.1 += 1,
        }
        let (good, bad) = self.probed;
        let back = match self.settings.closing {
            Closing::Successes(_) if bad > 0 => Some(false),
            Closing::Successes(enough) => (good >= enough).then_some(true),
            Closing::Share { share, of } => {
                (good + bad >= of).then(|| share.reached(good, good + bad))
            }
        };
        match back {
            Some(false) => self.open(now),
            Some(true) => {
                self.enter(CircuitState::Closed);
                match self.settings.ramp {
                    Some(_) => self.ramp_since = Some(now),
                    None => self.attempts = 0,
                }
            }
            None => {}
        }
    }

    fn window(&self, now: u64) -> Vec<Kind> {
        let kinds = |calls: &[(u64, Kind)]| calls.iter().map(|(_, kind)| *kind).collect();
        match self.settings.window {
            WindowSettings::Time { bucket } => {
                let recent: Vec<_> = self
                    .ended
                    .iter()
                    .filter(|(at, _)| now / bucket - at / bucket < 16)
                    .copied()
                    .collect();
                kinds(&recent)
            }
            WindowSettings::Count { calls } => {
                let skip = self.ended.len().saturating_sub(calls as usize);
                kinds(&self.ended[skip..])
            }
        }
    }

    fn in_a_row(&self) -> u32 {
        let mut row = 0;
        for (_, kind) in &self.ended {
            match kind {
                Kind::Judged { failed: true, .. } => row += 1,
                Kind::Judged { failed: false, .. } => row = 0,
                Kind::Cancelled => {}
            }
        }
        row
    }

    /// All, failed, slow, cancelled.
    fn totals(&self, now: u64) -> (u32, u32, u32, u32) {
        let window = self.window(now);
        let count =
            |what: fn(&Kind) -> bool| window.iter().filter(|kind| what(kind)).count() as u32;
        (
            count(|kind| matches!(kind, Kind::Judged { .. })),
            count(|kind| matches!(kind, Kind::Judged { failed: true, .. })),
            count(|kind| matches!(kind, Kind::Judged { slow: true, .. })),
            count(|kind| matches!(kind, Kind::Cancelled)),
        )
    }

    fn too_bad(&self, now: u64) -> bool {
        let (calls, failed, slow, cancelled) = self.totals(now);
        let least = self.settings.minimum_calls;
        let reached = |share: Option<Share>, part, whole| {
            whole >= least && share.is_some_and(|share| share.reached(part, whole))
        };
        self.settings
            .consecutive
            .is_some_and(|most| self.in_a_row() >= most)
            || reached(self.settings.failures, failed, calls)
            || reached(self.settings.slow.map(|slow| slow.share), slow, calls)
            || reached(self.settings.cancellations, cancelled, calls + cancelled)
    }

    fn by_hand(&mut self, state: CircuitState) {
        self.enter(state);
        self.attempts = 0;
    }
}

fn nanos(time: Duration) -> u64 {
    fusebox_core::time::nanos(time)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit {
        shard: usize,
        timed: bool,
    },
    /// So many calls that begin, succeed and end at once.
    Succeed {
        shard: usize,
        calls: usize,
    },
    Answer {
        call: usize,
    },
    End {
        call: usize,
        end: End,
    },
    Wait(u64),
    ForceOpen,
    Disable,
    Reset,
    Tune(Settings),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => Just(Outcome::Throttled),
        2 => Just(Outcome::Cancelled),
    ];
    let end = (
        outcome,
        prop::bool::weighted(0.1),
        prop::option::weighted(0.1, 0..5_000_u64),
    )
        .prop_map(|(outcome, local, wish)| End {
            outcome,
            local,
            retry_after: wish.map(Duration::from_nanos),
        });
    let step = prop_oneof![
        40 => (0..3_usize, any::<bool>()).prop_map(|(shard, timed)| Step::Admit { shard, timed }),
        5 => (0..3_usize, 1..16_usize).prop_map(|(shard, calls)| Step::Succeed { shard, calls }),
        3 => any::<usize>().prop_map(|call| Step::Answer { call }),
        40 => (any::<usize>(), end).prop_map(|(call, end)| Step::End { call, end }),
        20 => prop_oneof![0..20_u64, 0..400_u64, 0..4_000_u64].prop_map(Step::Wait),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::Disable),
        2 => Just(Step::Reset),
        1 => settings().prop_map(Step::Tune),
    ];
    prop::collection::vec(step, 1..400)
}

fn settings() -> impl Strategy<Value = Settings> {
    let share = (0..=10_u32).prop_map(|tenths| Share::new(f64::from(tenths) / 10.0).unwrap());
    let window = prop_oneof![
        (2..100_u64).prop_map(|bucket| WindowSettings::Time { bucket }),
        (1..12_u32).prop_map(|calls| WindowSettings::Count { calls }),
    ];
    let counts = prop_oneof![
        Just(CountsAs::Nothing),
        Just(CountsAs::Success),
        Just(CountsAs::Failure)
    ];
    let cool_down = prop_oneof![
        (1..900_u64).prop_map(|length| CoolDown::Fixed(Duration::from_nanos(length))),
        (1..300_u64, 1..4_u32, share.clone()).prop_map(|(first, factor, jitter)| {
            CoolDown::Exponential {
                first: Duration::from_nanos(first),
                most: Duration::from_nanos(3_000),
                factor,
                jitter,
            }
        }),
    ];
    let closing = prop_oneof![
        (1..4_u32).prop_map(Closing::Successes),
        (share.clone(), 1..5_u32).prop_map(|(share, of)| Closing::Share { share, of }),
    ];
    let trips = (
        1..8_u32,
        prop::option::of(share.clone()),
        prop::option::of(1..6_u32),
        prop::option::of((1..200_u64, share.clone())),
        prop::option::of((1..4_u32, 1..300_u64)),
        prop::option::weighted(0.3, share.clone()),
    );
    let half_open = (
        1..4_u32,
        1..500_u64,
        closing,
        prop::option::of((share, 1..900_u64)),
    );
    (window, trips, counts.clone(), counts, cool_down, half_open).prop_map(
        |(window, trips, throttled, cancelled, cool_down, half_open)| Settings {
            window,
            minimum_calls: trips.0,
            failures: trips.1,
            consecutive: trips.2,
            slow: trips.3.map(|(at_least, share)| Slow { at_least, share }),
            hanging: trips
                .4
                .map(|(calls, longer_than)| Hanging { calls, longer_than }),
            cancellations: trips.5,
            throttled,
            cancelled,
            cool_down,
            longest_retry_after: Duration::from_nanos(2_000),
            probes: half_open.0,
            probe_deadline: Duration::from_nanos(half_open.1),
            closing: half_open.2,
            ramp: half_open.3.map(|(from, over)| Ramp { from, over }),
        },
    )
}

/// The machine and the model side by side.
struct Pair {
    tunable: Tunable,
    circuit: Circuit,
    shell: Dice,
    model: Model,
    now: u64,
    /// With the model's name for the call and the shard it is counted in.
    tickets: Vec<(usize, usize, Ticket)>,
}

impl Pair {
    fn new(settings: Settings) -> Self {
        let tunable = Tunable::from(settings);
        Self {
            circuit: Circuit::new(tunable.clone(), 3, None),
            tunable,
            shell: Dice::default(),
            model: Model::new(settings),
            now: 1,
            tickets: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = Timestamp::from_nanos(self.now);
        match step {
            Step::Admit { shard, timed } => self.admit(shard, timed, now)?,
            Step::Succeed { shard, calls } => {
                for _ in 0..calls {
                    self.admit(shard, false, now)?;
                    self.end(
                        self.tickets.len().wrapping_sub(1),
                        Outcome::Success.into(),
                        now,
                    );
                    self.agree()?;
                }
            }
            Step::Answer { call } if !self.tickets.is_empty() => {
                let place = call % self.tickets.len();
                let (id, shard, ticket) = &mut self.tickets[place];
                self.circuit
                    .answered_well(self.circuit.shard(*shard), ticket);
                let flying = self.model.flying.iter_mut().find(|call| call.id == *id);
                flying.unwrap().answered = true;
            }
            Step::End { call, end } if !self.tickets.is_empty() => {
                self.end(call % self.tickets.len(), end, now);
            }
            Step::Answer { .. } | Step::End { .. } => {}
            Step::Wait(nanos) => self.now += nanos,
            Step::ForceOpen => {
                self.by_hand(ByHand::ForcedOpen);
                self.model.by_hand(CircuitState::ForcedOpen);
            }
            Step::Disable => {
                self.by_hand(ByHand::Disabled);
                self.model.by_hand(CircuitState::Disabled);
            }
            Step::Tune(settings) => {
                // What is fixed stays.
                let before = self.model.settings;
                let settings = Settings {
                    window: before.window,
                    hanging: before.hanging,
                    probes: before.probes,
                    probe_deadline: before.probe_deadline,
                    ..settings
                };
                self.tunable.set(settings);
                self.model.settings = settings;
            }
            Step::Reset => {
                self.by_hand(ByHand::Reset);
                self.model.by_hand(CircuitState::Closed);
            }
        }
        self.agree()
    }

    fn admit(&mut self, shard: usize, timed: bool, now: Timestamp) -> Result<(), TestCaseError> {
        let (circuit, shell) = (&self.circuit, &self.shell);
        let at_once = || {
            let untimed = !timed && !circuit.times_calls();
            untimed.then(|| circuit.admit_at_once()).flatten()
        };
        let untimed = at_once();
        let timed = untimed.is_none();
        let verdict = untimed.map_or_else(
            || circuit.admit(circuit.shard(shard), now, shell),
            Verdict::Admitted,
        );
        match (verdict, self.model.admit(self.now)) {
            (Verdict::Admitted(ticket), Some(id)) => {
                self.model.flying.last_mut().unwrap().timed = timed;
                self.tickets.push((id, shard, ticket));
            }
            (Verdict::Refused { .. }, None) => {}
            (verdict, model) => {
                prop_assert!(false, "{:?} where the model says {:?}", verdict, model);
            }
        }
        Ok(())
    }

    fn by_hand(&self, what: ByHand) {
        if let Some(transition) = self.circuit.by_hand(what) {
            self.shell.tell(transition);
        }
    }

    fn end(&mut self, place: usize, end: End, now: Timestamp) {
        if place >= self.tickets.len() {
            return;
        }
        let (id, shard, mut ticket) = self.tickets.swap_remove(place);
        let (circuit, shard) = (&self.circuit, self.circuit.shard(shard));
        let well = end.outcome == Outcome::Success && !end.local;
        if !(well && circuit.end_well(shard, &ticket, || now)) {
            circuit.end(shard, &mut ticket, end, now, &self.shell);
        }
        self.model.end(id, end, self.now);
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        let now = Timestamp::from_nanos(self.now);
        prop_assert_eq!(self.circuit.state().public(), self.model.state);
        prop_assert_eq!(&*self.shell.told.borrow(), &*self.model.dice.told.borrow());
        let totals = self.circuit.totals(now);
        prop_assert_eq!(
            (totals.calls, totals.failed, totals.slow, totals.cancelled),
            self.model.totals(self.now)
        );
        prop_assert_eq!(self.circuit.in_a_row(), self.model.in_a_row());
        let left = self.circuit.opens_for(now);
        if self.model.state == CircuitState::Open {
            let expected = self.model.until.saturating_sub(self.now);
            prop_assert_eq!(left, Some(Duration::from_nanos(expected)));
        } else {
            prop_assert_eq!(left, None);
        }
        let held = |place: &&(u64, Option<usize>)| place.1.is_some() && place.0 > self.now;
        prop_assert_eq!(
            self.circuit.probes(now),
            self.model.places.iter().filter(held).count()
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_and_the_model_agree_on_everything(settings in settings(), steps in steps()) {
        let mut pair = Pair::new(settings);
        for step in steps {
            pair.take(step)?;
        }
    }
}
