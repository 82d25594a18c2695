//! What explorations of interleavings look at, and nothing else may.

pub use crate::sync::locks_held;

impl crate::Hub {
    /// Bytes of large outboxes that count in `limits.total_queue_bytes`.
    pub fn backlog(&self) -> usize {
        self.shared.backlog()
    }
}
