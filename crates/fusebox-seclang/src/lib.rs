//! A rule engine for the OWASP Core Rule Set, without http and tower.

pub mod body;
mod byteset;
mod transform;

pub use byteset::ByteSet;
pub use transform::Transformation;
