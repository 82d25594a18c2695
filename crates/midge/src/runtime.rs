//! What runs in the background: listeners, connections, deadlines; and their end.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use midge_core::{Hub, Tick};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::ThreadHook;
use crate::clock::TimeSource;
use crate::driver::Driver;
use crate::entrance::{Entrance, Entry};
use crate::error::ConnectError;
use crate::outlet::Outlet;
use crate::transport::{Ends, Transport};

/// Time for connections to get their last bytes out before they are cut.
const CLOSE_TIME: Duration = Duration::from_secs(3);

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
                core.handle.spawn(async move { drop(work) });
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
    pub(crate) handle: Handle,
    /// No new connections; listeners end.
    pub(crate) closing: CancellationToken,
    /// Nobody is waited for any more.
    hurry: CancellationToken,
    /// Everything ends, now.
    abort: CancellationToken,
    tasks: TaskTracker,
    deadline: Arc<Notify>,
    work: Arc<Notify>,
    entrance: Entrance,
    beats: AtomicU64,
    /// A beat was asked for and has not come yet.
    beating: AtomicBool,
}

impl Core {
    pub(crate) fn new(hub: Arc<Hub>, time: TimeSource, handle: Handle) -> Arc<Self> {
        let core = Arc::new(Self {
            hub,
            time,
            handle,
            closing: CancellationToken::new(),
            hurry: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deadline: Arc::default(),
            work: Arc::default(),
            entrance: Entrance::default(),
            beats: AtomicU64::new(0),
            beating: AtomicBool::new(false),
        });
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
    pub(crate) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        self.tasks.spawn_on(
            async move {
                abort.run_until_cancelled_owned(task).await;
            },
            &self.handle,
        );
    }

    /// The result of a future, or `None` if the broker takes no more connections.
    pub(crate) async fn until_closing<F: Future>(&self, future: F) -> Option<F::Output> {
        self.closing.run_until_cancelled(future).await
    }

    /// Takes in a connection, if there is room.
    pub(crate) fn connect<T: Transport>(
        self: &Arc<Self>,
        (transport, direct): Ends<T>,
        peer: Arc<str>,
        listener: Arc<str>,
    ) -> bool {
        let outlet = Arc::new(Outlet::new(self.clone(), direct));
        let accepted = self
            .hub
            .accept(peer, listener, outlet.clone(), self.time.now());
        let Some(link) = accepted else { return false };
        let driver = Driver::new(transport, outlet, link);
        // It ends soon after its link, by itself: what could cut it would take memory all the time.
        self.tasks.spawn_on(driver, &self.handle);
        true
    }

    pub(crate) fn connect_checked<T: Transport>(
        self: &Arc<Self>,
        ends: Ends<T>,
        peer: &str,
    ) -> Result<(), ConnectError> {
        let accepted = !self.closing.is_cancelled() && self.connect(ends, peer.into(), peer.into());
        if accepted {
            Ok(())
        } else {
            Err(ConnectError::Refused)
        }
    }

    /// Fires deadlines as they come, by the system's clock.
    async fn keep_deadlines(self: Arc<Self>) {
        let ended = self.closing.clone();
        while !ended.is_cancelled() {
            let now = self.time.now();
            let wait = match self.hub.next_deadline() {
                Some(at) if at <= now => {
                    self.hub.fire(now);
                    tokio::task::yield_now().await;
                    continue;
                }
                Some(at) => Duration::from_millis(now.until(at)),
                None => Duration::from_secs(3600),
            };
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
        self.hub.shut_down(self.time.now());
        self.tasks.close();
        if tokio::time::timeout(CLOSE_TIME, self.tasks.wait())
            .await
            .is_err()
        {
            self.abort.cancel();
            self.tasks.wait().await;
        }
        self.hub.on_deadline(None);
        self.hub.on_work(None);
        self.hub.dispose();
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

    /// Beats so far; asks the runtime for another one.
    pub(crate) fn heartbeat(self: &Arc<Self>) -> u64 {
        if !self.is_closing() && !self.beating.swap(true, Ordering::AcqRel) {
            let core = self.clone();
            self.spawn(async move {
                core.beats.fetch_add(1, Ordering::Relaxed);
                core.beating.store(false, Ordering::Release);
            });
        }
        self.beats.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }
}

/// The threads of a broker that has a runtime of its own.
pub(crate) struct Background {
    handle: Handle,
    end: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ids: Vec<ThreadId>,
}

impl Background {
    /// Starts a runtime with this many threads, named `midge-0`, `midge-1`, ...
    pub(crate) fn start(threads: usize, hooks: &ThreadHook) -> io::Result<Self> {
        let end = CancellationToken::new();
        let runtime = if threads <= 1 {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
        } else {
            let started = hooks.clone();
            let stopped = hooks.clone();
            let number = std::sync::atomic::AtomicUsize::new(1);
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name_fn(move || format!("midge-{}", number.fetch_add(1, Ordering::Relaxed)))
                .on_thread_start(move || started.started())
                .on_thread_stop(move || stopped.stopped())
                .enable_all()
                .build()?
        };
        let handle = runtime.handle().clone();
        let token = end.clone();
        let hooks = hooks.clone();
        let thread = thread::Builder::new()
            .name("midge-0".into())
            .spawn(move || {
                hooks.started();
                runtime.block_on(token.cancelled());
                // Everything was waited for: nothing runs any more but the workers themselves.
                drop(runtime);
                hooks.stopped();
            })?;
        let ids = vec![thread.thread().id()];
        Ok(Self {
            handle,
            end,
            threads: Mutex::new(vec![thread]),
            ids,
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether the calling thread belongs to a runtime and must not wait for it.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.ids.contains(&thread::current().id())
            || Handle::try_current().is_ok_and(|handle| handle.id() == self.handle.id())
    }

    /// Tells the threads to end.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// What ends the threads, for use from one of them.
    pub(crate) fn ender(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Waits for the end of all threads.
    pub(crate) fn join(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a broker thread panicked");
            }
        }
    }
}
