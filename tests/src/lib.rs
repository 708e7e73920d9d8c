//! Whole stacks on real axum, tonic and hyper.
