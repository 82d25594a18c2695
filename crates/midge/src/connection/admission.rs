//! Paces connections that come all at once: a few handle their first bytes in each turn, so that other
//! connections get theirs in between. A runtime serves its tasks in the order in which they were woken.

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
pub(crate) struct Admission(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Places that are left in this turn while the queue is empty.
    left: usize,
    /// The beginning of this turn.
    since: Instant,
    queue: VecDeque<Waker>,
}

/// Whether a connection may handle its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It may.
    Now,
    /// It is woken when it may.
    Queued,
    /// As [`Admitted::Queued`], and the queue was empty: [`Admission::next_turn`] must be called soon.
    First,
}

impl Default for Admission {
    fn default() -> Self {
        Self(Mutex::new(State {
            left: AT_ONCE,
            since: Instant::now(),
            queue: VecDeque::new(),
        }))
    }
}

impl Admission {
    /// Admits a connection, or puts it at the end of the queue.
    pub(super) fn request(&self, waker: &Waker) -> Admitted {
        let mut state = self.0.lock();
        if state.queue.is_empty() {
            if state.left == 0 && state.since.elapsed() >= TURN {
                state.left = AT_ONCE;
                state.since = Instant::now();
            }
            if state.left > 0 {
                state.left -= 1;
                return Admitted::Now;
            }
        }

        state.queue.push_back(waker.clone());
        match state.queue.len() {
            1 => Admitted::First,
            _ => Admitted::Queued,
        }
    }

    /// Wakes the next connections of the queue. Returns whether more are left in it.
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
    fn a_crowd_is_admitted_by_turns_and_no_connection_is_forgotten() {
        let admission = Admission::default();
        admission.0.lock().since = Instant::now() + Duration::from_secs(3600);

        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let answers: Vec<Admitted> = (0..AT_ONCE * 2 + 5)
            .map(|_| admission.request(&waker))
            .collect();
        assert!(
            answers[..AT_ONCE]
                .iter()
                .all(|answer| *answer == Admitted::Now)
        );
        assert_eq!(answers[AT_ONCE], Admitted::First);

        let rest = &answers[AT_ONCE + 1..];
        assert!(rest.iter().all(|answer| *answer == Admitted::Queued));
        assert!(admission.next_turn());
        assert_eq!(woken.0.load(Ordering::Relaxed), AT_ONCE);
        assert_eq!(admission.request(&waker), Admitted::Queued);
        assert!(!admission.next_turn());
        assert_eq!(woken.0.load(Ordering::Relaxed), AT_ONCE + 6);
        assert!(!admission.next_turn());

        // The turn that emptied the queue has places left.
        let left = AT_ONCE - 6;
        admission.0.lock().since = Instant::now() + Duration::from_secs(3600);
        assert!((0..left).all(|_| admission.request(&waker) == Admitted::Now));
        assert_eq!(admission.request(&waker), Admitted::First);
    }

    #[test]
    fn time_begins_a_turn_while_the_queue_is_empty() {
        let admission = Admission::default();
        let waker = Waker::from(Arc::new(Count::default()));
        {
            let mut state = admission.0.lock();
            state.left = 0;
            state.since = Instant::now()
                .checked_sub(TURN)
                .unwrap_or_else(Instant::now);
        }
        assert_eq!(admission.request(&waker), Admitted::Now);
        assert_eq!(admission.0.lock().left, AT_ONCE - 1);
    }
}
