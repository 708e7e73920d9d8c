//! How much work one transaction may cause.

/// A bound on the work for one transaction, whatever a client sends.
///
/// Work is counted in bytes that a transformation, a filter or an operator looks at, and each of these steps as 32 more: a text of
/// 1,000 bytes that two expressions are run on counts some 3,100, one look of the filter included. All take time in proportion to
/// it, so a budget is a bound on time: one to two nanoseconds for each byte, whatever the body (measured on bodies of 128 KiB made to
/// cost, at paranoia level 1). It is checked before each value, so it is kept to within all that is done with one value: every chain
/// of transformations, or one operator. What effects and log texts expand to is not counted.
///
/// ```
/// use fusebox_seclang::{OverBudget, Ruleset, WorkBudget};
///
/// let rules = Ruleset::builder()
///     .text("rules.conf", "SecRuleEngine On")
///     .budget(WorkBudget { bytes: 4 << 20, outcome: OverBudget::Pass })
///     .build()?;
/// # Ok::<(), fusebox_seclang::RulesetError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkBudget {
    /// How many bytes may be looked at in phases 1 to 4; phase 5 always runs.
    pub bytes: u64,
    /// What becomes of a transaction that would need more.
    pub outcome: OverBudget,
}

/// What becomes of a transaction whose budget is used up before its rules are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// It is refused, as if a rule had said `deny`; in detection mode it is only told.
    Refuse {
        /// The status of the refusal.
        status: u16,
    },
    /// The rules that are left are skipped.
    Pass,
}

impl Default for WorkBudget {
    /// 16 MiB, then 413: at most 40 milliseconds, where the aim is 50. An order of 100 KiB in JSON takes a fourth of it at paranoia
    /// level 1 and half of it at level 4; the worst bodies of 128 KiB that we could make take a half at level 1. Where bodies may be
    /// longer than ModSecurity's recommended 128 KiB, raise it with their limit.
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            outcome: OverBudget::Refuse { status: 413 },
        }
    }
}
