//! A bounded queue between the broker and its host: for in-process subscriptions and events.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::bounded::{Bounded, QueueLimits};
use crate::drive;
use crate::sync::{Condvar, Mutex};
use crate::wakers::{Place, Wakers};

/// The queue is closed and empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// Nothing came in time.
    Timeout,
    /// The queue is closed and empty.
    Closed,
}

impl std::fmt::Display for RecvError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Timeout => "nothing came in time",
            Self::Closed => "the broker has stopped",
        })
    }
}

impl std::error::Error for RecvError {}

type OnReady = Arc<dyn Fn() + Send + Sync>;

struct Inner<T> {
    items: Bounded<T>,
    wakers: Wakers,
    on_ready: Option<OnReady>,
    /// Threads have waited since the last wake-up.
    sleepers: bool,
    closed: bool,
}

/// A bounded queue that never blocks a push. Dropped items are counted.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
    lost: AtomicU64,
    closed: AtomicBool,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: Bounded::new(limits),
                wakers: Wakers::default(),
                on_ready: None,
                sleepers: false,
                closed: false,
            }),
            ready: Condvar::new(),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Appends an item of that many bytes. Gives the number of items lost by it and whether
    /// [`Queue::wake`] must be called (once all is pushed, with no lock held).
    pub(crate) fn push(&self, item: T, bytes: usize) -> (usize, bool) {
        let mut dropped = Vec::new();
        let mut inner = self.inner.lock();
        if inner.closed {
            return (0, false);
        }

        let is_taken = inner.items.push(item, bytes, &mut dropped);

        let awaited =
            is_taken && (inner.sleepers || !inner.wakers.is_empty() || inner.on_ready.is_some());
        drop(inner);
        if !dropped.is_empty() {
            self.lost.fetch_add(dropped.len() as u64, Ordering::Relaxed);
        }

        (dropped.len(), awaited)
    }

    /// Wakes the threads and tasks that wait.
    pub(crate) fn wake(&self) {
        let mut inner = self.inner.lock();
        let wakers = inner.wakers.take();
        let on_ready = inner.on_ready.clone();
        let sleepers = std::mem::take(&mut inner.sleepers);
        drop(inner);
        if sleepers {
            self.ready.notify_all();
        }
        wakers.into_iter().for_each(Waker::wake);
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }

    /// Takes the next item if there is one.
    pub fn try_recv(&self) -> Result<Option<T>, Closed> {
        let mut inner = self.inner.lock();
        match inner.items.pop() {
            Some((item, ())) => Ok(Some(item)),
            None if inner.closed => Err(Closed),
            None => Ok(None),
        }
    }

    /// Moves up to `max` items to the end of `into`; the number moved.
    pub fn drain_into(&self, into: &mut Vec<T>, max: usize) -> Result<usize, Closed> {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() && inner.closed {
            return Err(Closed);
        }
        Ok(inner.items.drain_into(into, max))
    }

    /// Takes the next item, waiting for it up to `timeout` (`None`: as long as it takes). Blocks
    /// the calling thread.
    pub fn recv_timeout(&self, timeout: Option<Duration>) -> Result<T, RecvError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut inner = self.inner.lock();

        loop {
            if let Some((item, ())) = inner.items.pop() {
                return Ok(item);
            }
            if inner.closed {
                return Err(RecvError::Closed);
            }
            if let Some(driver) = drive::driver() {
                drop(inner);
                return match drive::drive_until(&*driver, self.recv(), deadline) {
                    Some(received) => received.map_err(|Closed| RecvError::Closed),
                    None => Err(RecvError::Timeout),
                };
            }
            inner.sleepers = true;
            let timed_out = match deadline {
                Some(deadline) => self.ready.wait_until(&mut inner, deadline).timed_out(),
                None => {
                    self.ready.wait(&mut inner);
                    false
                }
            };
            if timed_out && inner.items.is_empty() {
                return Err(if inner.closed {
                    RecvError::Closed
                } else {
                    RecvError::Timeout
                });
            }
        }
    }

    /// Resolves to the next item. Several tasks may wait; dropping the future ends its waiting.
    pub fn recv(&self) -> Recv<'_, T> {
        Recv {
            queue: self,
            waiting: Waiting::default(),
        }
    }

    /// Takes the next item, or has the task woken when there is one. `waiting` belongs to one waiter
    /// and to this queue, which has at most one waker of it; [`Queue::stop_waiting`] ends that.
    pub fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
    ) -> Poll<Result<T, Closed>> {
        let mut inner = self.inner.lock();
        if let Some((item, ())) = inner.items.pop() {
            return Poll::Ready(Ok(item));
        }
        if inner.closed {
            return Poll::Ready(Err(Closed));
        }
        let before = inner.wakers.wait(&mut waiting.0, cx.waker());
        drop(inner);

        drop(before);
        Poll::Pending
    }

    /// Ends what [`Queue::poll_recv`] has begun.
    pub fn stop_waiting(&self, waiting: &mut Waiting) {
        if !waiting.0.is_empty() {
            let waker = self.inner.lock().wakers.leave(&mut waiting.0);
            drop(waker);
        }
    }

    /// Calls `notify` after each batch of items, on the thread that brought it, and when the queue
    /// closes; `None` ends that. For bridging to another event loop. It must not block.
    pub fn set_on_ready(&self, notify: Option<OnReady>) {
        let (ready, before) = {
            let mut inner = self.inner.lock();
            let kept = notify.clone().filter(|_| !inner.closed);
            let before = std::mem::replace(&mut inner.on_ready, kept);
            (!inner.items.is_empty() || inner.closed, before)
        };
        drop(before);
        if let (true, Some(notify)) = (ready, notify) {
            notify();
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.inner.lock().items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items dropped because the queue was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Whether it was closed; items may still wait.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it: nothing is taken in any more, items that wait can still be received. A function
    /// set with [`Queue::set_on_ready`] is called for the last time and let go of.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.closed.store(true, Ordering::Release);
        self.wake();

        let on_ready = self.inner.lock().on_ready.take();
        drop(on_ready);
    }
}

/// A task that waits for a [`Queue`].
#[derive(Debug, Default)]
pub struct Waiting(Place);

/// Resolves to the next item of a [`Queue`]; made by [`Queue::recv`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Recv<'a, T> {
    queue: &'a Queue<T>,
    waiting: Waiting,
}

impl<T> Future for Recv<'_, T> {
    type Output = Result<T, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let queue = self.queue;
        queue.poll_recv(cx, &mut self.waiting)
    }
}

impl<T> Drop for Recv<'_, T> {
    fn drop(&mut self) {
        self.queue.stop_waiting(&mut self.waiting);
    }
}

impl<T> std::fmt::Debug for Recv<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recv").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("limits", self.inner.lock().items.limits())
            .field("lost", &self.lost())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::QueueOverflow;

    fn queue(items: usize, bytes: usize, overflow: QueueOverflow) -> Queue<u32> {
        Queue::new(QueueLimits {
            items,
            bytes,
            overflow,
        })
    }

    #[test]
    fn the_oldest_gives_way() {
        let queue = queue(2, 100, QueueOverflow::DropOldest);
        for n in 0..4 {
            queue.push(n, 1);
        }
        assert_eq!(queue.lost(), 2);
        assert_eq!(queue.try_recv(), Ok(Some(2)));
        assert_eq!(queue.try_recv(), Ok(Some(3)));
        assert_eq!(queue.try_recv(), Ok(None));
    }

    #[test]
    fn the_newest_gives_way() {
        let queue = queue(2, 100, QueueOverflow::DropNewest);
        for n in 0..4 {
            queue.push(n, 1);
        }
        assert_eq!((queue.lost(), queue.try_recv()), (2, Ok(Some(0))));
    }

    #[test]
    fn bytes_are_bounded_but_one_item_always_fits() {
        let queue = queue(10, 10, QueueOverflow::DropOldest);
        queue.push(1, 50);
        assert_eq!(queue.len(), 1);
        queue.push(2, 5);
        queue.push(3, 5);
        assert_eq!((queue.len(), queue.lost()), (2, 1));
    }

    #[test]
    fn closing_lets_the_rest_be_read() {
        let queue = queue(10, 10, QueueOverflow::DropOldest);
        queue.push(1, 0);
        queue.close();
        queue.push(2, 0);
        assert_eq!(queue.recv_timeout(None), Ok(1));
        assert_eq!(queue.recv_timeout(None), Err(RecvError::Closed));
    }

    #[test]
    fn many_waits_that_were_given_up_cost_nothing() {
        let queue = queue(10, 10, QueueOverflow::DropOldest);
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = |waits: usize| {
            for _ in 0..waits {
                let mut recv = std::pin::pin!(queue.recv());
                assert!(recv.as_mut().poll(&mut context).is_pending());
                assert!(recv.as_mut().poll(&mut context).is_pending());
                assert_eq!(queue.inner.lock().wakers.places(), 1);
            }
        };
        waits(100);
        assert!(queue.inner.lock().wakers.is_empty());
        assert_eq!(queue.push(1, 0), (0, false));
        let next = std::pin::pin!(queue.recv()).poll(&mut context);
        assert_eq!(next, Poll::Ready(Ok(1)));
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let queue = Arc::new(queue(10, 10, QueueOverflow::DropOldest));
        let reader = std::thread::spawn({
            let queue = queue.clone();
            move || queue.recv_timeout(None)
        });
        queue.push(7, 0);
        queue.wake();
        assert_eq!(reader.join().unwrap(), Ok(7));
    }

    #[test]
    fn whatever_takes_an_item_gives_its_bytes_back() {
        let mut context = Context::from_waker(Waker::noop());

        for way in 0..4 {
            let queue = queue(10, 30, QueueOverflow::DropOldest);
            for round in 0..10 {
                // Three of ten bytes fit, and a fourth does not.
                for n in 0..4 {
                    let (lost, _) = queue.push(n, 10);
                    assert_eq!(lost, usize::from(n == 3), "way {way}, round {round}");
                }
                assert_eq!(queue.inner.lock().items.bytes(), 30);
                let mut taken = Vec::new();
                while taken.len() < 3 {
                    match way {
                        0 => taken.extend(queue.try_recv().unwrap()),
                        1 => taken.push(queue.recv_timeout(None).unwrap()),
                        2 => assert!(queue.drain_into(&mut taken, 2).unwrap() > 0),
                        _ => match std::pin::pin!(queue.recv()).poll(&mut context) {
                            Poll::Ready(item) => taken.push(item.unwrap()),
                            Poll::Pending => panic!("an item waits"),
                        },
                    }
                }
                assert_eq!(taken, [1, 2, 3]);
                assert_eq!(queue.inner.lock().items.bytes(), 0, "way {way}");
            }
            assert_eq!(queue.lost(), 10);
        }
    }

    #[test]
    fn a_push_says_whether_anything_waits_for_it() {
        let queue = queue(10, 100, QueueOverflow::DropOldest);
        assert_eq!(queue.push(0, 0), (0, false));
        queue.try_recv().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = std::pin::pin!(queue.recv());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        assert_eq!(queue.push(1, 0), (0, true), "a task");
        assert_eq!(waits.poll(&mut context), Poll::Ready(Ok(1)));

        let called = Arc::new(AtomicU64::new(0));
        let calls = called.clone();
        queue.set_on_ready(Some(Arc::new(move || {
            calls.fetch_add(1, Ordering::Relaxed);
        })));
        assert_eq!(
            called.load(Ordering::Relaxed),
            0,
            "nothing waits to be taken"
        );
        assert_eq!(queue.push(2, 0), (0, true), "a function");
        queue.wake();
        assert_eq!(called.load(Ordering::Relaxed), 1);
        queue.set_on_ready(None);
        assert_eq!(queue.push(3, 0), (0, false));
        queue.wake();
        assert_eq!(called.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&called), 1);

        // Items that wait already, and the end, are told of at once.
        for expected in [2, 3] {
            let calls = called.clone();
            queue.set_on_ready(Some(Arc::new(move || {
                calls.fetch_add(1, Ordering::Relaxed);
            })));
            assert_eq!(called.load(Ordering::Relaxed), expected);
            queue.try_recv().unwrap();
        }
        queue.close();
        assert_eq!(called.load(Ordering::Relaxed), 4);
        assert_eq!(Arc::strong_count(&called), 1, "let go of at the end");
        assert_eq!(queue.push(4, 0), (0, false));
        assert_eq!(queue.try_recv(), Err(Closed));
        assert_eq!(queue.drain_into(&mut Vec::new(), 1), Err(Closed));
    }

    #[test]
    fn a_thread_that_is_woken_for_nothing_waits_on() {
        let queue = Arc::new(queue(10, 10, QueueOverflow::DropOldest));
        let reader = std::thread::spawn({
            let queue = queue.clone();
            move || queue.recv_timeout(None)
        });

        for _ in 0..3 {
            while !queue.inner.lock().sleepers {
                assert!(!reader.is_finished(), "it has returned without an item");
                std::thread::yield_now();
            }
            queue.wake();
        }

        assert!(queue.is_empty());
        queue.push(7, 0);
        queue.wake();
        assert_eq!(reader.join().unwrap(), Ok(7));
        queue.push(8, 0);
        assert!(!queue.is_empty());
    }
}
