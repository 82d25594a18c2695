//! The fate of a message that the host published.

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::drive;
use crate::sync::{Condvar, Mutex};
use crate::wakers::{Place, Wakers};

use crate::reason::DropReason;

/// The fate of a message at one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Written towards the client.
    Sent,
    /// Waiting in the session's queue.
    Queued,
    /// Not taken, and why.
    Dropped(DropReason),
}

impl Outcome {
    /// Its name in bindings: `sent`, `queued`, or that of the reason for the drop.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Queued => "queued",
            Self::Dropped(reason) => reason.name(),
        }
    }
}

/// Counts the receivers that have not finished with a message.
#[derive(Debug, Default)]
pub struct Tracker {
    open: AtomicUsize,
    waiting: Mutex<Wakers>,
    done: Condvar,
}

impl Tracker {
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn closed(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let wakers = self.waiting.lock().take();
            self.done.notify_all();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Keeps a receipt from being acknowledged as long as the hold exists.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.opened();

        Hold(self.clone())
    }

    fn is_done(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }
}

/// See [`Tracker::hold`].
#[derive(Debug)]
pub(crate) struct Hold(Arc<Tracker>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// The answer to a publish by the host: which sessions took the message, and when all of them are
/// done with it.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    pub(crate) outcomes: Vec<(Arc<str>, Outcome)>,
    pub(crate) matched: usize,
    pub(crate) tracker: Option<Arc<Tracker>>,
}

impl Receipt {
    /// Receivers that matched: sessions, one member for each shared group, subscriptions of the host.
    pub fn matched(&self) -> usize {
        self.matched
    }

    /// The outcome at each session, by client identifier.
    pub fn outcomes(&self) -> &[(Arc<str>, Outcome)] {
        &self.outcomes
    }

    /// Sessions that did not take the message.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, DropReason)> {
        self.outcomes
            .iter()
            .filter_map(|(id, outcome)| match outcome {
                Outcome::Dropped(reason) => Some((&**id, *reason)),
                Outcome::Sent | Outcome::Queued => None,
            })
    }

    /// Whether no session has a QoS 1 or 2 copy of it to acknowledge any more.
    pub fn is_acknowledged(&self) -> bool {
        self.tracker
            .as_ref()
            .is_none_or(|tracker| tracker.is_done())
    }

    /// Waits until all QoS 1 and 2 copies are acknowledged or dropped; `false` after `timeout`.
    /// Blocks the calling thread.
    pub fn wait_acknowledged(&self, timeout: Duration) -> bool {
        let Some(tracker) = &self.tracker else {
            return true;
        };
        let deadline = Instant::now().checked_add(timeout);
        if !tracker.is_done()
            && let Some(driver) = drive::driver()
        {
            return drive::drive_until(&*driver, self.acknowledged(), deadline).is_some();
        }

        let mut waiting = tracker.waiting.lock();
        while !tracker.is_done() {
            match deadline {
                Some(deadline) => {
                    if tracker.done.wait_until(&mut waiting, deadline).timed_out() {
                        return tracker.is_done();
                    }
                }
                None => tracker.done.wait(&mut waiting),
            }
        }
        true
    }

    /// Resolves when all QoS 1 and 2 copies are acknowledged or dropped, in any runtime: the
    /// asynchronous form of [`Receipt::wait_acknowledged`]. `receipt.await` is the same.
    pub fn acknowledged(&self) -> Acknowledged {
        Acknowledged {
            tracker: self.tracker.clone(),
            place: Place::default(),
        }
    }
}

impl IntoFuture for Receipt {
    type Output = ();
    type IntoFuture = Acknowledged;

    fn into_future(self) -> Acknowledged {
        self.acknowledged()
    }
}

impl IntoFuture for &Receipt {
    type Output = ();
    type IntoFuture = Acknowledged;

    fn into_future(self) -> Acknowledged {
        self.acknowledged()
    }
}

/// Resolves when a message of the host is acknowledged; made by [`Receipt::acknowledged`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct Acknowledged {
    tracker: Option<Arc<Tracker>>,
    place: Place,
}

impl Future for Acknowledged {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { tracker, place } = &mut *self;
        let Some(tracker) = tracker else {
            return Poll::Ready(());
        };
        let mut waiting = tracker.waiting.lock();
        if tracker.is_done() {
            return Poll::Ready(());
        }
        let before = waiting.wait(place, cx.waker());
        drop(waiting);

        drop(before);
        Poll::Pending
    }
}

impl Drop for Acknowledged {
    fn drop(&mut self) {
        if let Some(tracker) = &self.tracker
            && !self.place.is_empty()
        {
            let waker = tracker.waiting.lock().leave(&mut self.place);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wakers::tests::Count;

    fn poll(future: &mut Acknowledged, count: &Arc<Count>) -> Poll<()> {
        let waker = Waker::from(count.clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn a_receipt_is_done_when_every_receiver_is() {
        let tracker = Arc::new(Tracker::default());
        let receipt = Receipt {
            tracker: Some(tracker.clone()),
            ..Receipt::default()
        };
        assert!(receipt.is_acknowledged(), "no receivers");
        tracker.opened();
        tracker.opened();
        let hold = tracker.hold();
        let (gone, stays) = (Arc::<Count>::default(), Arc::<Count>::default());
        let mut future = receipt.acknowledged();
        for _ in 0..3 {
            assert!(poll(&mut future, &stays).is_pending());
            // Given up: it is not woken, and keeps nothing.
            assert!(poll(&mut receipt.acknowledged(), &gone).is_pending());
        }
        assert_eq!(Arc::strong_count(&gone), 1);
        assert_eq!(Arc::strong_count(&stays), 2);

        tracker.closed();
        tracker.closed();
        assert!(!receipt.is_acknowledged(), "it is held");
        assert!(!receipt.wait_acknowledged(Duration::ZERO));
        assert_eq!(stays.0.load(Ordering::Relaxed), 0);
        drop(hold);
        assert!(receipt.is_acknowledged());
        assert!(receipt.wait_acknowledged(Duration::ZERO));
        assert_eq!(stays.0.load(Ordering::Relaxed), 1);
        assert_eq!(gone.0.load(Ordering::Relaxed), 0);
        assert!(poll(&mut future, &stays).is_ready());
        assert_eq!(Arc::strong_count(&stays), 1);
    }

    #[test]
    fn drops_are_named_by_client() {
        let receipt = Receipt {
            outcomes: vec![
                ("a".into(), Outcome::Sent),
                ("b".into(), Outcome::Dropped(DropReason::QueueFull)),
                ("c".into(), Outcome::Queued),
                ("d".into(), Outcome::Dropped(DropReason::Expired)),
            ],
            matched: 4,
            tracker: None,
        };
        let dropped: Vec<_> = receipt.dropped().collect();
        let expected = [("b", DropReason::QueueFull), ("d", DropReason::Expired)];
        assert_eq!(dropped, expected);
        assert_eq!(receipt.outcomes().len(), receipt.matched());
        assert!(receipt.is_acknowledged(), "nothing was to be acknowledged");
    }
}
