//! References to messages, and the memory that they leave behind.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use crate::message::Message;

/// Memory of messages that is not in use, kept per thread: at most about 40 KiB. A message is often
/// let go of by another thread than the one that made it; giving its memory back there would have
/// the two wait for each other in the allocator.
const POOLED: usize = 256;

thread_local! {
    static POOL: RefCell<Vec<Arc<Message>>> = const { RefCell::new(Vec::new()) };
}

static NOTHING: Message = Message::NOTHING;

/// A counted reference to a [`Message`]. The last one leaves the memory to its thread.
#[derive(Clone)]
pub struct SharedMessage(Option<Arc<Message>>);

impl SharedMessage {
    pub(crate) fn new(message: Message) -> Self {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        if let Some(mut pooled) = pooled
            && let Some(free) = Arc::get_mut(&mut pooled)
        {
            *free = message;
            return Self(Some(pooled));
        }
        Self(Some(Arc::new(message)))
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
            *free = Message::NOTHING;
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < POOLED {
                    pool.push(message);
                }
            });
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
    fn the_pool_is_bounded() {
        let many: Vec<SharedMessage> = (0..2 * POOLED).map(|_| message("x")).collect();
        drop(many);
        assert_eq!(POOL.with(|pool| pool.borrow().len()), POOLED);
    }
}
