//! The end of very many subscriptions and messages, in slices, so that nothing waits for it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::Mutex;

use super::Hub;
use super::subscribe::{SLICE, cost};
use crate::router::{EmptiedTrie, Subscriber};
use crate::session::{Draining, Session, Subscriptions};
use crate::steps;
use crate::time::Tick;

/// Subscriptions that an ended session takes along at once. Many sessions may end together, so more
/// of them wait for their turn.
const AT_ONCE: usize = 32;

/// The subscriptions of ended sessions that the router still has.
#[derive(Default)]
pub(super) struct Teardowns {
    waiting: Mutex<VecDeque<Teardown>>,
    emptied: Mutex<Vec<EmptiedTrie>>,
    on_work: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

struct Teardown {
    session: Arc<Session>,
    rest: Draining,
    has_messages: bool,
    /// When the session ended.
    at: Tick,
}

impl Hub {
    /// Sets what is called when there is work for [`Hub::work`]. Without it all work is done at
    /// once.
    pub fn on_work(&self, notify: Option<Arc<dyn Fn() + Send + Sync>>) {
        *self.teardowns.on_work.lock() = notify;
    }

    /// Does a slice of the work that nothing waits for; `false` if none is left.
    pub fn work(&self) -> bool {
        let emptied = self.teardowns.emptied.lock().pop();
        if let Some(mut emptied) = emptied {
            if emptied.shrink() {
                self.teardowns.emptied.lock().push(emptied);
            }
            return true;
        }
        let next = self.teardowns.waiting.lock().pop_front();
        if let Some(mut teardown) = next
            && self.tear_down_slice(&mut teardown)
        {
            self.teardowns.waiting.lock().push_front(teardown);
        }
        !self.teardowns.waiting.lock().is_empty()
    }

    /// Removes the subscriptions of an ended session and gives up the messages that wait for it: few
    /// of them at once, many bit by bit.
    pub(super) fn tear_down(
        &self,
        session: &Arc<Session>,
        subscriptions: Subscriptions,
        has_messages: bool,
        at: Tick,
    ) {
        let mut teardown = Teardown {
            session: session.clone(),
            rest: subscriptions.drain(),
            has_messages,
            at,
        };

        if has_messages || teardown.rest.len() > AT_ONCE {
            let notify = self.teardowns.on_work.lock().clone();
            if let Some(notify) = notify {
                self.teardowns.waiting.lock().push_back(teardown);
                return notify();
            }
        }

        while self.tear_down_slice(&mut teardown) {}
    }

    /// Gives back what is left of very many subscriptions. No lock is to be held.
    pub(super) fn throw_away(&self, emptied: impl IntoIterator<Item = EmptiedTrie>) {
        for emptied in emptied {
            let notify = self.teardowns.on_work.lock().clone();
            if let Some(notify) = notify {
                self.teardowns.emptied.lock().push(emptied);
                notify();
            }
        }
    }

    /// Whether something is left.
    fn tear_down_slice(&self, teardown: &mut Teardown) -> bool {
        let _section = steps::section(steps::Section::Background);
        if teardown.has_messages {
            let mut batch = self.begin(teardown.at);
            let mut session = teardown.session.guard(&self.env, &mut batch);
            teardown.has_messages = session.give_up_some();
            drop(session);
            return teardown.has_messages || teardown.rest.len() > 0;
        }

        // Collected first: the filters are freed without the lock. That a large block is allocated
        // in each slice also lets the allocator of glibc merge what the slice before freed; left
        // alone, it merges everything at once some time later and stops the thread for that.
        let mut left = SLICE;
        let mut slice = Vec::with_capacity(SLICE / 8);
        while left > 0
            && let Some((filter, record)) = teardown.rest.next()
        {
            left = left.saturating_sub(cost(&filter));
            slice.push((filter, record));
        }

        let subscriber = Subscriber::Session(teardown.session.clone());
        let mut emptied = Vec::new();
        let mut router = self.router.write();
        for (filter, record) in &slice {
            emptied.extend(router.remove(filter, &subscriber, record.shared));
            self.release_subscription(filter);
            self.count_subscriptions(record.shared, -1);
        }
        drop(router);

        self.throw_away(emptied);
        teardown.rest.len() > 0
    }
}
