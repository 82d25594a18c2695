//! Waits for sockets without a thread: what a broker that its host drives has in place of the runtime's
//! own look at sockets, whose descriptor that hides.

use std::collections::HashMap;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Registry, Token};
use parking_lot::Mutex;

/// The wake-ups by other threads.
const BELL: Token = Token(usize::MAX);
/// Sockets that one look at them finds ready, at most; the others are found by the next one.
const EVENTS: usize = 256;

/// All sockets of one broker, and a bell for what does not come from a socket. One descriptor stands for
/// all of it: it is readable while [`Reactor::wait`] has something to find.
pub(crate) struct Reactor {
    registry: Registry,
    bell: mio::Waker,
    /// It has rung, and has not been heard yet.
    rung: AtomicBool,
    /// It was heard.
    heard: AtomicBool,
    /// Held during a wait, by one thread at a time.
    poll: Mutex<(mio::Poll, Events)>,
    sources: Mutex<HashMap<usize, Arc<Readiness>>>,
    next: AtomicUsize,
}

impl Reactor {
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let poll = mio::Poll::new()?;
        Ok(Arc::new(Self {
            registry: poll.registry().try_clone()?,
            bell: mio::Waker::new(poll.registry(), BELL)?,
            rung: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            poll: Mutex::new((poll, Events::with_capacity(EVENTS))),
            sources: Mutex::default(),
            next: AtomicUsize::new(0),
        }))
    }

    /// Ends the wait of the polling thread, or its next one; from any thread.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It fails only where the system has no memory for eight bytes.
            let _ = self.bell.wake();
        }
    }

    /// Waits until a socket is ready, the bell rings, or the time is over (`None`: however long it takes),
    /// and wakes the tasks whose sockets are ready. Returns whether there was something, and
    /// `None` if a signal has ended the wait.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<bool>> {
        let mut poll = self.poll.lock();
        let (poll, events) = &mut *poll;
        match poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            waited => waited?,
        }

        let mut woken = Vec::new();
        for event in events.iter() {
            if event.token() == BELL {
                // Reads what the thread that rang has written before.
                self.rung.swap(false, Ordering::AcqRel);
                self.heard.store(true, Ordering::Relaxed);
                continue;
            }

            let found = self.sources.lock().get(&event.token().0).cloned();
            if let Some(readiness) = found {
                let closed = event.is_error();
                let readable = event.is_readable() || event.is_read_closed() || closed;
                let writable = event.is_writable() || event.is_write_closed() || closed;
                readiness.set(readable, writable, &mut woken);
            }
        }

        let was_ready = !events.is_empty();
        woken.into_iter().for_each(Waker::wake);
        Ok(Some(was_ready))
    }

    /// Whether the bell was heard since the last call.
    pub(crate) fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// The descriptor that stands for all: to be waited for, and for nothing else.
    #[cfg(unix)]
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }
}

/// A direction of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
}

impl Direction {
    fn bit(self) -> usize {
        1 << self as usize
    }
}

/// Bits of [`Readiness::state`] that stand for directions; those above count what has been found.
const DIRECTIONS: u32 = 2;
const BOTH: usize = (1 << DIRECTIONS) - 1;

/// What is known of one socket. A direction is taken for ready until a try says otherwise.
struct Readiness {
    state: AtomicUsize,
    wakers: Mutex<[Option<Waker>; 2]>,
}

impl Readiness {
    fn set(&self, readable: bool, writable: bool, woken: &mut Vec<Waker>) {
        let read = if readable { Direction::Read.bit() } else { 0 };
        let write = if writable { Direction::Write.bit() } else { 0 };
        let found = read | write;

        // A count that has changed tells a thread that is about to say `not ready` that it is late.
        let change = |state: usize| {
            let count = (state >> DIRECTIONS).wrapping_add(1) << DIRECTIONS;
            Some(count | (state & BOTH) | found)
        };
        let _ = (self.state).fetch_update(Ordering::AcqRel, Ordering::Acquire, change);

        let mut wakers = self.wakers.lock();
        for direction in [Direction::Read, Direction::Write] {
            let waker = wakers.get_mut(direction as usize);
            if found & direction.bit() != 0
                && let Some(waker) = waker.and_then(Option::take)
            {
                woken.push(waker);
            }
        }
    }
}

/// A socket that a reactor looks at, until it is dropped.
pub(crate) struct Registered<S: Source> {
    io: S,
    token: usize,
    readiness: Arc<Readiness>,
    reactor: Arc<Reactor>,
}

impl<S: Source> Registered<S> {
    /// # Errors
    /// The system does not take it.
    pub(crate) fn new(mut io: S, interest: Interest, reactor: &Arc<Reactor>) -> io::Result<Self> {
        let readiness = Arc::new(Readiness {
            state: AtomicUsize::new(BOTH),
            wakers: Mutex::default(),
        });
        let token = reactor.next.fetch_add(1, Ordering::Relaxed);
        reactor.sources.lock().insert(token, readiness.clone());

        let registered = reactor.registry.register(&mut io, Token(token), interest);
        if let Err(error) = registered {
            reactor.sources.lock().remove(&token);
            return Err(error);
        }

        Ok(Self {
            io,
            token,
            readiness,
            reactor: reactor.clone(),
        })
    }

    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    /// Tries something that would block, and remembers if it would.
    pub(crate) fn try_io<T>(
        &self,
        direction: Direction,
        attempt: impl FnOnce(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let seen = self.readiness.state.load(Ordering::Acquire);
        if seen & direction.bit() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }

        let result = attempt(&self.io);
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::WouldBlock
        {
            // Unless something was found meanwhile.
            let _ = self.readiness.state.compare_exchange(
                seen,
                seen & !direction.bit(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
        result
    }

    /// As [`Registered::try_io`]; the task is woken when it is worth another try.
    pub(crate) fn poll_io<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match self.try_io(direction, &mut attempt) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            if self.awaits(direction, cx) {
                return Poll::Pending;
            }
        }
    }

    /// Has the task woken when the direction is ready. `false` if it is.
    fn awaits(&self, direction: Direction, cx: &Context<'_>) -> bool {
        let mut wakers = self.readiness.wakers.lock();
        if let Some(waker) = wakers.get_mut(direction as usize) {
            match waker {
                Some(known) if known.will_wake(cx.waker()) => {}
                _ => *waker = Some(cx.waker().clone()),
            }
        }

        // What is found later takes the waker out.
        self.readiness.state.load(Ordering::Acquire) & direction.bit() == 0
    }
}

impl<S: Source> Drop for Registered<S> {
    fn drop(&mut self) {
        let _ = self.reactor.registry.deregister(&mut self.io);
        self.reactor.sources.lock().remove(&self.token);
    }
}
