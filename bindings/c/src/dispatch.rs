//! The thread that calls back for each event of a queue, and the wait for its end.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::Poller;
use parking_lot::Mutex;

use crate::later::Scope;
use crate::life::Life;
use crate::prepare;

/// Longest wait for a thread whose callback has returned: it only needs a processor.
const ENDING: Duration = Duration::from_secs(10);
/// Items after which other tasks get their turn, where the host polls.
const CALLS: u32 = 16;

/// The dispatch thread of one queue, if there is one.
pub(crate) struct Dispatch {
    life: Arc<Life>,
    /// Of a broker without threads: what the host polls takes the place of the thread.
    poller: Option<Poller>,
    is_polled: AtomicBool,
    /// Held while the thread is joined, so that all others wait until it is really gone, too.
    thread: Mutex<Option<JoinHandle<()>>>,
    progress: Arc<Progress>,
    /// The callback has not returned in time: it is not waited for again.
    is_left: AtomicBool,
}

#[derive(Default)]
struct Progress {
    /// The callback of the host is under way.
    is_calling: AtomicBool,
    /// It was called for the last time.
    has_ended: AtomicBool,
}

/// Result of a wait for a dispatch thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The thread has ended, or there was none.
    Ended,
    /// Its callback does not return, and was left.
    Left,
    /// The same, and another wait has said so before.
    LeftBefore,
}

impl Dispatch {
    pub(crate) fn new(life: &Arc<Life>, poller: Option<Poller>) -> Self {
        Self {
            life: life.clone(),
            poller,
            is_polled: AtomicBool::new(false),
            thread: Mutex::new(None),
            progress: Arc::default(),
            is_left: AtomicBool::new(false),
        }
    }

    /// Starts the thread: it gives everything that `next` takes to `deliver`, until there is nothing
    /// more. A panic of `deliver` costs one item, and not the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start<T>(
        &self,
        next: impl Fn() -> Option<T> + Send + 'static,
        mut deliver: impl FnMut(T) + Send + 'static,
        report_panic: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let mut thread = self.thread.lock();
        let ending = Ending::new(&self.life, &self.progress);

        let body = move || {
            while let Some(item) = next() {
                deliver_one(&ending.progress, &mut deliver, item, &report_panic);
            }

            // The host gets its own back before the end is told.
            drop(deliver);
            drop(ending);
        };

        *thread = Some(prepare::spawn("midge-dispatch", body)?);
        Ok(())
    }

    /// Starts it where the host polls, as [`Dispatch::start`] does on a thread.
    pub(crate) fn start_polled<T: Send + 'static>(
        &self,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<T>> + Send + 'static,
        mut deliver: impl FnMut(T) + Send + 'static,
        report_panic: impl Fn() + Send + 'static,
    ) {
        let Some(poller) = &self.poller else { return };
        let ending = Ending::new(&self.life, &self.progress);
        self.is_polled.store(true, Ordering::Relaxed);

        // Moved in one after the other: if the task is dropped, the host gets its own back before the end is
        // told.
        poller.spawn(async move {
            let ending = ending;
            let mut deliver = move |item| deliver(item);
            let mut calls = 0_u32;
            while let Some(item) = poll_fn(&mut next).await {
                deliver_one(&ending.progress, &mut deliver, item, &report_panic);
                calls = calls.wrapping_add(1);
                if calls.is_multiple_of(CALLS) {
                    yield_once().await;
                }
            }
        });
    }

    /// The moment until which its callback is waited for.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        self.life.patience_ends()
    }

    /// Waits for the end of the thread, for its callback until the deadline. Must not be called on the
    /// thread itself.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> End {
        if self.is_polled.load(Ordering::Relaxed) {
            return self.join_polled(deadline);
        }
        if self.thread.lock().is_none() {
            return End::Ended;
        }

        let is_left = self.is_left.load(Ordering::Relaxed);
        let mut ended = self.life.wait_for(
            &self.progress.has_ended,
            if is_left {
                Some(Instant::now())
            } else {
                deadline
            },
        );
        if !ended && !self.progress.is_calling.load(Ordering::Relaxed) {
            let deadline = Instant::now().checked_add(ENDING);
            ended = self.life.wait_for(&self.progress.has_ended, deadline);
        }

        if !ended {
            return match self.is_left.swap(true, Ordering::Relaxed) {
                true => End::LeftBefore,
                false => End::Left,
            };
        }
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        End::Ended
    }

    /// As [`Dispatch::join`], where the host polls: this thread does it, or another one that is in a poll.
    fn join_polled(&self, deadline: Option<Instant>) -> End {
        let has_ended = || self.progress.has_ended.load(Ordering::Relaxed);
        let ended = match &self.poller {
            Some(poller) => poller.drive_until(deadline, has_ended),
            None => true,
        };
        match ended || !self.progress.is_calling.load(Ordering::Relaxed) {
            true => End::Ended,
            false if self.is_left.swap(true, Ordering::Relaxed) => End::LeftBefore,
            false => End::Left,
        }
    }
}

/// Calls back for one item. A panic of `deliver` costs this one.
fn deliver_one<T>(
    progress: &Progress,
    deliver: &mut impl FnMut(T),
    item: T,
    report_panic: &impl Fn(),
) {
    let _scope = Scope::new();
    progress.is_calling.store(true, Ordering::Relaxed);
    let delivered = catch_unwind(AssertUnwindSafe(|| deliver(item)));
    progress.is_calling.store(false, Ordering::Relaxed);
    if let Err(panic) = delivered {
        // Dropping what was thrown could throw again.
        std::mem::forget(panic);
        report_panic();
    }
}

/// Lets other tasks have their turn.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| match std::mem::replace(&mut has_yielded, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// A dispatch thread that the end of its broker waits for, until this is dropped.
struct Ending {
    life: Arc<Life>,
    progress: Arc<Progress>,
}

impl Ending {
    fn new(life: &Arc<Life>, progress: &Arc<Progress>) -> Self {
        progress.has_ended.store(false, Ordering::Relaxed);
        life.dispatch_begins();
        Self {
            life: life.clone(),
            progress: progress.clone(),
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.life.dispatch_ends(&self.progress.has_ended);
    }
}
