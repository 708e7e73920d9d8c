//! A rule engine for the OWASP Core Rule Set, without http and tower.

mod byteset;
mod transform;

pub use byteset::ByteSet;
pub use transform::Transformation;
