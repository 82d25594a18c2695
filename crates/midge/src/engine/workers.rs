//! Where tasks run: the runtime of the host, or threads of the broker's own.
//!
//! Each thread has a runtime to itself, and a connection stays on the thread where it began. That
//! costs less than one runtime on several threads, which hands its tasks from one to another: the
//! threads do not wake each other, and what a connection touches stays in one cache.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use super::HostLoop;
use crate::connection::Wakeups;
use crate::timers::Timers;

/// Bytes of stack for a thread of a broker, whatever `RUST_MIN_STACK` says: that belongs to the host.
pub const THREAD_STACK: usize = 2 << 20;

/// A runtime, and what the connections on it have in common.
pub(crate) struct Worker {
    pub(crate) runtime: Handle,
    pub(super) wakeups: Arc<Wakeups>,
    /// The host drives the runtime.
    host: Option<Arc<HostLoop>>,
}

impl Worker {
    fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            wakeups: Arc::default(),
            host: None,
        })
    }

    /// Runs a task.
    pub(super) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        match &self.host {
            None => self.runtime.spawn(task),
            Some(host) => host.spawn(task),
        }
    }
}

/// The runtimes that tasks run on, at least one.
#[derive(Clone)]
pub(crate) struct Workers {
    first: Arc<Worker>,
    others: Arc<[Arc<Worker>]>,
}

impl Workers {
    pub(crate) fn of_host(handle: Handle) -> Self {
        Self {
            first: Worker::new(handle),
            others: Arc::default(),
        }
    }

    /// That of a runtime which the host drives.
    pub(crate) fn of_loop(host: Arc<HostLoop>) -> Self {
        let first = Worker {
            runtime: host.runtime().clone(),
            wakeups: Arc::default(),
            host: Some(host),
        };
        Self {
            first: Arc::new(first),
            others: Arc::default(),
        }
    }

    /// The one of everything but connections.
    pub(crate) fn first(&self) -> &Worker {
        &self.first
    }

    /// The loop of a broker without threads.
    pub(crate) fn host(&self) -> Option<&Arc<HostLoop>> {
        self.first.host.as_ref()
    }

    /// Where its tasks wait for a moment.
    pub(super) fn timers(&self) -> Timers {
        match self.host() {
            None => Timers::Runtime,
            Some(host) => Timers::Host(host.alarms().clone()),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Worker>> {
        std::iter::once(&self.first).chain(self.others.iter())
    }

    /// The one with the fewest tasks: the place of a new connection.
    pub(crate) fn emptiest(&self) -> &Arc<Worker> {
        if self.others.is_empty() {
            return &self.first;
        }
        self.all()
            .min_by_key(|worker| worker.runtime.metrics().num_alive_tasks())
            .unwrap_or(&self.first)
    }

    /// Whether the calling thread works for one of them.
    fn is_here(&self) -> bool {
        Handle::try_current()
            .is_ok_and(|here| self.all().any(|worker| worker.runtime.id() == here.id()))
    }
}

type OnThread = Arc<dyn Fn() + Send + Sync>;

/// What to run at the start and the end of each broker thread.
#[derive(Clone, Default)]
pub(crate) struct ThreadHook {
    start: Option<OnThread>,
    stop: Option<OnThread>,
}

impl ThreadHook {
    pub(crate) fn new(
        start: impl Fn() + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            start: Some(Arc::new(start)),
            stop: Some(Arc::new(stop)),
        }
    }

    fn started(&self) {
        if let Some(run) = &self.start {
            run();
        }
    }

    fn stopped(&self) {
        if let Some(run) = &self.stop {
            run();
        }
    }
}

/// The threads of a broker that has runtimes of its own.
pub(crate) struct Background {
    workers: Workers,
    end: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Closed by the threads when they have finished.
    alive: Mutex<Receiver<()>>,
    /// Threads inside the host's function for their end.
    leaving: Arc<AtomicUsize>,
    ids: Vec<ThreadId>,
}

impl Background {
    /// Starts this many threads, at least one, named `midge-0`, `midge-1`, ...
    pub(crate) fn start(count: usize, hooks: &ThreadHook) -> io::Result<Self> {
        let (first, handle) = ThreadRuntime::new()?;
        let (others, handles): (Vec<ThreadRuntime>, Vec<Handle>) = (1..count)
            .map(|_| ThreadRuntime::new())
            .collect::<io::Result<_>>()?;
        let (lives, alive) = mpsc::channel::<()>();
        let mut background = Self {
            workers: Workers {
                first: Worker::new(handle),
                others: handles.into_iter().map(Worker::new).collect(),
            },
            end: CancellationToken::new(),
            threads: Mutex::default(),
            alive: Mutex::new(alive),
            leaving: Arc::default(),
            ids: Vec::with_capacity(count),
        };

        for (number, runtime) in std::iter::once(first).chain(others).enumerate() {
            let (end, hooks) = (background.end.clone(), hooks.clone());
            let (lives, leaving) = (lives.clone(), background.leaving.clone());
            let thread = thread::Builder::new()
                .name(format!("midge-{number}"))
                .stack_size(THREAD_STACK)
                .spawn(move || {
                    let _lives = lives;
                    prepare_thread();
                    hooks.started();
                    runtime.run(&end);
                    leaving.fetch_add(1, Ordering::Relaxed);
                    hooks.stopped();
                    leaving.fetch_sub(1, Ordering::Relaxed);
                })
                .inspect_err(|_| {
                    background.end();
                    background.join_all();
                })?;
            background.ids.push(thread.thread().id());
            background.threads.get_mut().push(thread);
        }

        Ok(background)
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Whether the calling thread belongs to a runtime and must not wait for it.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.ids.contains(&thread::current().id()) || self.workers.is_here()
    }

    /// Tells the threads to end.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// Token that stops the threads; may be cancelled from one of them.
    pub(crate) fn end_token(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Waits for the end of all threads: `patience` for the host's function at their end, and `ending`
    /// more if none is inside it. Returns whether they have ended.
    pub(crate) fn join(&self, patience: Duration, ending: Duration) -> bool {
        let alive = self.alive.lock();
        let mut ended = alive.recv_timeout(patience);
        if ended == Err(RecvTimeoutError::Timeout) && self.leaving.load(Ordering::Relaxed) == 0 {
            ended = alive.recv_timeout(ending);
        }
        drop(alive);
        let has_ended = ended == Err(RecvTimeoutError::Disconnected);
        if has_ended {
            self.join_all();
        }
        has_ended
    }

    fn join_all(&self) {
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a broker thread panicked");
            }
        }
    }
}

/// Initializes the calling thread's local values that have a destructor, which is registered at their
/// first use. The system's loader may have to take a lock for that, and a host may end its broker while
/// it holds that lock, in a destructor. So a thread that a broker's end waits for must not meet the lock
/// then: a thread of the broker's own, or one that a binding adds.
pub fn prepare_thread() {
    midge_core::prepare_thread();
    crate::connection::prepare_thread();

    // The first wait registers what a thread that waits for a lock needs.
    let _ = Condvar::new().wait_for(&mut Mutex::new(()).lock(), Duration::ZERO);
}

/// A runtime for one thread.
struct ThreadRuntime(Option<Runtime>);

impl ThreadRuntime {
    fn new() -> io::Result<(Self, Handle)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok((Self(Some(runtime)), handle))
    }

    /// Runs everything on the calling thread until the end.
    fn run(mut self, end: &CancellationToken) {
        if let Some(runtime) = self.0.take() {
            // As in `prepare_thread`: the runtime's own end waits with what this makes.
            runtime.handle().block_on(async {});

            // All tasks are waited for before the end.
            runtime.block_on(end.cancelled());
        }
    }
}

impl Drop for ThreadRuntime {
    fn drop(&mut self) {
        // The thread for it could not be started, and this one may belong to a runtime of the host,
        // which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
