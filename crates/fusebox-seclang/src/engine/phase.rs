//! Which rules of a phase run, and what becomes of a match of a whole chain.

use super::Engine;
use super::state::{Found, OVER_BUDGET, Stopped, Verdict};
use crate::budget::OverBudget;
use crate::compile::{Disruptive, Head, Rule, bits_contain};
use crate::parse::{Allow, EngineMode};

impl<'a> Engine<'a> {
    /// Runs phase `phase`, 1 to 5, to its end.
    pub(super) fn run_phase(&mut self, phase: u8) {
        self.run_slice(phase, u64::MAX);
    }

    /// Runs phase `phase` until it ends or about `work` bytes have been looked at; whether it has ended.
    ///
    /// A slice ends after the step that brings it to its share: a step is what one chain of transformations makes of a value, a
    /// look of the filter at one text, or one chain of rules with all the values that the filter left for it.
    pub(super) fn run_slice(&mut self, phase: u8, work: u64) -> bool {
        // At least something: a caller that asks for nothing would ask for ever.
        self.state.until = self.work_done().saturating_add(work.max(1));
        let mut position = match self.state.running {
            Some((running, position)) if running == phase => position,
            _ => {
                if !self.may_run(phase) {
                    return true;
                }
                self.state.screened = false;
                0
            }
        };
        if !self.state.screened {
            self.state.running = Some((phase, 0));
            if !self.screen(phase) {
                return false;
            }
            self.state.screened = true;
        }
        let program = self.program;
        let heads = program.phases.get(usize::from(phase) - 1);
        let heads = heads.map_or(&[][..], Vec::as_slice);
        while self.may_run(phase)
            && let Some(at) = heads.get(position)
        {
            if self.slice_ends() {
                self.state.running = Some((phase, position));
                return false;
            }
            position += 1;
            if let Some(next) = self.run_rule(*at) {
                position = next as usize;
            }
        }
        self.state.running = None;
        if self.state.allow == Some(Allow::Phase) {
            self.state.allow = None;
        }
        true
    }

    /// Bytes that transformations, filters and operators have looked at so far.
    pub(super) fn work_done(&self) -> u64 {
        self.state.work.saturating_add(self.state.texts.work)
    }

    /// Whether the slice under way has had its share.
    pub(super) fn slice_ends(&self) -> bool {
        self.work_done() >= self.state.until
    }

    /// Whether the budget is used up; what that means is decided once.
    pub(super) fn is_exhausted(&mut self) -> bool {
        let budget = self.program.budget;
        if self.work_done() <= budget.bytes {
            return false;
        }
        let state = &mut *self.state;
        if !state.exhausted {
            state.exhausted = true;
            if let OverBudget::Refuse { status } = budget.outcome {
                let stopped = Stopped {
                    rule: OVER_BUDGET,
                    phase: state.running.map_or(2, |(phase, _)| phase),
                    verdict: Verdict::Deny(status),
                };
                if state.mode == EngineMode::On {
                    state.stopped.get_or_insert(stopped);
                } else {
                    state.detected.get_or_insert(stopped);
                }
            }
        }
        true
    }

    /// Phase 5 always runs: it is where the log is written.
    fn may_run(&mut self, phase: u8) -> bool {
        if self.state.mode == EngineMode::Off {
            return false;
        }
        if phase == 5 {
            return true;
        }
        if self.is_exhausted() {
            return false;
        }
        let state = &*self.state;
        let allowed = match state.allow {
            None => false,
            Some(Allow::Request) => phase <= 2,
            Some(Allow::Phase | Allow::Everything) => true,
        };
        state.stopped.is_none() && !allowed
    }

    /// Runs one rule with its chain; where to go on, if it says so.
    fn run_rule(&mut self, at: u32) -> Option<u32> {
        let program = self.program;
        let rule = program.rules.get(at as usize)?;
        let head = rule.head.as_deref()?;
        if let Some(probe) = rule.probe
            && !self.is_candidate(probe)
        {
            return None;
        }
        if !self.state.removed.is_empty()
            && bits_contain(&self.state.removed, rule.head_index as usize)
        {
            return None;
        }
        self.state.current = at;
        if !self.chain_matches(at) {
            return None;
        }
        self.matched(at, rule, head);
        head.skip_to
    }

    fn matched(&mut self, at: u32, rule: &'a Rule, head: &'a Head) {
        if let Some(severity) = head.severity {
            let highest = self.state.highest_severity.unwrap_or(u8::MAX);
            // 0 is the worst.
            self.state.highest_severity = Some(highest.min(severity));
        }
        self.state.matched_rules.push(at);
        if head.log || head.audit {
            self.report(at, head);
        }
        let _ = rule;
        self.disrupt(at, head);
    }

    fn report(&mut self, at: u32, head: &'a Head) {
        let mut log = std::mem::take(&mut self.state.log);
        let start = log.len();
        self.expand(&head.msg, &mut log);
        let middle = log.len();
        self.expand(&head.logdata, &mut log);
        let end = log.len();
        self.state.log = log;
        let matched = self.last_matched().copied();
        self.state.found.push(Found {
            rule: at,
            log: head.log,
            audit: head.audit,
            matched,
            msg: start..middle,
            data: middle..end,
        });
    }

    fn disrupt(&mut self, at: u32, head: &'a Head) {
        let verdict = match &head.disruptive {
            Disruptive::Pass => return,
            Disruptive::Allow(scope) => {
                if self.state.mode == EngineMode::On {
                    self.state.allow = Some(*scope);
                }
                return;
            }
            Disruptive::Deny => Verdict::Deny(head.status),
            Disruptive::Drop => Verdict::Drop,
            Disruptive::Redirect(to) => {
                let mut log = std::mem::take(&mut self.state.log);
                let start = log.len();
                self.expand(to, &mut log);
                let place = start..log.len();
                self.state.log = log;
                // A redirect with the status of a refusal would be none.
                let status = if (300..400).contains(&head.status) {
                    head.status
                } else {
                    302
                };
                Verdict::Redirect(status, place)
            }
        };
        let stopped = Stopped {
            rule: at,
            phase: head.phase,
            verdict,
        };
        let state = &mut *self.state;
        // Nothing is left to refuse in phase 5.
        if state.mode == EngineMode::On && head.phase != 5 {
            state.stopped.get_or_insert(stopped);
        } else {
            state.detected.get_or_insert(stopped);
        }
    }
}
