//! Work in batches: what it finds out under locks is done once they are released.

use std::borrow::BorrowMut;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{After, Hub};
use crate::hook_depth::Hook;
use crate::hub::{Batch, Detour};
use crate::reason::DropReason;
use crate::session::{Delivery, Dirty, Session};
use crate::time::Tick;

/// A batch that is finished when it goes out of scope, also on an early return and when a panic
/// passes by: a receiver that is noted in it is told in any case.
pub(crate) struct Work<'a, B: BorrowMut<Batch> = Batch> {
    hub: &'a Hub,
    batch: B,
}

impl<B: BorrowMut<Batch>> Deref for Work<'_, B> {
    type Target = Batch;

    fn deref(&self) -> &Batch {
        self.batch.borrow()
    }
}

impl<B: BorrowMut<Batch>> DerefMut for Work<'_, B> {
    fn deref_mut(&mut self) -> &mut Batch {
        self.batch.borrow_mut()
    }
}

impl<B: BorrowMut<Batch>> Drop for Work<'_, B> {
    fn drop(&mut self) {
        self.hub.finish(self.batch.borrow_mut());
    }
}

impl Hub {
    /// A batch that its receiver has to give to [`Hub::finish`].
    pub(super) fn batch(&self, now: Tick) -> Batch {
        let mut batch = Batch::default();
        batch.start(now, &self.env);
        batch
    }

    /// Begins work at `now`.
    pub(crate) fn begin(&self, now: Tick) -> Work<'_> {
        let batch = self.batch(now);

        Work { hub: self, batch }
    }

    /// Begins work at `now` with an old batch's memory.
    pub(crate) fn begin_with<'a>(
        &'a self,
        batch: &'a mut Batch,
        now: Tick,
    ) -> Work<'a, &'a mut Batch> {
        batch.start(now, &self.env);

        Work { hub: self, batch }
    }

    /// Ends a batch: does what had to wait for the locks, flushes each touched connection once.
    pub fn finish(&self, batch: &mut Batch) {
        self.run_effects(batch);
        while !batch.dirty.is_empty() {
            // A flush may write to sockets: one round, and the rest of the list in the next.
            let mut dirty = std::mem::take(&mut batch.dirty);
            self.flush_each(&mut dirty, || batch.now);
            batch.dirty = dirty;
            batch.uncharged = 0;
            self.run_effects(batch);
        }
    }

    /// Flushes connections that one or several batches have handed up. Must be called with no lock
    /// held.
    pub fn flush(&self, dirty: &mut Dirty, now: impl Fn() -> Tick) {
        self.flush_each(dirty, &now);
        if let Some(journal) = self.env.journal() {
            journal.flush(now());
        }
    }

    /// A panic on the way to one connection ends that one and no other.
    fn flush_each(&self, dirty: &mut Dirty, now: impl Fn() -> Tick) {
        for link in dirty.drain() {
            let flushed = catch_unwind(AssertUnwindSafe(|| link.io.flush()));
            if flushed.is_err() {
                self.catch_hook_panic(|| self.caught_panic(&link, now()));
            }
        }
    }

    /// Does all that a batch has to do without its locks, but for flushing connections.
    pub(crate) fn run_effects(&self, batch: &mut Batch) {
        batch.local.flush_into(&self.env.counters);
        if self.env.journal().is_some() || batch.has_more_than_dirty() {
            self.run_seldom_effects(batch);
        }
    }

    /// Most batches have none: kept apart, so that those stay short.
    #[inline(never)]
    fn run_seldom_effects(&self, batch: &mut Batch) {
        self.hand_over_changes(batch);

        while batch.has_more_than_dirty() {
            for (session, detour) in taken(&mut batch.detours) {
                match detour {
                    Detour::Retained(cursor) => self.send_retained(&session, cursor, batch),
                    Detour::Ask(waiting) => self.ask_about_waiting(&session, waiting, batch),
                }
            }

            // A run and single messages find full clients in different orders.
            (batch.disconnects).sort_by_key(|(link, _)| link.number());
            for (link, reason) in taken(&mut batch.disconnects) {
                self.end(&link, reason, batch);
            }

            for reassigned in taken(&mut batch.reassign) {
                self.redeliver(&reassigned.delivery, batch);
            }

            // What belongs to the unit first: the rest may wait for its end.
            batch.after.sort_by_key(|after| !after.belongs_to_unit());
            for after in taken(&mut batch.after) {
                if batch.unit && !after.belongs_to_unit() {
                    self.hand_over_changes(batch);
                }
                self.catch_hook_panic(|| self.run_after(after, batch));
            }
            self.hand_over_changes(batch);

            if std::mem::take(&mut batch.recorded) {
                self.catch_hook_panic(|| self.env.taps.hand_on());
            }

            for event in taken(&mut batch.events) {
                self.catch_hook_panic(|| self.env.taps.emit(batch.now, &event));
            }

            batch.local.flush_into(&self.env.counters);
            for observer in taken(&mut batch.observers) {
                self.catch_hook_panic(|| observer.wake());
            }
        }
    }

    /// Asks hooks about messages that have waited for a client: its rights may have changed. Those
    /// that it may have go back to where they were, to be sent next.
    fn ask_about_waiting(
        &self,
        session: &Arc<Session>,
        deliveries: Vec<Delivery>,
        batch: &mut Batch,
    ) {
        let info = session.info();
        let may_receive =
            |delivery: &Delivery| self.may_receive(&info, &delivery.message, batch.now);
        let (allowed, denied): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(may_receive);

        let mut session = session.guard(&self.env, batch);
        for delivery in denied {
            session.give_up(delivery, true, DropReason::RefusedByHook);
        }
        if session.state.dead {
            for delivery in allowed {
                session.give_up(delivery, true, DropReason::SessionEnded);
            }
            return;
        }

        session.state.give_back(allowed, &self.env);
        session.watch_expiry();
        // The connection that asked takes output again; one that has taken its place must be told.
        if let Some(attached) = session.state.attached.as_deref_mut() {
            session.effects.touch(attached);
        }
    }

    fn run_after(&self, after: After, batch: &mut Batch) {
        match after {
            After::Will { session, will } => self.publish_will(&session, &will.message, batch),
            After::Teardown {
                session,
                subscriptions,
                has_messages,
            } => self.tear_down(&session, subscriptions, has_messages, batch.now),

            After::Connected {
                info,
                session_present,
            } => {
                self.call_life_hook(Hook::Connected, |hooks| {
                    hooks.connected(&info, session_present);
                });
            }
            After::Disconnected { info, reason } => {
                self.call_life_hook(Hook::Disconnected, |hooks| {
                    hooks.disconnected(&info, &reason);
                });
            }
            After::SessionStarted(client_id) => {
                self.call_life_hook(Hook::SessionStarted, |hooks| {
                    hooks.session_started(&client_id);
                });
            }
            After::SessionEnded(client_id) => {
                self.call_life_hook(Hook::SessionEnded, |hooks| hooks.session_ended(&client_id));
            }
        }
    }

    /// Runs work that may call a hook and belongs to no connection. A panic of the hook is counted and
    /// goes no further: `None`.
    pub(crate) fn catch_hook_panic<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(work)).ok();
        if done.is_none() {
            self.report_panic();
        }
        done
    }
}

/// Takes all of a list, which is mostly empty.
#[inline]
fn taken<T>(list: &mut Vec<T>) -> impl Iterator<Item = T> + use<T> {
    let all = (!list.is_empty()).then(|| std::mem::take(list));
    all.into_iter().flatten()
}
