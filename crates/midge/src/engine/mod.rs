//! What runs in the background: worker threads, listeners, deadlines; and their end.

mod accept;
mod host_loop;
mod later;
mod listeners;
mod stop;
mod warnings;
mod workers;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use midge_core::Hub;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::TimeSource;
use crate::connection::{Context, Driver, ReadBuffer};
use crate::listener::Incoming;
use crate::observe::Spawner;
use crate::transport::Transport;
use later::RunOnDrop;

pub(crate) use accept::Accept;
pub(crate) use host_loop::HostLoop;
pub use later::Later;
pub(crate) use listeners::Listeners;
pub(crate) use stop::BrokerState;
pub use stop::Stop;
pub(crate) use workers::{Background, ThreadHook, Worker, Workers};
pub use workers::{THREAD_STACK, prepare_thread};

/// Time for connections to get their last bytes out before they are cut.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Lateness, in milliseconds, at which the deadline task assumes a pause: of the process, of the
/// machine, or of its thread. Others were paused, too.
const PAUSED_MS: u64 = 1000;
/// Delay of deadlines after a pause, in which connections in the backlog of a listener are accepted and
/// other threads answer hooks.
const CATCH_UP: Duration = Duration::from_millis(500);

/// The tasks of a broker, from the first to the last.
pub(crate) struct Engine {
    pub(crate) context: Arc<Context>,
    pub(crate) workers: Workers,
    /// Ends a drain early.
    hurry: CancellationToken,
    /// Everything ends, now.
    abort: CancellationToken,
    tasks: TaskTracker,
    /// An earlier deadline has been armed.
    deadline: Arc<Notify>,
    beats: AtomicU64,
    /// Threads that were asked for a beat and have not answered yet.
    silent: AtomicUsize,
}

impl Engine {
    pub(crate) fn new(hub: Arc<Hub>, time: TimeSource, workers: Workers) -> Arc<Self> {
        let timers = workers.timers();
        let engine = Arc::new(Self {
            context: Arc::new(Context::new(hub, time, timers)),
            workers,
            hurry: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            deadline: Arc::default(),
            beats: AtomicU64::new(0),
            silent: AtomicUsize::new(0),
        });

        let Context {
            hub, time, work, ..
        } = &*engine.context;
        warnings::log_replaced_codes(hub);

        let work = work.clone();
        hub.on_work(Some(Arc::new(move || work.notify_one())));
        engine.spawn(do_work(engine.context.clone()));
        if let TimeSource::System(_) = time {
            let deadline = engine.deadline.clone();
            hub.on_deadline(Some(Arc::new(move || deadline.notify_one())));
            let deadline = engine.deadline.clone();
            engine.spawn(keep_deadlines(engine.context.clone(), deadline));
        }

        engine
    }

    /// Runs a task that is waited for at the end, and cut if it takes too long.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(self.workers.first(), task);
    }

    fn spawn_on(&self, worker: &Worker, task: impl Future<Output = ()> + Send + 'static) {
        let abort = self.abort.clone();
        let task = self.tasks.track_future(async move {
            abort.run_until_cancelled_owned(task).await;
        });
        drop(worker.spawn(task));
    }

    /// Serves a connection on the worker with the fewest tasks. `false` if it is turned away.
    ///
    /// # Errors
    /// The transport cannot be moved to the worker's runtime.
    pub(crate) fn connect<T: Transport>(
        &self,
        incoming: Incoming<T>,
        listener: &Arc<str>,
    ) -> io::Result<bool> {
        let worker = self.workers.emptiest();
        let Incoming { transport, peer } = incoming;
        let transport = transport.move_to(&worker.runtime)?;

        let (context, wakeups) = (self.context.clone(), worker.wakeups.clone());
        let (hub, now) = (context.hub.clone(), context.now());
        let driver = Driver::new(transport, context, wakeups, |io| {
            hub.accept(peer, listener.clone(), io, now)
        });
        let Some(driver) = driver else {
            return Ok(false);
        };

        // It ends soon after its link, by itself: what could cut it would take memory all the time.
        drop(worker.spawn(self.tasks.track_future(driver)));
        Ok(true)
    }

    /// What runs callbacks in place of threads, for a broker that has none.
    pub(crate) fn spawner(&self) -> Option<Spawner> {
        let host = self.workers.host()?.clone();
        Some(Arc::new(move |task| drop(host.spawn(task))))
    }

    /// Sockets come in that only a runtime knows.
    pub(crate) fn note_foreign(&self) {
        if let Some(host) = self.workers.host() {
            host.note_foreign();
        }
    }

    /// Ends everything: listeners first, then (after draining) connections, then what is left.
    async fn shut_down(&self, drain: Option<Duration>) {
        let context = &*self.context;
        context.closing.cancel();
        if let Some(drain) = drain {
            let settled = async {
                while !context.hub.is_settled() {
                    context.timers.sleep(Duration::from_millis(1)).await;
                }
            };
            let drained = context.timers.within(drain, settled);
            let _ = self.hurry.run_until_cancelled(drained).await;
        }

        context.cut.cancel();
        context.hub.shut_down(context.now());
        self.tasks.close();
        let ended = context.timers.within(CLOSE_TIME, self.tasks.wait()).await;
        if ended.is_none() {
            self.abort.cancel();
            self.tasks.wait().await;
        }
        self.release();
    }

    /// Releases what only a running broker needs.
    fn release(&self) {
        let Context { hub, time, .. } = &*self.context;
        hub.on_deadline(None);
        hub.on_work(None);
        hub.dispose(time.now());
        ReadBuffer::drop_spares();
    }

    /// Ends everything as [`Engine::shut_down`] does, on the broker's runtime, and calls `then`; in any
    /// case, and if it must be without the runtime.
    pub(crate) fn end_soon(
        self: &Arc<Self>,
        drain: Option<Duration>,
        then: impl FnOnce() + Send + 'static,
    ) -> JoinHandle<()> {
        let engine = self.clone();
        let then = RunOnDrop::new(then);
        let cut = RunOnDrop::new({
            let engine = self.clone();
            move || {
                if !std::thread::panicking() {
                    engine.end_here();
                }
            }
        });

        self.workers.first().spawn(async move {
            engine.shut_down(drain).await;
            cut.cancel();
            drop(then);
        })
    }

    /// Ends everything as far as that goes without the runtime, which does the rest if it is driven.
    fn end_without_waiting(self: &Arc<Self>) {
        if !midge_core::is_in_hook() {
            self.end_here();
        }
        drop(self.end_soon(None, || ()));
    }

    /// Tells all connections to end, and releases everything that is not theirs.
    fn end_here(&self) {
        let context = &*self.context;
        context.closing.cancel();
        context.cut.cancel();
        self.tasks.close();
        context.hub.shut_down(context.now());
        self.release();
    }

    pub(crate) fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Beats so far; asks all threads for another one.
    pub(crate) fn heartbeat(self: &Arc<Self>) -> u64 {
        let threads = self.workers.all().count();
        let ask = |silent: usize| (silent == 0 && !self.context.is_closing()).then_some(threads);
        if (self.silent)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, ask)
            .is_ok()
        {
            for worker in self.workers.all() {
                let engine = self.clone();
                self.spawn_on(worker, async move { engine.beat() });
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
}

/// Fires deadlines as they come, by the system's clock.
async fn keep_deadlines(context: Arc<Context>, deadline: Arc<Notify>) {
    let Context {
        hub,
        time,
        timers,
        closing,
        ..
    } = &*context;
    let mut expected = time.now();

    while !closing.is_cancelled() {
        let now = time.now();
        if expected.until(now) >= PAUSED_MS {
            expected = now.after(CATCH_UP);
            let pause = timers.sleep(CATCH_UP);
            closing.run_until_cancelled(pause).await;
            continue;
        }

        let wait = match hub.next_deadline() {
            Some(at) if at <= now => {
                hub.fire_some(now);
                expected = now;
                tokio::task::yield_now().await;
                continue;
            }
            Some(at) => Duration::from_millis(now.until(at)),
            None => Duration::from_secs(3600),
        };

        expected = now.after(wait);
        let changed = timers.within(wait, deadline.notified());
        closing.run_until_cancelled(changed).await;
    }
}

/// Does the hub's background work, and admits connections, a little at a time.
async fn do_work(context: Arc<Context>) {
    let Context {
        hub,
        admission,
        work,
        closing,
        ..
    } = &*context;

    loop {
        let asked = work.notified();
        while hub.work() | admission.next_turn() {
            tokio::task::yield_now().await;
        }
        if closing.run_until_cancelled(asked).await.is_none() {
            while admission.next_turn() {}
            return;
        }
    }
}
