//! What is measured, and what is claimed about it.

use crate::drive::Batch;

/// One thing to measure.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Unique in its suite.
    pub name: &'static str,
    /// The case whose cost is taken off, so that what remains is the layer: the same call of the bare service.
    pub over: Option<&'static str>,
    /// How many threads it needs for itself; with more than one, only its time can be told.
    pub threads: usize,
    /// Over how many calls at least its instructions are counted.
    pub counted: u64,
    /// Whether this machine has what it needs; if not, nothing is measured, and this is why.
    pub needs: fn() -> Result<(), String>,
    /// The cases it is counted with, in one process, because building one of them takes long.
    pub counted_with: Option<&'static str>,
    /// It is done by another process, so nothing but its time can be told.
    pub elsewhere: bool,
    /// Builds it: afresh for every process, and only when it is needed.
    pub make: fn() -> Batch,
}

impl Case {
    /// A case on one thread, measured whole.
    #[must_use]
    pub fn new(name: &'static str, make: fn() -> Batch) -> Self {
        Self {
            name,
            over: None,
            threads: 1,
            counted: 0,
            needs: || Ok(()),
            counted_with: None,
            elsewhere: false,
            make,
        }
    }

    /// Counts only what it costs on top of the case `base`.
    #[must_use]
    pub fn over(mut self, base: &'static str) -> Self {
        self.over = Some(base);
        self
    }

    /// Counts its instructions over so many calls at least: for what takes another number of them to start from one
    /// run to the next, such as a clock that calibrates itself.
    #[must_use]
    pub fn counted_over(mut self, calls: u64) -> Self {
        self.counted = calls;
        self
    }

    /// Says what the machine must have.
    #[must_use]
    pub fn needs(mut self, what: fn() -> Result<(), String>) -> Self {
        self.needs = what;
        self
    }

    /// Counts it in one process with all cases that name the same `group`, over few calls, and times it in fewer rounds if it is
    /// slow: for what takes long to build or to call.
    /// It has no base, and its reads of the clock are not counted; its instructions are, if its calls are made by
    /// [`section`](crate::drive::section).
    #[must_use]
    pub fn counted_with(mut self, group: &'static str) -> Self {
        self.counted_with = Some(group);
        self
    }

    /// Says that another process does the work, and how long it took: only its time can be told.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// Says that it runs on two threads at once.
    #[must_use]
    pub fn on_two_threads(mut self) -> Self {
        self.threads = 2;
        self
    }
}

/// Ours against a peer's, and how much ours may cost as a multiple of it.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Unique in its suite.
    pub name: &'static str,
    /// The name of our case.
    pub ours: &'static str,
    /// The name of the peer's case.
    pub peer: &'static str,
    /// The most our time may be, as a multiple of the peer's.
    pub time_limit: Option<f64>,
    /// The most our instructions may be, as a multiple of the peer's.
    pub instruction_limit: Option<f64>,
}

impl Figure {
    /// A comparison without a target.
    #[must_use]
    pub fn new(name: &'static str, ours: &'static str, peer: &'static str) -> Self {
        Self {
            name,
            ours,
            peer,
            time_limit: None,
            instruction_limit: None,
        }
    }

    /// Makes the instructions a target.
    #[must_use]
    pub fn instructions_at_most(mut self, multiple: f64) -> Self {
        self.instruction_limit = Some(multiple);
        self
    }

    /// Makes the time a target.
    #[must_use]
    pub fn time_at_most(mut self, multiple: f64) -> Self {
        self.time_limit = Some(multiple);
        self
    }
}

/// How many of something one call of a case may take, whatever the peers do.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The name of the case.
    pub case: &'static str,
    /// What is counted.
    pub of: Countable,
    /// How many per call, on top of the case it is measured over.
    pub most: f64,
}

/// Something that is counted per call.
#[derive(Debug, Clone, Copy)]
pub enum Countable {
    /// Allocations, reallocations among them.
    Allocations,
    /// Reads of the system's clock.
    ClockReads,
    /// Bytes of whatever the function counts: memory is taken once, not per call.
    Bytes(fn() -> f64),
    /// Nanoseconds.
    Time,
    /// Bytes that are still allocated when the batch is over, by the case itself.
    Held,
}

impl Limit {
    /// No more than so many allocations.
    #[must_use]
    pub fn allocations(case: &'static str, most: f64) -> Self {
        let of = Countable::Allocations;
        Self { case, of, most }
    }

    /// No more than so many bytes that are kept.
    #[must_use]
    pub fn held(case: &'static str, most: f64) -> Self {
        let of = Countable::Held;
        Self { case, of, most }
    }

    /// No longer than so many nanoseconds.
    #[must_use]
    pub fn time(case: &'static str, most: f64) -> Self {
        let of = Countable::Time;
        Self { case, of, most }
    }

    /// No more than so many reads of the clock.
    #[must_use]
    pub fn clock_reads(case: &'static str, most: f64) -> Self {
        let of = Countable::ClockReads;
        Self { case, of, most }
    }

    /// No more than so many bytes of what `count` counts.
    #[must_use]
    pub fn bytes(case: &'static str, count: fn() -> f64, most: f64) -> Self {
        let of = Countable::Bytes(count);
        Self { case, of, most }
    }
}

/// Everything about one layer. Its cases are timed together, round by round.
#[derive(Debug, Clone)]
pub struct Suite {
    /// What `cargo xtask bench <name>` calls it.
    pub name: &'static str,
    /// What is measured.
    pub cases: Vec<Case>,
    /// What is compared.
    pub figures: Vec<Figure>,
    /// What has a limit of its own.
    pub limits: Vec<Limit>,
}

impl Suite {
    /// The case of that name.
    #[must_use]
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }
}

#[cfg(test)]
mod tests {
    use crate::suites;
    use std::collections::BTreeSet;

    #[test]
    fn every_suite_refers_only_to_cases_it_has_and_names_each_once() {
        for suite in suites() {
            let names: BTreeSet<_> = suite.cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), suite.cases.len(), "{}", suite.name);
            let figures = suite
                .figures
                .iter()
                .flat_map(|figure| [figure.ours, figure.peer]);
            let bases = suite.cases.iter().filter_map(|case| case.over);
            let limits = suite.limits.iter().map(|limit| limit.case);
            for name in figures.chain(bases).chain(limits) {
                assert!(names.contains(name), "{} has no case {name}", suite.name);
            }
        }
    }

    #[test]
    fn every_case_does_what_it_says() {
        for suite in suites() {
            // Those that are slow to build have a test beside them.
            for case in suite
                .cases
                .iter()
                .filter(|case| case.counted_with.is_none())
            {
                if (case.needs)().is_err() {
                    continue;
                }
                (case.make)()(2);
            }
        }
    }
}
