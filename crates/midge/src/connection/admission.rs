//! Clients that come all at once are let in a few at a time, so that those who are there already get
//! their turns in between: a runtime serves its tasks in the order in which they were woken.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Connections whose first bytes are handled in one turn.
const AT_ONCE: usize = 16;
/// Without a queue the next turn begins after this time.
const TURN: Duration = Duration::from_micros(250);

/// Where connections wait with their first bytes unread.
#[derive(Debug)]
pub(crate) struct Entrance(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Those who may come in in this turn, if nobody waits.
    left: usize,
    /// When this turn began.
    since: Instant,
    queue: VecDeque<Waker>,
}

/// Whether a connection may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It may.
    Now,
    /// It is woken when it may.
    Queued,
    /// As [`Entry::Queued`], and it is the first one: [`Entrance::next_turn`] is to be called soon.
    First,
}

impl Default for Entrance {
    fn default() -> Self {
        Self(Mutex::new(State {
            left: AT_ONCE,
            since: Instant::now(),
            queue: VecDeque::new(),
        }))
    }
}

impl Entrance {
    /// Lets a connection in, or puts it at the end of the queue.
    pub(crate) fn enter(&self, waker: &Waker) -> Entry {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            if state.left == 0 && state.since.elapsed() >= TURN {
                state.left = AT_ONCE;
                state.since = Instant::now();
            }
            if state.left > 0 {
                state.left -= 1;
                return Entry::Now;
            }
        }
        state.queue.push_back(waker.clone());
        match state.queue.len() {
            1 => Entry::First,
            _ => Entry::Queued,
        }
    }

    /// Wakes the next ones of the queue; whether there are more.
    pub(crate) fn next_turn(&self) -> bool {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            return false;
        }
        let count = AT_ONCE.min(state.queue.len());
        let next: Vec<Waker> = state.queue.drain(..count).collect();
        let more = !state.queue.is_empty();
        if !more {
            state.queue = VecDeque::new();
            state.left = AT_ONCE - count;
            state.since = Instant::now();
        }
        drop(state);
        next.into_iter().for_each(Waker::wake);
        more
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_crowd_comes_in_by_turns_and_nobody_is_forgotten() {
        let entrance = Entrance::default();
        entrance.0.lock().since = Instant::now() + Duration::from_secs(3600);

        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let entries: Vec<Entry> = (0..AT_ONCE * 2 + 5)
            .map(|_| entrance.enter(&waker))
            .collect();
        assert!(entries[..AT_ONCE].iter().all(|entry| *entry == Entry::Now));
        assert_eq!(entries[AT_ONCE], Entry::First);

        let rest = &entries[AT_ONCE + 1..];
        assert!(rest.iter().all(|entry| *entry == Entry::Queued));
        assert!(entrance.next_turn());
        assert_eq!(woken.0.load(Ordering::Relaxed), AT_ONCE);
        assert_eq!(entrance.enter(&waker), Entry::Queued);
        assert!(!entrance.next_turn());
        assert_eq!(woken.0.load(Ordering::Relaxed), AT_ONCE + 6);
        assert!(!entrance.next_turn());

        // The turn that emptied the queue has places left.
        let left = AT_ONCE - 6;
        entrance.0.lock().since = Instant::now() + Duration::from_secs(3600);
        assert!((0..left).all(|_| entrance.enter(&waker) == Entry::Now));
        assert_eq!(entrance.enter(&waker), Entry::First);
    }

    #[test]
    fn time_begins_a_turn_where_nobody_waits() {
        let entrance = Entrance::default();
        let waker = Waker::from(Arc::new(Count::default()));
        {
            let mut state = entrance.0.lock();
            state.left = 0;
            state.since = Instant::now()
                .checked_sub(TURN)
                .unwrap_or_else(Instant::now);
        }
        assert_eq!(entrance.enter(&waker), Entry::Now);
        assert_eq!(entrance.0.lock().left, AT_ONCE - 1);
    }
}
