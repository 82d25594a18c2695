//! References to messages, and the memory that they leave behind.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, const_mutex};

use super::Message;

/// Memory of messages that is moved between a thread and the others in one go.
const MAGAZINE: usize = 128;
/// Magazines that wait for a thread that needs one, about 800 KiB; each thread keeps two more at most.
const MAGAZINES: usize = 32;

/// Longest wait for the [`Depot`]. Going to the allocator instead, at the first sign of another
/// thread, costs a tenth of a QoS 1 message on two threads.
const PATIENCE: Duration = Duration::from_millis(1);

/// Memory of messages that is not in use. A message is often let go of by another thread than the
/// one that made it; giving its memory back there would have the two wait for each other in the
/// allocator, at each message.
type Magazine = Vec<Arc<Message>>;

/// Process-wide pool of message allocations: threads that let go of messages leave them to those that
/// make them. Lock waits are bounded: after fork() the lock may be held by a thread that no longer
/// exists.
struct Depot(Mutex<Vec<Magazine>>);

static DEPOT: Depot = Depot::new();

impl Depot {
    const fn new() -> Self {
        Self(const_mutex(Vec::new()))
    }

    fn take(&self) -> Option<Magazine> {
        self.0.try_lock_for(PATIENCE)?.pop()
    }

    /// Keeps a full magazine, or gives it back if there is no room.
    fn leave(&self, magazine: Magazine) -> Option<Magazine> {
        match self.0.try_lock_for(PATIENCE) {
            Some(mut magazines) if magazines.len() < MAGAZINES => magazines.push(magazine),
            _ => return Some(magazine),
        }
        None
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// For [`crate::prepare_thread`].
pub(crate) fn prepare_thread() {
    let _ = POOL.try_with(|_| ());
}

/// Memory that a thread keeps for itself, two magazines at most: one could fill and empty again and
/// again.
struct Pool {
    /// In use.
    first: Magazine,
    /// Full or empty.
    second: Magazine,
}

impl Pool {
    const fn new() -> Self {
        Self {
            first: Vec::new(),
            second: Vec::new(),
        }
    }

    #[inline]
    fn pop(&mut self, depot: &Depot) -> Option<Arc<Message>> {
        self.first.pop().or_else(|| self.refill(depot))
    }

    #[cold]
    fn refill(&mut self, depot: &Depot) -> Option<Arc<Message>> {
        if self.second.is_empty() {
            self.second = depot.take()?;
        }
        std::mem::swap(&mut self.first, &mut self.second);
        self.first.pop()
    }

    /// Keeps memory; gives back what there is no room for.
    #[inline]
    fn push(&mut self, message: Arc<Message>, depot: &Depot) -> Option<Magazine> {
        let surplus = match self.first.len() >= MAGAZINE {
            true => self.make_room(depot),
            false => None,
        };
        self.first.push(message);
        surplus
    }

    #[cold]
    fn make_room(&mut self, depot: &Depot) -> Option<Magazine> {
        std::mem::swap(&mut self.first, &mut self.second);
        if self.first.is_empty() {
            return None;
        }
        let full = std::mem::replace(&mut self.first, Vec::with_capacity(MAGAZINE));
        depot.leave(full)
    }
}

/// Gives back the memory that threads have left to each other.
pub(crate) fn empty_depot() {
    while DEPOT.take().is_some() {}
}

static NOTHING: Message = Message::NOTHING;

/// A counted reference to a [`Message`]. The last one leaves the memory to its thread.
#[derive(Clone)]
pub struct SharedMessage(Option<Arc<Message>>);

impl SharedMessage {
    /// A message that `fill` makes of an empty one, in place.
    pub(crate) fn new(fill: impl FnOnce(&mut Message)) -> Self {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop(&DEPOT));
        let mut message = pooled.ok().flatten().unwrap_or_default();
        // An allocation from the pool has no other owner.
        if let Some(message) = Arc::get_mut(&mut message) {
            fill(message);
        }
        Self(Some(message))
    }

    /// Whether both are the very same message.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        std::ptr::eq(&raw const **self, &raw const **other)
    }
}

impl Deref for SharedMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl Drop for SharedMessage {
    fn drop(&mut self) {
        let Some(mut message) = self.0.take() else {
            return;
        };
        if Arc::strong_count(&message) > 1 {
            return;
        }
        if let Some(free) = Arc::get_mut(&mut message) {
            // Outside the pool: what it held may end with it, and come back here.
            free.clear();
            let surplus = POOL.try_with(|pool| pool.borrow_mut().push(message, &DEPOT));
            drop(surplus);
        }
    }
}

impl std::fmt::Debug for SharedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;

    fn message(payload: &'static str) -> SharedMessage {
        OwnedMessage::new("t", payload).prepare().unwrap()
    }

    #[test]
    fn memory_is_used_again_and_what_it_held_is_gone() {
        let first = message("first");
        let (address, other) = (&raw const *first, first.clone());
        assert!(first.ptr_eq(&other) && !first.ptr_eq(&message("first")));
        drop(first);
        assert_eq!(other.payload(), b"first");
        drop(other);
        let second = message("second");
        assert_eq!(&raw const *second, address);
        assert_eq!(second.payload(), b"second");
    }

    #[test]
    fn what_is_kept_is_bounded_and_moves_between_threads() {
        let (depot, mut one, mut other) = (Depot::new(), Pool::new(), Pool::new());
        let most = MAGAZINE * (MAGAZINES + 2);
        let surplus: usize = (0..most + MAGAZINE)
            .filter_map(|_| one.push(Arc::new(Message::NOTHING), &depot))
            .map(|magazine| magazine.len())
            .sum();
        assert_eq!(surplus, MAGAZINE);

        let all = std::iter::from_fn(|| other.pop(&depot)).count();
        assert_eq!(all, MAGAZINE * MAGAZINES);
        assert_eq!(std::iter::from_fn(|| one.pop(&depot)).count(), 2 * MAGAZINE);

        // Nothing moves for one that fills and empties again around a magazine.
        for count in [1, MAGAZINE, 2 * MAGAZINE] {
            for _ in 0..count {
                assert!(one.push(Arc::new(Message::NOTHING), &depot).is_none());
            }
            assert!(depot.0.lock().is_empty());
            assert_eq!(std::iter::from_fn(|| one.pop(&depot)).count(), count);
        }
    }
}
