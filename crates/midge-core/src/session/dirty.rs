//! Connections that have output.

use std::sync::Arc;

use super::Link;

/// Connections with output that has not been flushed: what a piece of work hands up to the side that
/// does the IO, which gives it to [`crate::Hub::flush`].
#[derive(Debug, Default)]
#[must_use = "output that is not flushed waits for ever"]
pub struct Dirty(Vec<Arc<Link>>);

impl Dirty {
    /// None.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Connections that the memory is enough for.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub(crate) fn links(&self) -> &[Arc<Link>] {
        &self.0
    }

    pub(crate) fn push(&mut self, link: Arc<Link>) {
        self.0.push(link);
    }

    /// Takes all connections of another list, whose memory stays with it.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Arc<Link>> {
        self.0.drain(..)
    }
}
