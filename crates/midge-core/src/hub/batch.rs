//! The work of one batch, and the memory that batches leave to the next ones of their thread.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::After;
use crate::message::SharedMessage;
use crate::observer::Observer;
use crate::router::Target;
use crate::session::{Delivery, Dirty, Effects, Env, RetainedCursor, Session};
use crate::time::Tick;

/// Work that has to be done with no lock held, because hooks are asked, before more output of a session
/// can be taken.
#[derive(Debug)]
pub(crate) enum Detour {
    /// Send a page of retained messages.
    Retained(RetainedCursor),
    /// Ask about messages that have waited and are to be sent next.
    Ask(Vec<Delivery>),
}

/// The work of one batch: a read buffer's packets, one publish of the host, one deadline. It is
/// ended with [`crate::Hub::finish`], which flushes each touched connection once.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) effects: Effects,
    pub(crate) observers: Vec<Arc<Observer>>,
    pub(crate) after: Vec<After>,
    /// Work to be done before more output of a session can be taken.
    pub(crate) detours: Vec<(Arc<Session>, Detour)>,
    /// Messages of a run, while it is offered.
    pub(crate) kept: Vec<SharedMessage>,
    /// Receivers of one message, while it is offered.
    pub(crate) targets: Vec<Target>,
    /// Cost of this batch, copies of messages apart.
    pub(crate) work: u64,
    pub(crate) frame_v3: Vec<u8>,
    pub(crate) frame_v5: Vec<u8>,
}

impl Batch {
    const fn new() -> Self {
        Self {
            effects: Effects::new(),
            observers: Vec::new(),
            after: Vec::new(),
            detours: Vec::new(),
            kept: Vec::new(),
            targets: Vec::new(),
            work: 0,
            frame_v3: Vec::new(),
            frame_v5: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, now: Tick, env: &Env) {
        self.effects.start(now, env);
        self.work = 0;
    }

    /// Whether something is still to be done that belongs to its unit.
    pub(crate) fn owes_to_unit(&self) -> bool {
        !(self.effects.reassign.is_empty() && self.effects.disconnects.is_empty())
            || self.after.iter().any(After::belongs_to_unit)
    }

    /// Keeps no more memory for the next time than is mostly needed.
    #[inline]
    pub(crate) fn tidy(&mut self) {
        let effects = &mut self.effects;
        effects.uncharged = 0;
        // A frame is made of small messages only.
        let bytes = effects.replies.capacity() | effects.scratch().capacity();
        let items = effects.dirty.capacity() | self.kept.capacity();
        if bytes > KEPT || items > KEPT_ITEMS {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        if self.replies.capacity() > KEPT {
            self.replies = Vec::new();
        }
        if self.scratch().capacity() > KEPT {
            *self.scratch() = Vec::new();
        }
        if self.dirty.capacity() > KEPT_ITEMS {
            self.dirty = Dirty::new();
        }
        if self.kept.capacity() > KEPT_ITEMS {
            self.kept = Vec::new();
        }
    }

    /// The moment of this batch.
    pub fn now(&self) -> Tick {
        self.effects.now
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.dirty.is_empty() || self.has_more_than_dirty()
    }

    pub(crate) fn has_more_than_dirty(&self) -> bool {
        self.effects.has_more_than_dirty()
            || !(self.observers.is_empty() && self.after.is_empty() && self.detours.is_empty())
    }
}

impl Deref for Batch {
    type Target = Effects;

    #[inline]
    fn deref(&self) -> &Effects {
        &self.effects
    }
}

impl DerefMut for Batch {
    #[inline]
    fn deref_mut(&mut self) -> &mut Effects {
        &mut self.effects
    }
}

/// Bytes of each buffer that are kept: one less than a power of two, as the next one.
const KEPT: usize = 128 * 1024 - 1;
/// Places in each list that are kept.
const KEPT_ITEMS: usize = 8 * 1024 - 1;

/// Batches that are not in use, kept per thread.
const POOLED: usize = 4;

thread_local! {
    #[allow(clippy::vec_box)] // a batch is handed on as a pointer, never moved
    static POOL: RefCell<Vec<Box<Batch>>> = const { RefCell::new(Vec::new()) };
}

/// For [`crate::prepare_thread`].
pub(super) fn prepare_thread() {
    let _ = POOL.try_with(|_| ());
}

static IDLE: Batch = Batch::new();

/// A batch that exists only while it is used, so that an idle connection does not own one.
#[derive(Debug, Default)]
pub(crate) struct Lent(Option<Box<Batch>>);

impl Lent {
    /// Gives the batch back to the thread. It must be finished.
    pub(crate) fn give_back(&mut self) {
        if let Some(mut batch) = self.0.take() {
            batch.tidy();
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < POOLED {
                    pool.push(batch);
                }
            });
        }
    }
}

impl Deref for Lent {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.0.as_deref().unwrap_or(&IDLE)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Batch {
        self.0.get_or_insert_with(|| {
            let pooled = POOL.try_with(|pool| pool.borrow_mut().pop());
            pooled.ok().flatten().unwrap_or_default()
        })
    }
}
