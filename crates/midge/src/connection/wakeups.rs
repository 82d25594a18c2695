//! Coalesces wake-ups: links whose outboxes became non-empty while several connections were read are
//! flushed once, so that what several clients sent to one receiver leaves in one write, and soon enough
//! for the processor's cache to still have it.

use midge_core::{Connection, Dirty, Hub, Tick};
use parking_lot::Mutex;

/// Connections whose wake-ups are collected before a flush, at most.
const TOGETHER: usize = 16;
/// Memory for so many links is kept.
const KEPT: usize = 1024;

/// The links to be flushed for all connections of one thread.
#[derive(Default)]
pub(crate) struct Wakeups(Mutex<State>);

#[derive(Default)]
struct State {
    dirty: Dirty,
    /// Connections that left their wake-ups here.
    connections: usize,
}

impl Wakeups {
    /// Adds a connection's pending wake-ups. Returns true for the first of a round, which must call
    /// [`Wakeups::flush`] after it has yielded.
    pub(super) fn collect(
        &self,
        connection: &mut Connection,
        hub: &Hub,
        now: impl Fn() -> Tick,
    ) -> bool {
        let mut state = self.0.lock();
        connection.take_dirty(&mut state.dirty);
        state.connections += 1;
        let (first, last) = (state.connections == 1, state.connections == TOGETHER);
        drop(state);

        if last {
            self.flush(hub, now);
        }
        first
    }

    /// Flushes all links that were collected so far.
    pub(super) fn flush(&self, hub: &Hub, now: impl Fn() -> Tick) {
        let mut state = self.0.lock();
        let mut dirty = std::mem::take(&mut state.dirty);
        state.connections = 0;
        drop(state);

        hub.flush(&mut dirty, now);

        // The memory is used again, unless it is that of a message to very many.
        let next = &mut self.0.lock().dirty;
        if next.capacity() == 0 && dirty.capacity() <= KEPT {
            *next = dirty;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use midge_core::{Config, Flush, NextOutput, Outbox};

    use super::*;

    const NOW: Tick = Tick(0);

    /// Counts flushes; one that is broken panics.
    #[derive(Default)]
    struct Count {
        times: AtomicUsize,
        broken: AtomicBool,
    }

    impl Flush for Count {
        fn flush(&self) {
            self.times.fetch_add(1, Ordering::Relaxed);
            assert!(!self.broken.load(Ordering::Relaxed), "broken");
        }
    }

    fn client(hub: &Arc<Hub>, id: u8, flushes: &Arc<Count>) -> Connection {
        let link = hub
            .accept("".into(), "".into(), flushes.clone(), NOW)
            .unwrap();
        let mut connection = Connection::new(hub.clone(), link);
        let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, id];
        connection.receive(&connect, None, NOW);
        connection
    }

    /// A publisher, its subscriber, and how often that one was flushed.
    struct Pair {
        topic: u8,
        publisher: Connection,
        subscriber: Connection,
        flushes: Arc<Count>,
    }

    impl Pair {
        fn new(hub: &Arc<Hub>, topic: u8, broken: bool) -> Self {
            let flushes = Arc::<Count>::default();
            let mut subscriber = client(hub, topic, &flushes);
            subscriber.receive(&[0x82, 6, 0, 1, 0, 1, topic, 0], None, NOW);
            let publisher = client(hub, topic.to_ascii_uppercase(), &Arc::default());
            let pair = Self {
                topic,
                publisher,
                subscriber,
                flushes,
            };
            pair.take(hub);
            pair.flushes.times.store(0, Ordering::Relaxed);
            pair.flushes.broken.store(broken, Ordering::Relaxed);
            pair
        }

        /// Publishes. Returns whether the publisher owes a flush.
        fn publish(&mut self, wakeups: &Wakeups, hub: &Hub) -> bool {
            self.take(hub);
            let publish = [0x30, 4, 0, 1, self.topic, b'x'];
            self.publisher.receive_unflushed(&publish, None, NOW);
            assert!(self.publisher.has_dirty_others());
            let owes = wakeups.collect(&mut self.publisher, hub, || NOW);
            assert!(!self.publisher.has_dirty_others());
            owes
        }

        /// Takes what the subscriber gets, so that it is dirty again with the next message.
        fn take(&self, hub: &Hub) {
            let (mut written, mut work) = (Outbox::default(), Vec::new());
            let link = self.subscriber.link();
            loop {
                let next = hub.next_output(link, false, &mut written, &mut work, || NOW);
                written.release();
                if next == NextOutput::Nothing && work.is_empty() {
                    break;
                }
                work.drain(..).for_each(|mut batch| hub.finish(&mut batch));
            }
        }

        fn flushes(&self) -> usize {
            self.flushes.times.load(Ordering::Relaxed)
        }
    }

    fn hub() -> Arc<Hub> {
        Hub::new(Config::default(), None, None, "", NOW)
    }

    #[test]
    fn the_first_connection_of_a_round_flushes_for_all() {
        let (hub, wakeups) = (hub(), Wakeups::default());
        let mut pairs: Vec<_> = (b'a'..=b'c').map(|id| Pair::new(&hub, id, false)).collect();
        for round in 1..4 {
            let owes: Vec<_> = pairs
                .iter_mut()
                .map(|p| p.publish(&wakeups, &hub))
                .collect();
            assert_eq!(owes, [true, false, false]);
            assert!(pairs.iter().all(|pair| pair.flushes() == round - 1));
            wakeups.flush(&hub, || NOW);
            assert!(pairs.iter().all(|pair| pair.flushes() == round));
        }
    }

    #[test]
    fn many_connections_are_flushed_without_waiting() {
        let (hub, wakeups) = (hub(), Wakeups::default());
        let ids = b'a'..=b'a' + TOGETHER as u8;
        let mut pairs: Vec<_> = ids.map(|id| Pair::new(&hub, id, false)).collect();
        let (last, burst) = pairs.split_last_mut().unwrap();
        for (at, pair) in burst.iter_mut().enumerate() {
            assert_eq!(pair.publish(&wakeups, &hub), at == 0);
        }
        assert!(burst.iter().all(|pair| pair.flushes() == 1));
        assert!(last.publish(&wakeups, &hub) && last.flushes() == 0);
        wakeups.flush(&hub, || NOW);
        assert!(last.flushes() == 1 && burst.iter().all(|pair| pair.flushes() == 1));
    }

    #[test]
    fn a_panic_on_the_way_to_one_link_does_not_hold_up_the_others() {
        let (hub, wakeups) = (hub(), Wakeups::default());
        let mut pairs =
            [(b'a', false), (b'b', true), (b'c', false)].map(|(id, b)| Pair::new(&hub, id, b));
        for pair in &mut pairs {
            pair.publish(&wakeups, &hub);
        }
        wakeups.flush(&hub, || NOW);
        assert!(pairs.iter().all(|pair| pair.flushes() >= 1));
        let ended = pairs.map(|pair| pair.subscriber.link().ended().is_some());
        assert_eq!(ended, [false, true, false]);
        assert!(hub.stats(NOW).panics >= 1);
    }
}
