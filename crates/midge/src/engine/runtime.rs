//! What runs in the background: listeners, connections, deadlines; and their end.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use midge_core::{Hub, Tick};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::workers::Runtimes;
use crate::clock::TimeSource;
use crate::connection::admission::{Entrance, Entry};
use crate::connection::read_buffer::ReadBuffer;

/// Time for connections to get their last bytes out before they are cut.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Lateness, in milliseconds, at which the deadline task assumes a pause: of the process, of the
/// machine, or of its thread. Others were paused, too.
const PAUSED_MS: u64 = 1000;
/// Delay of deadlines after a pause, in which connections in the backlog of a listener are accepted and
/// other threads answer hooks.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Has work done soon on a thread of the broker, with nothing locked. For whoever is called where
/// he must not call the broker, such as when the last owner of a payload lets go of it. Cheap to
/// clone, and without influence on the broker's life.
#[derive(Clone)]
pub struct Later(Weak<Core>);

impl Later {
    /// Does `work` soon, and once in any case: at once, on this thread, if the broker's runtime has
    /// ended. It must not block. Never blocks.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) {
        let work = InAnyCase(Some(work));
        match self.0.upgrade() {
            Some(core) => {
                core.runtimes.first().spawn(async move { drop(work) });
            }
            None => drop(work),
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Later")
    }
}

struct InAnyCase<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> InAnyCase<F> {
    /// It is not to be done after all.
    fn cancel(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for InAnyCase<F> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

/// What all tasks of a broker share.
pub(crate) struct Core {
    pub(crate) hub: Arc<Hub>,
    pub(crate) time: TimeSource,
    pub(crate) runtimes: Runtimes,
    /// No new connections; listeners end.
    pub(crate) closing: CancellationToken,
    /// Nobody is waited for any more.
    hurry: CancellationToken,
    /// Output that a transport does not accept at once is dropped.
    pub(crate) cut: CancellationToken,
    /// Everything ends, now.
    abort: CancellationToken,
    tasks: TaskTracker,
    deadline: Arc<Notify>,
    work: Arc<Notify>,
    entrance: Entrance,
    beats: AtomicU64,
    /// Threads that were asked for a beat and have not answered yet.
    silent: AtomicUsize,
}

impl Core {
    pub(crate) fn new(hub: Arc<Hub>, time: TimeSource, runtimes: Runtimes) -> Arc<Self> {
        let core = Arc::new(Self {
            hub,
            time,
            runtimes,
            closing: CancellationToken::new(),
            hurry: CancellationToken::new(),
            cut: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deadline: Arc::default(),
            work: Arc::default(),
            entrance: Entrance::default(),
            beats: AtomicU64::new(0),
            silent: AtomicUsize::new(0),
        });

        super::warnings::log_replaced_codes(&core.hub);

        let work = core.work.clone();
        core.hub.on_work(Some(Arc::new(move || work.notify_one())));
        core.spawn(core.clone().do_work());
        if let TimeSource::System(_) = core.time {
            let deadline = core.deadline.clone();
            core.hub
                .on_deadline(Some(Arc::new(move || deadline.notify_one())));
            core.spawn(core.clone().keep_deadlines());
        }

        core
    }

    /// Runs a task that is waited for at the end, and cut if it takes too long.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(self.runtimes.first(), task);
    }

    fn spawn_on(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn_on(
            async move {
                abort.run_until_cancelled_owned(task).await;
            },
            runtime,
        );
    }

    /// Runs the task of a connection, which is waited for at the end. It ends soon after its link, by
    /// itself: what could cut it would take memory all the time.
    pub(crate) fn spawn_connection(
        &self,
        runtime: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn_on(task, runtime);
    }

    /// The result of a future, or `None` if the broker takes no more connections.
    pub(crate) async fn until_closing<F: Future>(&self, future: F) -> Option<F::Output> {
        self.closing.run_until_cancelled(future).await
    }

    /// Fires deadlines as they come, by the system's clock.
    async fn keep_deadlines(self: Arc<Self>) {
        let ended = self.closing.clone();
        let mut expected = self.time.now();
        while !ended.is_cancelled() {
            let now = self.time.now();
            if expected.until(now) >= PAUSED_MS {
                expected = now.after(CATCH_UP);
                self.until_closing(tokio::time::sleep(CATCH_UP)).await;
                continue;
            }

            let wait = match self.hub.next_deadline() {
                Some(at) if at <= now => {
                    self.hub.fire_some(now);
                    expected = now;
                    tokio::task::yield_now().await;
                    continue;
                }
                Some(at) => Duration::from_millis(now.until(at)),
                None => Duration::from_secs(3600),
            };

            expected = now.after(wait);
            let changed = self.deadline.notified();
            let _ = self
                .until_closing(tokio::time::timeout(wait, changed))
                .await;
        }
    }

    /// Whether a connection may handle its first bytes now; it is woken when it may.
    pub(crate) fn may_enter(&self, waker: &Waker) -> bool {
        if self.closing.is_cancelled() {
            return true; // to be told so
        }
        let entry = self.entrance.enter(waker);
        if entry == Entry::First {
            self.work.notify_one();
        }
        entry == Entry::Now
    }

    /// Does what nobody waits for, and lets in who waits, a little at a time.
    async fn do_work(self: Arc<Self>) {
        loop {
            let asked = self.work.notified();
            while self.hub.work() | self.entrance.next_turn() {
                tokio::task::yield_now().await;
            }
            if self.until_closing(asked).await.is_none() {
                while self.entrance.next_turn() {}
                return;
            }
        }
    }

    /// Ends everything: listeners first, then (after draining) connections, then what is left.
    pub(crate) async fn shut_down(self: &Arc<Self>, drain: Option<Duration>) {
        self.closing.cancel();
        if let Some(drain) = drain {
            let settled = async {
                while !self.hub.is_settled() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let drained = tokio::time::timeout(drain, settled);
            let _ = self.hurry.run_until_cancelled(drained).await;
        }

        self.cut.cancel();
        self.hub.shut_down(self.time.now());
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIME, self.tasks.wait())
            .await
            .is_err()
        {
            self.abort.cancel();
            self.tasks.wait().await;
        }
        self.let_go();
    }

    fn let_go(&self) {
        self.hub.on_deadline(None);
        self.hub.on_work(None);
        self.hub.dispose(self.time.now());
        ReadBuffer::drop_spares();
    }

    /// Ends everything as [`Core::shut_down`] does, on the broker's runtime, and calls `then`; in any
    /// case, and if it must be without the runtime.
    pub(crate) fn end_soon(
        self: &Arc<Self>,
        drain: Option<Duration>,
        then: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<()> {
        let core = self.clone();
        let then = InAnyCase(Some(then));
        let cut = InAnyCase(Some({
            let core = self.clone();
            move || {
                if !std::thread::panicking() {
                    core.end_here();
                }
            }
        }));

        self.runtimes.first().spawn(async move {
            core.shut_down(drain).await;
            cut.cancel();
            drop(then);
        })
    }

    /// Ends everything as far as that goes without the runtime, which gets the rest if it is driven.
    pub(crate) fn end_without_waiting(self: &Arc<Self>) {
        if !midge_core::is_in_hook() {
            self.end_here();
        }
        drop(self.end_soon(None, || ()));
    }

    /// Tells all connections to end, and lets go of everything that is not theirs.
    fn end_here(&self) {
        self.closing.cancel();
        self.cut.cancel();
        self.tasks.close();
        self.hub.shut_down(self.time.now());
        self.let_go();
    }

    pub(crate) fn hurry(&self) {
        self.hurry.cancel();
    }

    pub(crate) fn later(self: &Arc<Self>) -> Later {
        Later(Arc::downgrade(self))
    }

    pub(crate) fn now(&self) -> Tick {
        self.time.now()
    }

    /// Beats so far; asks all threads for another one.
    pub(crate) fn heartbeat(self: &Arc<Self>) -> u64 {
        let threads = self.runtimes.all().count();
        let ask = |silent: usize| (silent == 0 && !self.is_closing()).then_some(threads);
        if (self.silent)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, ask)
            .is_ok()
        {
            for home in self.runtimes.all() {
                let core = self.clone();
                self.spawn_on(&home.runtime, async move { core.beat() });
            }
        }
        self.beats.load(Ordering::Relaxed)
    }

    /// A thread is alive. The last one to say so raises the number.
    fn beat(&self) {
        if self.silent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }
}
