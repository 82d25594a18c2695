//! Output of a connection: appended by the protocol, taken by its writer.

use std::sync::Arc;

use super::Hub;
use crate::hooks::HookSet;
use crate::hub::{Batch, Detour};
use crate::outbox::Outbox;
use crate::retained::Place;
use crate::router::{Sub, SubTarget, Subscriber};
use crate::session::{
    Attached, Link, OUTBOX_HIGH, PUMP_BUDGET, RetainedCursor, Session, SessionGuard, State,
};
use crate::steps;
use crate::store::Position;
use crate::sync::MutexGuard;
use crate::time::Tick;

/// Steps and messages of retained messages that are sent in one go.
const WALK: usize = 1024;

/// The next thing that a connection has to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextOutput {
    /// The bytes that were taken.
    Bytes,
    /// Nothing, until the connection is flushed again.
    Nothing,
    /// Nothing was found yet: look again when other connections have had their turn.
    Later,
}

/// What became of taking a connection's output.
enum Taken {
    /// All that there is.
    All,
    /// Finding what waits behind it was cut short.
    Part,
    /// Nothing: this must be done before.
    After(Detour),
}

/// A session counts as unsettled until output is taken again.
fn set_unsettled(state: &mut State) {
    if let Some(attached) = state.attached.as_deref_mut() {
        attached.in_write = 1;
    }
}

impl Hub {
    /// Takes the bytes that are to be written to a connection next, into `into`, which must be empty,
    /// and lets what waits behind them move up. Call it when the connection is flushed, and again after
    /// [`NextOutput::Bytes`] when these are written: with `wrote` then.
    ///
    /// Batches that are added to `work` must be given to [`Hub::finish`] once the caller has released
    /// its own locks, because hooks run there; after these, output must be taken again.
    pub fn next_output(
        &self,
        link: &Link,
        wrote: bool,
        into: &mut Outbox,
        work: &mut Vec<Batch>,
        now: impl Fn() -> Tick,
    ) -> NextOutput {
        if wrote && self.is_written(link) {
            return NextOutput::Nothing;
        }

        if let Some(detached) = link.take_detached() {
            into.append(*detached);
        }

        let looks_again = match link.session.get() {
            Some(session) => self.take_attached(link, session, into, work, now),
            None => false,
        };

        match into.is_empty() {
            false => NextOutput::Bytes,
            // Nothing is written that would bring the writer back.
            true if looks_again => NextOutput::Later,
            true => NextOutput::Nothing,
        }
    }

    /// Whether a connection, all of whose output that was taken is written, has nothing more to write
    /// now: nothing came meanwhile, nor waits for the room that this made.
    fn is_written(&self, link: &Link) -> bool {
        let Some(session) = link.session.get() else {
            return false;
        };

        let mut guard = session.lock();
        let state = &mut *guard;
        let waits = state.has_more();
        let Some(attached) = Attached::of(&mut state.attached, link) else {
            return false;
        };

        let is_written = !waits && attached.outbox.is_empty();
        if is_written {
            attached.written();
            link.hold_output(0);
        }
        is_written
    }

    /// Takes the outbox of a session, and what moves up into it. Whether to look again, because finding
    /// what waits was cut short.
    #[inline]
    fn take_attached(
        &self,
        link: &Link,
        session: &Arc<Session>,
        into: &mut Outbox,
        work: &mut Vec<Batch>,
        now: impl Fn() -> Tick,
    ) -> bool {
        let mut state = session.lock();
        let has_more = state.has_more();
        let Some(attached) = Attached::of(&mut state.attached, link) else {
            return false;
        };

        attached.written();
        if has_more || attached.held || attached.outbox.is_marked() {
            return self.take_behind_others(session, state, into, work, now);
        }

        attached.take_into(into, None);
        false
    }

    /// The same where something waits: the store, or messages that are to move up. Most connections have
    /// none: kept apart, so that those stay short.
    #[inline(never)]
    fn take_behind_others(
        &self,
        session: &Arc<Session>,
        mut state: MutexGuard<'_, State>,
        into: &mut Outbox,
        work: &mut Vec<Batch>,
        now: impl Fn() -> Tick,
    ) -> bool {
        if let Some(attached) = state.attached.as_deref_mut().filter(|it| it.held) {
            attached.dirty = false;
            return false;
        }

        let mut batch = None;
        let taken = match state.has_more() {
            true => self.take_moved_up(session, state, into, &mut batch, &now),
            false => {
                self.take_committed(&mut state, into);
                Taken::All
            }
        };

        let looks_again = matches!(taken, Taken::Part);
        if let Taken::After(detour) = taken {
            let batch = batch.get_or_insert_with(|| self.batch(now()));
            batch.detours.push((session.clone(), detour));
        }

        if let Some(mut batch) = batch {
            batch.local.flush_into(&self.env.counters);
            if batch.has_more() {
                work.push(batch);
            }
        }
        looks_again
    }

    /// Lets what waits move up and takes the outbox, unless something must be done before, with no lock
    /// held.
    fn take_moved_up(
        &self,
        session: &Arc<Session>,
        state: MutexGuard<'_, State>,
        into: &mut Outbox,
        batch: &mut Option<Batch>,
        now: impl Fn() -> Tick,
    ) -> Taken {
        let asks = self.hooks.intersects(HookSet::AUTHORIZE_RECEIVE);
        let (mut state, mut looks_again) = (state, false);
        if let Some(attached) = state.attached.as_deref_mut() {
            attached.dirty = true; // it is being flushed already
        }

        if state.waits() {
            let batch = batch.get_or_insert_with(|| self.batch(now()));
            let asked = usize::from(std::mem::take(&mut state.asked));
            let most = if asks { asked } else { PUMP_BUDGET };
            let mut guard = SessionGuard::new(session, state, &self.env, batch);
            let all = guard.pump(most);
            state = guard.into_state();

            if asks && !all && !state.asking {
                let deliveries = state.take_for_asking(&self.env);
                if !deliveries.is_empty() {
                    set_unsettled(&mut state);
                    return Taken::After(Detour::Ask(deliveries));
                }
            }
            looks_again = !asks && !all;
        }

        let is_ready = state.retained_backlog.is_empty()
            && !state.paging
            && state.resend.is_empty()
            && state
                .attached
                .as_ref()
                .is_some_and(|a| a.outbox.len() < OUTBOX_HIGH);
        if is_ready && let Some(cursor) = state.retained.pop_front() {
            state.paging = true;
            set_unsettled(&mut state);
            return Taken::After(Detour::Retained(cursor));
        }

        self.take_committed(&mut state, into);
        match looks_again {
            true => Taken::Part,
            false => Taken::All,
        }
    }

    /// Takes the output that waits for no commit. If some of it does, the connection is flushed
    /// again when that is committed.
    #[inline]
    fn take_committed(&self, state: &mut State, into: &mut Outbox) {
        let Some(attached) = state.attached.as_deref_mut() else {
            return;
        };
        let mut count = None;
        if let Some(journal) = self.env.journal() {
            while let Some((free, position)) =
                (attached.outbox).held(|position| journal.is_committed(position))
            {
                if journal.wait(position, attached.link.clone()) {
                    count = Some(free);
                    break;
                }
            }
        }

        attached.take_into(into, count);
        if into.is_empty() {
            attached.link.hold_output(0);
        }
    }

    /// Appends the acknowledgements of a batch. They, and everything behind them, leave when what
    /// they acknowledge is committed.
    pub(crate) fn push_replies(&self, link: &Link, batch: &mut Batch) {
        let position = std::mem::take(&mut batch.waits_for);
        let held = self.env.journal().filter(|_| position > 0);
        if let Some(journal) = held {
            journal.flush(batch.now);
        }
        let held = held.filter(|journal| !journal.is_committed(position));
        self.push_output(link, &batch.replies, held.map(|_| position));
        batch.replies.clear();
    }

    /// The store has committed more.
    pub(super) fn committed(&self) {
        if let Some(journal) = self.env.journal() {
            journal.flush_committed();
        }
    }

    /// Appends bytes to what a connection is to send, not before a position is committed. Nothing
    /// follows the DISCONNECT of a connection that another thread has ended meanwhile
    /// (MQTT-3.14.4-1): what is not acknowledged comes again.
    fn push_output(&self, link: &Link, bytes: &[u8], held: Option<Position>) {
        if let Some(session) = link.session.get() {
            let mut state = session.lock();
            if let Some(attached) = Attached::of(&mut state.attached, link) {
                attached.append(&self.env.budget, |outbox| {
                    if let Some(position) = held {
                        outbox.hold(position);
                    }
                    outbox.push(bytes);
                });
            }
            return;
        }
        super::life::push_detached(link, bytes);
    }

    /// Sends some retained messages: a page, or more of them if they are small. The rest waits its
    /// turn again.
    pub(super) fn send_retained(
        &self,
        session: &Arc<Session>,
        mut cursor: RetainedCursor,
        batch: &mut Batch,
    ) {
        let _section = steps::section(steps::Section::Background);
        let mut budget = WALK;
        loop {
            let from = self.send_page(session, &cursor, &mut budget, batch);

            let mut guard = session.lock();
            let state = &mut *guard;
            // An UNSUBSCRIBE in between has ended it.
            if state.dead || !state.subscriptions.has_walk(&cursor.filter) {
                // Nothing more of this one.
            } else if from.is_some() {
                cursor.from = from;
                state.retained.push_front(cursor);
            } else {
                state.subscriptions.end_walk(&cursor.filter);
            }

            let has_room = state
                .attached
                .as_ref()
                .is_some_and(|a| a.outbox.len() < OUTBOX_HIGH);
            let goes_on =
                has_room && budget > 0 && state.retained_backlog.is_empty() && !state.dead;
            let next = if goes_on {
                state.retained.pop_front()
            } else {
                None
            };

            match next {
                Some(next) => cursor = next,
                None => {
                    state.paging = false;
                    // The connection that asked takes output again; one that has taken its place
                    // must be told.
                    if let Some(attached) = state.attached.as_deref_mut() {
                        batch.touch(attached);
                    }
                    return;
                }
            }
        }
    }

    /// Sends one page of retained messages; where to go on.
    fn send_page(
        &self,
        session: &Arc<Session>,
        cursor: &RetainedCursor,
        budget: &mut usize,
        batch: &mut Batch,
    ) -> Option<Place> {
        let page = self
            .retained
            .read()
            .page(&cursor.filter, cursor.from.as_ref(), cursor.until);
        *budget = budget.saturating_sub(page.steps + page.messages.len() + 8);

        let sub = Sub::new(Subscriber::Session(session.clone()), cursor.record);
        let target = SubTarget::new(&sub, None);
        for (index, message) in page.messages.iter().enumerate() {
            self.offer_retained(message, &target, batch);
            let state = session.lock();
            if state
                .attached
                .as_ref()
                .is_some_and(|a| a.outbox.len() >= OUTBOX_HIGH)
            {
                // The rest when this is written.
                return page.place_behind(index);
            }
        }

        page.next
    }
}
