//! Queues behind their handles: messages and events in the order of their arrival, bounded, read by pull,
//! through a descriptor, or by a thread of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use broker::{Bounded, Events, Feed, Message, Poller, Pushed, QueueLimits, ReadyFd, Sink};
use parking_lot::Mutex;

use crate::bell::Bell;
use crate::descriptor;
use crate::dispatch::Dispatch;
use crate::failpoints;
use crate::later::Scope;
use crate::life::Life;
use crate::process::Uncancelled;
use crate::source::{Item, Source};
use crate::stamp::Arrived;
use crate::status::{Fault, MIDGE_E_CLOSED, MIDGE_E_STATE, MIDGE_E_TIMEOUT};
use crate::table::Table;

/// A bounded queue of messages and events. A number, not a pointer: a stale one gives
/// MIDGE_E_CLOSED. {0} is the null handle.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_queue {
    /// The number.
    pub id: u64,
}

pub(crate) static QUEUES: Table<QueueObject> = Table::new("queue", 2);

/// The oldest item makes room for the new one.
pub const MIDGE_OVERFLOW_DROP_OLDEST: i32 = 0;
/// The new item is dropped.
pub const MIDGE_OVERFLOW_DROP_NEWEST: i32 = 1;

/// An item of a subscription, or an event.
pub(crate) struct Tagged {
    pub(crate) item: Item,
    pub(crate) tag: u32,
    source: u64,
}

/// An item, and how it has come.
pub(crate) type Entry = (Tagged, Arrived);

pub(crate) struct QueueObject {
    /// Number of its broker.
    pub(crate) broker: u64,
    /// Dropped before the descriptor that it makes readable.
    pub(crate) bell: Bell,
    state: Mutex<State>,
    pub(crate) dispatch: Dispatch,
    /// Of a broker without threads.
    poller: Option<Poller>,
}

struct State {
    entries: Bounded<Tagged, Arrived>,
    sources: Vec<Attached>,
    next_source: u64,
    sleepers: usize,
    fd: Option<Readable>,
    has_dispatch: bool,
    /// What dispatches where the host polls, while it waits for an item.
    dispatcher: Option<Waker>,
    closed: bool,
}

struct Attached {
    number: u64,
    /// The same as that of its [`Inlet`].
    gone: Arc<AtomicBool>,
    source: Arc<Source>,
    /// Lost on the way here so far.
    lost: u64,
}

/// The descriptor, and whether the queue has made it readable.
struct Readable {
    fd: Arc<ReadyFd>,
    is_set: bool,
}

impl Readable {
    fn set(&mut self, is_set: bool) {
        self.is_set = is_set;
        if is_set {
            self.fd.wake();
        } else {
            self.fd.drain();
        }
    }
}

impl State {
    fn refresh_fd(&mut self, bell: &Bell) {
        let Some(fd) = &mut self.fd else { return };
        let is_ready = !self.entries.is_empty() || self.closed || bell.has_wakes();
        if is_ready == fd.is_set {
            return;
        }

        let _uncancelled = Uncancelled::new();
        fd.set(is_ready);
        // A wake-up takes no lock: it may have come between the look and the clearing.
        if !is_ready && bell.has_wakes() {
            fd.set(true);
        }
    }

    /// Whether a reader waits for an item, so that one that comes must wake it.
    fn is_awaited(&self) -> bool {
        self.sleepers > 0
            || self.dispatcher.is_some()
            || self.fd.as_ref().is_some_and(|fd| !fd.is_set)
    }
}

impl QueueObject {
    pub(crate) fn new(
        broker: u64,
        life: &Arc<Life>,
        poller: Option<Poller>,
        limits: QueueLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            broker,
            bell: Bell::new(),
            state: Mutex::new(State {
                entries: Bounded::new(limits),
                sources: Vec::new(),
                next_source: 0,
                sleepers: 0,
                fd: None,
                has_dispatch: false,
                dispatcher: None,
                closed: false,
            }),
            dispatch: Dispatch::new(life, poller.clone()),
            poller,
        })
    }

    /// Takes in the messages of a subscription, which `subscribe` makes, but for those that the client
    /// `not_from` has published. Gives the number to take it away again.
    pub(crate) fn attach(
        self: &Arc<Self>,
        tag: u32,
        not_from: Option<Box<str>>,
        subscribe: impl FnOnce(Inlet) -> Result<Feed, Fault>,
    ) -> Result<u64, Fault> {
        let gone = Arc::new(AtomicBool::new(false));
        let number = self.reserve()?;

        // Not under the lock: retained messages come in meanwhile.
        let feed = subscribe(Inlet {
            queue: self.clone(),
            number,
            tag,
            gone: gone.clone(),
            not_from,
        })?;

        self.keep(Attached {
            number,
            gone,
            lost: 0,
            source: Arc::new(Source::Messages { _feed: feed }),
        })?;
        Ok(number)
    }

    /// Takes in events of the broker, for as long as the queue lives.
    pub(crate) fn attach_events(self: &Arc<Self>, events: Events) -> Result<(), Fault> {
        let number = self.reserve()?;
        let source = Arc::new(Source::Events(events));
        self.keep(Attached {
            number,
            gone: Arc::default(),
            lost: 0,
            source: source.clone(),
        })?;
        let queue = Arc::downgrade(self);
        if let Source::Events(events) = &*source {
            events.on_ready(move || {
                if let Some(queue) = queue.upgrade() {
                    queue.pump(number);
                }
            });
        }
        Ok(())
    }

    fn reserve(&self) -> Result<u64, Fault> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        state.next_source += 1;
        Ok(state.next_source)
    }

    fn keep(&self, attached: Attached) -> Result<(), Fault> {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            // Outside the lock: ending a subscription takes locks of the broker.
            drop(attached);
            return Err(closed());
        }
        state.sources.push(attached);
        Ok(())
    }

    /// Takes a source away, with its items that were not read.
    pub(crate) fn detach(&self, number: u64) {
        let _scope = Scope::new();
        let mut state = self.state.lock();
        let at = state
            .sources
            .iter()
            .position(|source| source.number == number);
        let gone = at.map(|at| state.sources.swap_remove(at));
        if let Some(gone) = &gone {
            gone.gone.store(true, Ordering::Relaxed);
        }

        // Payloads that the host has lent go back to it at the end of the scope.
        state.entries.retain(|entry| entry.source != number);
        state.refresh_fd(&self.bell);
        drop(state);

        // Outside the lock: ending a subscription takes locks of the broker.
        drop(gone);
    }

    /// Takes in an item, unless its source is gone by now. Wakes no reader.
    pub(crate) fn push(
        &self,
        item: Item,
        source: u64,
        tag: u32,
        gone: impl FnOnce() -> bool,
    ) -> Pushed {
        let size = item.size();
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        if state.closed || gone() {
            return Pushed::default();
        }
        let tagged = Tagged { item, tag, source };
        state.entries.push(tagged, size, &mut dropped);
        let awaited = state.is_awaited();
        drop(state);
        Pushed::new(dropped.len(), awaited)
    }

    /// Wakes the readers that wait for what was pushed.
    pub(crate) fn notify(&self) {
        self.signal(&mut self.state.lock());
    }

    /// Moves the events that a source has brought into the queue. Runs on the thread that brought
    /// them.
    fn pump(&self, number: u64) {
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        let sources = &mut state.sources;
        let Some(attached) = sources.iter_mut().find(|source| source.number == number) else {
            return;
        };

        let source = attached.source.clone();
        let Source::Events(events) = &*source else {
            return;
        };

        let lost = events.lost();
        let newly = lost - std::mem::replace(&mut attached.lost, lost);
        state.entries.lose(newly);
        while let Some(observed) = events.try_recv() {
            let item = Item::Event(Box::new(observed.event));
            let size = item.size();
            let tagged = Tagged {
                item,
                tag: 0,
                source: number,
            };
            state.entries.push(tagged, size, &mut dropped);
        }

        if state.is_awaited() {
            self.signal(&mut state);
        }

        drop(state);
        drop((source, dropped));
    }

    fn signal(&self, state: &mut State) {
        state.refresh_fd(&self.bell);
        if state.sleepers > 0 {
            self.bell.ring();
            if let Some(poller) = &self.poller {
                poller.wake();
            }
        }
        if let Some(dispatcher) = state.dispatcher.take() {
            dispatcher.wake();
        }
    }

    /// The next entry for a reader that pulls.
    pub(crate) fn pull(&self, timeout: Option<Duration>) -> Result<Entry, Fault> {
        if self.state.lock().has_dispatch {
            let what = "the queue has a dispatch thread, which takes everything";
            return Err(Fault::new(MIDGE_E_STATE, what));
        }
        self.next(timeout)
    }

    fn next(&self, timeout: Option<Duration>) -> Result<Entry, Fault> {
        let deadline = match timeout {
            Some(Duration::ZERO) | None => None,
            Some(timeout) => Instant::now().checked_add(timeout),
        };

        let mut state = self.state.lock();
        loop {
            if let Some(entry) = state.entries.pop() {
                if state.entries.is_empty() {
                    state.refresh_fd(&self.bell);
                }
                return Ok(entry);
            }
            if state.closed {
                return Err(closed());
            }
            // Before the last look at what comes without the lock.
            let seen = self.bell.rings();
            if self.bell.take_wake() {
                if let Some(fd) = &mut state.fd {
                    let _uncancelled = Uncancelled::new();
                    fd.set(false);
                }
                state.refresh_fd(&self.bell);
                return Err(Fault::new(MIDGE_E_TIMEOUT, "the queue was woken"));
            }

            if timeout == Some(Duration::ZERO) {
                return Err(Fault::new(MIDGE_E_TIMEOUT, "nothing waits in the queue"));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Fault::new(MIDGE_E_TIMEOUT, "nothing came in time"));
            }
            state.sleepers += 1;
            drop(state);
            self.wait(seen, deadline);
            state = self.state.lock();
            state.sleepers -= 1;
        }
    }

    /// Waits until the bell has rung more often than `seen`, until the deadline, or for nothing. A thread that
    /// drives its broker goes on with that.
    fn wait(&self, seen: u32, deadline: Option<Instant>) {
        match &self.poller {
            Some(poller) if poller.is_here() => {
                poller.drive_until(deadline, || self.bell.rings() != seen);
            }
            _ => self.bell.wait(seen, deadline),
        }
    }

    /// The next entry for what dispatches where the host polls; `None` when there are no more.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Entry>> {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.pop() {
            return Poll::Ready(Some(entry));
        }
        if state.closed {
            return Poll::Ready(None);
        }

        // There is no reader that a wake-up is for.
        while self.bell.take_wake() {}
        state.dispatcher = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A descriptor that is readable while there is something to read.
    pub(crate) fn fd(&self) -> Result<i32, Fault> {
        let mut state = self.state.lock();
        if state.fd.is_none() {
            let fd =
                ReadyFd::new().map_err(|error| Fault::io("cannot make a descriptor", &error))?;
            let fd = Arc::new(fd);
            self.bell.set_fd(&fd);
            state.fd = Some(Readable { fd, is_set: false });
            state.refresh_fd(&self.bell);
        }
        let fd = state.fd.as_ref().ok_or_else(closed)?;
        descriptor::of(&fd.fd)
    }

    /// Starts what takes everything and gives it to `deliver`: a thread, or what the host polls. A panic of that costs one
    /// event, and not the thread.
    pub(crate) fn start_dispatch(
        self: &Arc<Self>,
        mut deliver: impl FnMut(Entry) + Send + 'static,
        report_panic: impl Fn() + Send + 'static,
    ) -> Result<(), Fault> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        if state.has_dispatch {
            let what = "the queue has a dispatch thread already";
            return Err(Fault::new(MIDGE_E_STATE, what));
        }

        let deliver = move |entry| {
            failpoints::point(failpoints::Point::Task);
            deliver(entry);
        };

        let queue = self.clone();
        if self.poller.is_some() {
            let next = move |cx: &mut Context<'_>| queue.poll_next(cx);
            state.has_dispatch = true;
            drop(state);
            self.dispatch.start_polled(next, deliver, report_panic);
            return Ok(());
        }

        let next = move || {
            loop {
                match queue.next(None) {
                    Ok(entry) => return Some(entry),
                    Err(fault) if fault.status == MIDGE_E_CLOSED => return None,
                    Err(_) => {} // it was woken
                }
            }
        };
        self.dispatch
            .start(next, deliver, report_panic)
            .map_err(|error| Fault::io("cannot start the dispatch thread", &error))?;
        state.has_dispatch = true;
        Ok(())
    }

    /// Takes nothing in any more; entries that wait can still be read.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let sources = std::mem::take(&mut state.sources);
        self.signal(&mut state);
        drop(state);
        drop(sources);
    }

    /// Closes it and drops the entries that wait: no reader is left.
    pub(crate) fn discard(&self) {
        self.close();
        self.bell.close();
        let mut state = self.state.lock();
        let entries = state.entries.take();
        let fd = state.fd.take();
        drop(state);
        drop((entries, fd));
    }
}

/// The way of one subscription into a queue.
pub(crate) struct Inlet {
    queue: Arc<QueueObject>,
    number: u64,
    tag: u32,
    /// Changed under the lock of the queue only.
    gone: Arc<AtomicBool>,
    /// No Local: messages of this client do not come in.
    not_from: Option<Box<str>>,
}

impl Sink for Inlet {
    fn push(&self, message: Message) -> Pushed {
        if let Some(id) = &self.not_from
            && message.origin().client_id() == Some(&**id)
        {
            return Pushed::default();
        }
        let gone = || self.gone.load(Ordering::Relaxed);
        self.queue
            .push(Item::Message(message), self.number, self.tag, gone)
    }

    fn wake(&self) {
        self.queue.notify();
    }
}

pub(crate) fn closed() -> Fault {
    Fault::new(
        MIDGE_E_CLOSED,
        "the broker has stopped and the queue is empty",
    )
}
