//! The call upwards: a connection has something to do.

/// Tells the side that does the IO of a connection that there is something to do: bytes to write, or
/// the end of the connection. Called with no lock held, from any thread, once per batch.
pub trait Notify: Send + Sync {
    /// There is output to take with [`crate::Hub::take_output`], or the link has ended.
    fn notify(&self);

    /// Whether input of the client may be unread or unhandled, so that its silence cannot be judged
    /// yet. After `true`, [`crate::Hub::judge`] must be called as soon as that input was handled.
    /// Called with no lock held.
    fn is_behind(&self) -> bool {
        false
    }
}
