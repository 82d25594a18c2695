//! Output of a connection: appended by the protocol, taken by whoever writes it.

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
use crate::store::{Journal, Position};
use crate::time::Tick;

/// A position that is never committed: output is held until all subscriptions of a SUBSCRIBE are
/// made, and until it is known for which position it has to wait.
pub(super) const HELD: Position = Position::MAX;

/// Steps and messages of retained messages that are sent in one go.
const WALK: usize = 1024;

/// A session counts as unsettled until output is taken again.
fn set_unsettled(state: &mut State) {
    if let Some(attached) = state.attached.as_deref_mut() {
        attached.in_write = 1;
    }
}

impl Hub {
    /// Takes all bytes that are to be written to a connection now, and lets what waits behind them
    /// move up. Call it when the connection is notified and when [`Hub::output_written`] says so.
    /// `into` is to be empty. A batch that comes back is to be given to [`Hub::finish`] once the
    /// caller has released its own locks, because hooks run there; then output is to be taken
    /// again. If nothing came and [`Link::take_unfinished`], more must be taken when others have had
    /// their turn.
    pub fn take_output(
        &self,
        link: &Link,
        into: &mut Outbox,
        now: impl Fn() -> Tick,
    ) -> Option<Batch> {
        {
            let spilt = link.spill.lock().take();
            if let Some(spilt) = spilt {
                into.append(*spilt);
            }
        }
        let session = link.session.get()?;
        let mut batch = None;
        if let Some(detour) = self.take_attached(link, session, into, &mut batch, &now) {
            let batch = batch.get_or_insert_with(|| self.batch(now()));
            batch.detours.push((session.clone(), detour));
        }

        let mut batch = batch?;
        batch.local.settle(&self.env.counters);
        batch.has_more().then_some(batch)
    }

    /// To be called when all output that was taken is written. Whether more is to be taken now, because
    /// it came meanwhile or waits for the room that this made.
    pub fn output_written(&self, link: &Link) -> bool {
        let Some(session) = link.session.get() else {
            return true;
        };
        let mut guard = session.lock();
        let state = &mut *guard;
        let waits = state.has_more();
        let Some(attached) = Attached::of(&mut state.attached, link) else {
            return true;
        };
        let more = waits || !attached.outbox.is_empty();
        if !more {
            attached.written();
            link.hold_output(0);
        }
        more
    }

    /// Lets what waits move up and takes the outbox; or gives what is to be done before, with no lock
    /// held.
    fn take_attached(
        &self,
        link: &Link,
        session: &Arc<Session>,
        into: &mut Outbox,
        batch: &mut Option<Batch>,
        now: impl Fn() -> Tick,
    ) -> Option<Detour> {
        let asks = self.hook_set.has(HookSet::AUTHORIZE_RECEIVE);
        let mut looks_again = false;
        let mut state = session.lock();
        let (waits, has_more) = (state.waits(), state.has_more());
        let attached = Attached::of(&mut state.attached, link)?;
        attached.written();
        if attached.held_until > 0 {
            let is_held = match self.env.journal() {
                Some(journal) => !journal.is_committed(attached.held_until),
                None => attached.held_until == HELD,
            };
            if is_held {
                attached.dirty = false;
                return None;
            }
            attached.held_until = 0;
        }

        if has_more {
            attached.dirty = true; // it is being flushed: no need to notify
            if waits {
                let batch = batch.get_or_insert_with(|| self.batch(now()));
                let asked = usize::from(std::mem::take(&mut state.asked));
                let most = if asks { asked } else { PUMP_BUDGET };
                let mut session = SessionGuard::new(session, state, &self.env, batch);
                let all = session.pump(most);
                state = session.into_state();
                if asks && !all && !state.asking {
                    let deliveries = state.take_for_asking(&self.env);
                    if !deliveries.is_empty() {
                        set_unsettled(&mut state);
                        return Some(Detour::Ask(deliveries));
                    }
                }
                looks_again = !asks && !all;
            }
            let ready = state.ahead.is_empty()
                && !state.paging
                && state.resend.is_empty()
                && state
                    .attached
                    .as_ref()
                    .is_some_and(|a| a.outbox.len() < OUTBOX_HIGH);
            if ready && let Some(cursor) = state.retained.pop_front() {
                state.paging = true;
                set_unsettled(&mut state);
                return Some(Detour::Retained(cursor));
            }
        }

        let attached = state.attached.as_deref_mut()?;
        attached.dirty = false;
        attached.take_into(into);
        if looks_again && into.is_empty() {
            // Nothing is written that would bring the writer back.
            link.set_unfinished();
        }

        None
    }

    /// Appends the acknowledgements of a batch. They, and everything behind them, leave when what
    /// they acknowledge is committed.
    pub(crate) fn push_replies(&self, link: &Arc<Link>, bytes: &[u8], now: Tick) {
        if bytes.is_empty() {
            return;
        }
        let Some((journal, position)) = self.uncommitted(now) else {
            return self.push_output(link, bytes, 0);
        };
        // In one step: whoever writes to this client in between must not take them along.
        self.push_output(link, bytes, position);
        journal.wait(position, link.notify.clone());
    }

    /// Hands over what was recorded; the position to wait for, if it is not committed yet.
    fn uncommitted(&self, now: Tick) -> Option<(&Journal, Position)> {
        let journal = self.env.journal()?;
        let position = journal.flush(now);
        (!journal.is_committed(position)).then_some((journal, position))
    }

    /// Holds back a connection's output until everything recorded so far is committed. So far it is
    /// held for ever ([`HELD`]), because it was recorded and appended under one lock.
    pub(crate) fn hold_until_committed(
        &self,
        link: &Arc<Link>,
        session: &Session,
        batch: &mut Batch,
    ) {
        if self.env.journal().is_none() {
            return;
        }
        let uncommitted = self.uncommitted(batch.now);
        if let Some(attached) = Attached::of(&mut session.lock().attached, link) {
            attached.held_until = uncommitted.map_or(0, |(_, position)| position);
            batch.touch(attached);
        }
        if let Some((journal, position)) = uncommitted {
            journal.wait(position, link.notify.clone());
        }
    }

    /// The store has committed more.
    pub(super) fn committed(&self) {
        if let Some(journal) = self.env.journal() {
            journal.notify_committed();
        }
    }

    /// Appends bytes to what a connection is to send, not before a position is committed. Nothing follows
    /// the DISCONNECT of a connection that another thread has ended meanwhile (MQTT-3.14.4-1): what is
    /// not acknowledged comes again.
    fn push_output(&self, link: &Link, bytes: &[u8], held_until: Position) {
        if let Some(session) = link.session.get() {
            let mut state = session.lock();
            if let Some(attached) = Attached::of(&mut state.attached, link) {
                attached.append(&self.env.budget, |outbox| outbox.push(bytes));
                attached.held_until = attached.held_until.max(held_until);
            }
            return;
        }
        super::life::spill(link, bytes);
    }

    /// Sends some retained messages: a page, or more of them if they are small. What is left waits its
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
            let goes_on = has_room && budget > 0 && state.ahead.is_empty() && !state.dead;
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
