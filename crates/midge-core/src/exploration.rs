//! What explorations of interleavings look at, and nothing else may.

pub use crate::sync::{Order, lock_in, locks_held};
