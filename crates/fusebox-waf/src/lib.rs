//! A web application firewall for tower services.
//!
//! [`core`] is fusebox's own rule set, built in.

pub mod core;
