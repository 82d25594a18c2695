//! The call upwards: a connection has something to do.

/// The side that does the IO of a connection. Called with no lock held, from any thread, once per
/// batch.
pub trait Flush: Send + Sync {
    /// Writes what [`crate::Hub::next_output`] gives, or has it written. Called when there is
    /// output, and when the link has ended.
    fn flush(&self);

    /// Whether input of the client may be unread or unhandled, so that its silence cannot be judged
    /// yet. After `true`, [`crate::Hub::judge`] must be called as soon as that input was handled.
    /// Called with no lock held.
    fn is_behind(&self) -> bool {
        false
    }
}

/// A connection that can wait for a commit.
pub(crate) trait Waits: Send + Sync {
    /// Notes that it is to be flushed at a commit; `false` if that is noted already.
    fn starts_waiting(&self) -> bool;

    /// What it has waited for is committed: it is flushed, and may wait again.
    fn committed(&self);
}
