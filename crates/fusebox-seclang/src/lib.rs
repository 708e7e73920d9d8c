//! A rule engine for the OWASP Core Rule Set, without http and tower.

mod byteset;

pub use byteset::ByteSet;
