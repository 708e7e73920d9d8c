/// One thing every layer must do. [`contract!`](crate::contract!) makes a test of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// What is admitted reaches the inner service as it was sent, and comes back as it was answered:
    /// heads, extensions, frames, trailers, size hint, end of stream, and no sooner or later.
    PassThrough,
    /// A refusal is a response in the caller's protocol, marked with a
    /// [`Rejection`](fusebox_core::Rejection) of this layer, and the inner service is not called.
    Refusal,
    /// The instance of the inner service that said it is ready is the one that is called, at once or
    /// after waiting.
    ReadyInstance,
    /// The inner service is not called before it is ready, nor before the layer's verdict; what its
    /// `poll_ready` says, and the wake-up it promises, reach the caller.
    Readiness,
    /// Clones of the layer, of its service, and further calls of `layer()` all share one state.
    SharedState,
    /// A call dropped at any await point, or whose body is dropped at any point, gives back what it
    /// held, ends the inner call, and the layer still admits.
    Cancellation,
    /// Each request makes exactly one event, however it ends, with the verdict it got; where nobody listens, it is
    /// counted once.
    OneEvent,
    /// What became of a call is told at its end, and truly.
    Outcome,
    /// In shadow mode what would be refused is let through, told and counted as detected, and not as
    /// enforced.
    Shadow,
    /// Layer, service, future and body fit where tower and its users need them. Checked by the
    /// compiler: the bounds of [`Subject`](crate::Subject) say so.
    Types,
    /// An error of the inner service or of its body passes through as it is and gives back what was
    /// held.
    Errors,
    /// A panic of the inner service, of its future or of its body gives back what was held.
    Panics,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 12] = [
        Self::PassThrough,
        Self::Refusal,
        Self::ReadyInstance,
        Self::Readiness,
        Self::SharedState,
        Self::Cancellation,
        Self::OneEvent,
        Self::Outcome,
        Self::Shadow,
        Self::Types,
        Self::Errors,
        Self::Panics,
    ];

    /// The name of its test.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "leaves_request_and_response_alone",
            Self::Refusal => "refuses_without_calling_the_inner_service",
            Self::ReadyInstance => "calls_the_instance_that_was_ready",
            Self::Readiness => "calls_nothing_before_it_is_ready_and_admitted",
            Self::SharedState => "shares_one_state_among_clones_and_layers",
            Self::Cancellation => "gives_back_what_it_held_when_cancelled",
            Self::OneEvent => "tells_each_request_once",
            Self::Outcome => "judges_the_outcome_at_the_end",
            Self::Shadow => "only_tells_in_shadow_mode",
            Self::Types => "fits_where_tower_needs_it",
            Self::Errors => "passes_errors_on_and_gives_back",
            Self::Panics => "gives_back_when_the_inner_service_panics",
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What one check found.
#[derive(Clone, Debug)]
#[must_use = "a check that nobody looks at finds nothing"]
pub struct Checked {
    /// The check.
    pub check: Check,
    /// What is wrong, a sentence each; empty if the layer keeps this part of the contract.
    pub findings: Vec<String>,
    /// What was not looked at, and why.
    pub skipped: Vec<String>,
    /// Whether what is found now is found on a layer that nobody listens to.
    pub(crate) unheard: bool,
}

impl Checked {
    pub(crate) const fn new(check: Check) -> Self {
        Self {
            check,
            findings: Vec::new(),
            skipped: Vec::new(),
            unheard: false,
        }
    }

    /// Whether the layer keeps this part of the contract.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        self.findings.is_empty()
    }

    /// For the end of a test: prints what was skipped.
    ///
    /// # Panics
    /// With every finding, when there is one.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.is_kept(), "{self}");
        if !self.skipped.is_empty() {
            println!("{self}");
        }
    }

    /// Keeps the finding of one row of the check's table.
    pub(crate) fn row(&mut self, row: impl std::fmt::Display, found: Result<(), String>) {
        if let Err(what) = found {
            let unheard = if self.unheard { "unheard, " } else { "" };
            self.findings.push(format!("{unheard}{row}: {what}"));
        }
    }

    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.skipped.contains(&why) {
            self.skipped.push(why);
        }
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}",
            self.check,
            if self.is_kept() { "kept" } else { "broken" }
        )?;
        for finding in &self.findings {
            write!(f, "\n  - {finding}")?;
        }
        for skipped in &self.skipped {
            write!(f, "\n  (skipped) {skipped}")?;
        }
        Ok(())
    }
}

/// What all checks found. Made by [`contract`](crate::contract()).
#[derive(Clone, Debug)]
#[must_use = "a check that nobody looks at finds nothing"]
pub struct Report {
    /// One for each check.
    pub checks: Vec<Checked>,
}

impl Report {
    /// The checks the layer fails.
    #[must_use]
    pub fn broken(&self) -> Vec<Check> {
        let broken = self.checks.iter().filter(|checked| !checked.is_kept());
        broken.map(|checked| checked.check).collect()
    }

    /// For the end of a test: prints what was skipped.
    ///
    /// # Panics
    /// With every finding, when there is one.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.broken().is_empty(), "{self}");
        for checked in &self.checks {
            checked.assert_kept();
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for checked in &self.checks {
            writeln!(f, "{checked}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_macro_names_each_test_as_its_check_does() {
        for check in Check::ALL {
            let line = format!("{check:?} {check}\n");
            assert!(include_str!("run.rs").contains(&line), "{line}");
        }
    }
}
