//! The kit on trial: sound layers must pass, and each broken one must fail the one check that names
//! its flaw.

mod broken;
mod sound;
mod toy;
