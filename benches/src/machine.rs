//! What this machine charges for things the layers are made of: the yardstick for reading the other suites.
//!
//! Valgrind hides the vDSO from the program, so a clock read that natively runs some fifty instructions in user space
//! becomes a system call, of which it counts only the few instructions around it. A layer that reads the clock is
//! flattered in instructions by that much. That is why every case also says how many clock reads it makes, and why
//! `machine/clock_read` shows both prices side by side.

use std::time::Instant;

use crate::drive::{Expect, by_hand, by_hand_to_the_end, repeat};
use crate::harness::{Case, Suite};
use crate::noop::{HttpNoop, Noop};

/// The suite.
#[must_use]
pub fn suite() -> Suite {
    Suite {
        name: "machine",
        cases: vec![
            Case::new("nothing", || repeat(|| ())),
            Case::new("clock_read", || repeat(Instant::now)).over("nothing"),
            Case::new("noop_call", || by_hand(Noop, || (), Expect::Admission)).over("nothing"),
            Case::new("http_noop_call", || {
                by_hand_to_the_end(HttpNoop, || http::Request::new(()))
            })
            .over("nothing"),
        ],
        figures: Vec::new(),
        limits: Vec::new(),
    }
}
