//! A broker without threads: its tasks run where the host polls it.
//!
//! The tasks stand on a runtime of one thread, as they do otherwise. What that hides is done here: it does
//! not tell which descriptor it waits with, nor its next timer. So sockets belong to a [`Reactor`], moments
//! to [`Alarms`], and each task's waker rings the reactor's bell. The descriptor of the reactor then stands
//! for all that can happen but for the next moment, which is known.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use midge_core::{Drive, drive_while_waiting, is_in_hook};
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::PollError;
use crate::reactor::Reactor;
use crate::timers::Alarms;

/// Rounds of the tasks in one turn, at most. What is left then makes the next turn begin at once.
const ROUNDS: u32 = 32;
/// Longest wait while there are transports or listeners of other crates, whose sockets the reactor does not
/// know.
const FOREIGN: Duration = Duration::from_millis(10);
/// Longest turn of a thread that drives several brokers while it waits.
const SLICE: Duration = Duration::from_millis(2);

/// The tasks of a broker that its host drives.
pub(crate) struct HostLoop {
    handle: Handle,
    /// Gone when the broker has ended. Held during a turn.
    runtime: Mutex<Option<Runtime>>,
    reactor: Arc<Reactor>,
    alarms: Arc<Alarms>,
    /// Turns of tasks so far.
    steps: Arc<AtomicU64>,
    has_foreign: AtomicBool,
    /// It has ended, or has no handle any more: the turn that is under way is the last one.
    is_over: AtomicBool,
    /// Whether a thread has its turn.
    taken: Mutex<bool>,
    left: Condvar,
}

impl HostLoop {
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Arc::new(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            reactor: Reactor::new()?,
            alarms: Arc::default(),
            steps: Arc::default(),
            has_foreign: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            taken: Mutex::new(false),
            left: Condvar::new(),
        }))
    }

    /// Ends the wait of a turn.
    pub(crate) fn wake(&self) {
        ring_unless_here(&self.reactor);
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.handle
    }

    pub(crate) fn reactor(&self) -> &Arc<Reactor> {
        &self.reactor
    }

    pub(super) fn alarms(&self) -> &Arc<Alarms> {
        &self.alarms
    }

    /// There are sockets that the reactor does not know.
    pub(crate) fn note_foreign(&self) {
        self.has_foreign.store(true, Ordering::Relaxed);
        self.reactor.ring();
    }

    /// Runs a task whenever the host polls.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let task = Watched {
            task: Box::pin(task),
            waker: None,
            reactor: self.reactor.clone(),
            steps: self.steps.clone(),
        };
        let handle = self.handle.spawn(task);

        ring_unless_here(&self.reactor);
        handle
    }

    /// Does what there is to do, and waits for something to do until this moment (`None`: however long it
    /// takes). Returns whether something was done; a signal ends the wait, too.
    ///
    /// # Errors
    /// See [`PollError`].
    pub(crate) fn turn(&self, until: Option<Instant>) -> Result<bool, PollError> {
        if is_in_hook() || is_polling() || Handle::try_current().is_ok() {
            return Err(PollError::Reentrant);
        }
        let place = Place::take(self)?;

        let runtime = self.runtime.lock();
        let done = match &*runtime {
            None => Err(PollError::Stopped),
            Some(runtime) => {
                let _here = Here::enter(&self.reactor);
                runtime.block_on(self.run(until))
            }
        };
        drop(runtime);

        if self.is_over.load(Ordering::Acquire) {
            self.drop_runtime();
        }
        drop(place);
        done
    }

    async fn run(&self, until: Option<Instant>) -> Result<bool, PollError> {
        loop {
            let has_run = self.run_tasks().await.map_err(PollError::Io)?;
            // What was rung for may be nothing of a task's: the caller looks.
            if self.reactor.take_heard() || has_run {
                return Ok(has_run);
            }

            if self.is_over.load(Ordering::Acquire) {
                return Err(PollError::Stopped);
            }

            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                return Ok(false);
            }

            let next = [until, self.alarms.next()].into_iter().flatten().min();
            let wait = next.map(|at| at.saturating_duration_since(now));
            let found = self.reactor.wait(self.bounded(wait));
            if found.map_err(PollError::Io)?.is_none() {
                return Ok(false);
            }
        }
    }

    /// Runs tasks, and those that their sockets and moments wake, until none has anything to do. Returns
    /// whether there were some.
    async fn run_tasks(&self) -> io::Result<bool> {
        let begin = self.steps.load(Ordering::Relaxed);
        for _ in 0..ROUNDS {
            let before = self.steps.load(Ordering::Relaxed);
            let found = self.reactor.wait(Some(Duration::ZERO))?;
            self.alarms.fire(Instant::now());

            // Everything that is ready has its turn before this goes on.
            tokio::task::yield_now().await;
            let now = self.steps.load(Ordering::Relaxed);
            if found != Some(true) && now == before {
                return Ok(now != begin);
            }
        }

        self.reactor.ring();
        Ok(true)
    }

    fn bounded(&self, wait: Option<Duration>) -> Option<Duration> {
        if !self.has_foreign.load(Ordering::Relaxed) {
            return wait;
        }
        Some(wait.map_or(FOREIGN, |wait| wait.min(FOREIGN)))
    }

    /// Time until there is something to do although the descriptor does not say so; `None` if that will not
    /// be.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let next = self.alarms.next();
        self.bounded(next.map(|at| at.saturating_duration_since(Instant::now())))
    }

    /// Drives until something is over that happens in a turn, of this thread or another one; until the
    /// deadline at most. Returns whether it is over.
    pub(crate) fn drive_until(
        &self,
        deadline: Option<Instant>,
        mut is_over: impl FnMut() -> bool,
    ) -> bool {
        loop {
            let mut taken = self.taken.lock();
            if is_over() {
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }

            if *taken {
                self.await_left(&mut taken, deadline);
                continue;
            }
            drop(taken);

            match self.turn(deadline) {
                Ok(_) | Err(PollError::Busy) => {}
                Err(_) => return is_over(),
            }
        }
    }

    /// Waits for the end of another thread's turn, until this moment at most.
    fn await_turn(&self, until: Option<Instant>) {
        let mut taken = self.taken.lock();
        if *taken {
            self.await_left(&mut taken, until);
        }
    }

    fn await_left(&self, taken: &mut MutexGuard<'_, bool>, until: Option<Instant>) {
        match until {
            None => self.left.wait(taken),
            Some(until) => drop(self.left.wait_until(taken, until)),
        }
    }

    /// Ends the runtime, with tasks that are left, after a turn that is under way.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.reactor.ring();
        if !is_polling() {
            self.drop_runtime();
        }
    }

    fn drop_runtime(&self) {
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    fn has_ended(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether the calling thread drives it while it waits.
    pub(crate) fn is_driven_here(self: &Arc<Self>) -> bool {
        DRIVEN
            .try_with(|driven| driven.knows(self))
            .unwrap_or(false)
    }

    /// From now on the calling thread drives this while it waits for anything of a broker.
    pub(crate) fn drive_here(self: &Arc<Self>) {
        let driver = DRIVEN.try_with(|driven| {
            if driven.knows(self) {
                return None;
            }
            let mut brokers = driven.brokers.borrow_mut();
            brokers.retain(|other| other.strong_count() > 0);
            brokers.push(Arc::downgrade(self));
            Some(driven.clone())
        });
        if let Ok(Some(driver)) = driver {
            drive_while_waiting(driver);
        }
    }
}

/// The place of the thread whose turn it is.
struct Place<'a>(&'a HostLoop);

impl<'a> Place<'a> {
    fn take(host: &'a HostLoop) -> Result<Self, PollError> {
        match std::mem::replace(&mut *host.taken.lock(), true) {
            true => Err(PollError::Busy),
            false => Ok(Self(host)),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock() = false;
        self.0.left.notify_all();
    }
}

thread_local! {
    /// The reactor of the broker that this thread has a turn of; 0 outside.
    static HERE: Cell<usize> = const { Cell::new(0) };
    static DRIVEN: Rc<Driven> = Rc::default();
}

/// A thread in a turn.
struct Here;

impl Here {
    fn enter(reactor: &Arc<Reactor>) -> Self {
        HERE.set(Arc::as_ptr(reactor).addr());
        Self
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(0);
    }
}

/// Whether the calling thread has a turn of a broker.
pub(crate) fn is_polling() -> bool {
    HERE.get() != 0
}

/// Ends the wait of a thread in a turn, unless it is this one, which does not wait.
fn ring_unless_here(reactor: &Arc<Reactor>) {
    if HERE.get() != Arc::as_ptr(reactor).addr() {
        reactor.ring();
    }
}

/// A task that counts its turns, and rings when it is woken.
struct Watched {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Option<Waker>,
    reactor: Arc<Reactor>,
    steps: Arc<AtomicU64>,
}

struct TaskWaker {
    inner: Waker,
    reactor: Arc<Reactor>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inner.wake_by_ref();
        ring_unless_here(&self.reactor);
    }
}

impl Future for Watched {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let Self {
            task,
            waker,
            reactor,
            ..
        } = &mut *self;

        // The runtime has one waker for a task, from its first turn to its last.
        let waker = waker.get_or_insert_with(|| {
            Waker::from(Arc::new(TaskWaker {
                inner: cx.waker().clone(),
                reactor: reactor.clone(),
            }))
        });
        task.as_mut().poll(&mut Context::from_waker(waker))
    }
}

/// The brokers that this thread drives while it waits.
#[derive(Default)]
struct Driven {
    brokers: RefCell<Vec<Weak<HostLoop>>>,
}

impl Driven {
    fn knows(&self, host: &Arc<HostLoop>) -> bool {
        let brokers = self.brokers.borrow();
        brokers
            .iter()
            .any(|other| other.as_ptr() == Arc::as_ptr(host))
    }

    fn alive(&self) -> Vec<Arc<HostLoop>> {
        let brokers = self.brokers.borrow();
        let alive = brokers.iter().filter_map(Weak::upgrade);
        alive.filter(|host| !host.has_ended()).collect()
    }
}

impl Drive for Driven {
    fn is_needed(&self) -> bool {
        is_polling() || !self.alive().is_empty()
    }

    fn waker(&self) -> Waker {
        let reactors = self
            .alive()
            .iter()
            .map(|host| host.reactor.clone())
            .collect();
        Waker::from(Arc::new(Bells(reactors)))
    }

    fn turn(&self, until: Option<Instant>) -> bool {
        let alive = self.alive();
        let slice = Instant::now() + SLICE;
        let until = match &alive[..] {
            [] => return false,
            [_] => until,
            _ => Some(until.map_or(slice, |until| until.min(slice))),
        };

        let turn = |host: &Arc<HostLoop>| match host.turn(until) {
            Err(PollError::Busy) => {
                // Another thread does it.
                host.await_turn(until);
                true
            }
            done => done.is_ok(),
        };
        alive.iter().map(turn).fold(false, |any, done| any | done)
    }
}

/// Ends the waits of a thread that drives several brokers.
struct Bells(Vec<Arc<Reactor>>);

impl Wake for Bells {
    fn wake(self: Arc<Self>) {
        self.0.iter().for_each(|reactor| reactor.ring());
    }
}
