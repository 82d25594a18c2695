//! What explorations of interleavings look at, and nothing else may.

pub use crate::sync::locks_held;
