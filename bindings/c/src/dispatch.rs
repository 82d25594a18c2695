//! The thread that calls back for each event of a queue, and the wait for its end.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::later::Scope;
use crate::life::Life;
use crate::prepare;

/// Longest wait for a thread whose callback has returned: it only needs a processor.
const ENDING: Duration = Duration::from_secs(10);

/// The dispatch thread of one queue, if there is one.
pub(crate) struct Dispatch {
    life: Arc<Life>,
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
    pub(crate) fn new(life: &Arc<Life>) -> Self {
        Self {
            life: life.clone(),
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
                let _scope = Scope::new();
                ending.progress.is_calling.store(true, Ordering::Relaxed);
                let delivered = catch_unwind(AssertUnwindSafe(|| deliver(item)));
                ending.progress.is_calling.store(false, Ordering::Relaxed);
                if let Err(panic) = delivered {
                    // Dropping what was thrown could throw again.
                    std::mem::forget(panic);
                    report_panic();
                }
            }

            // The host gets its own back before the end is told.
            drop(deliver);
            drop(ending);
        };

        *thread = Some(prepare::spawn("midge-dispatch", body)?);
        Ok(())
    }

    /// The moment until which its callback is waited for.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        self.life.patience_ends()
    }

    /// Waits for the end of the thread, for its callback until the deadline. Must not be called on the
    /// thread itself.
    pub(crate) fn join(&self, deadline: Option<Instant>) -> End {
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
