//! The service as a client sees it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may say that something cannot fail; clippy sees that only in its functions, not their helpers"
)]

mod authoriser;
mod books;
mod compartments;
mod desk;
mod edge;
mod errors;
mod idempotency;
mod shutdown;
