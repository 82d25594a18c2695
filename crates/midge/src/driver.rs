//! The IO of one connection: one `poll`, no `select!`.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use midge_core::{Connection, DisconnectReason, Link};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::outlet::{Flushed, Outlet};
use crate::transport::Transport;

/// Bytes read in one go. The buffer belongs to the thread, not to the connection.
const READ_BUFFER: usize = 64 * 1024;
/// Reads before other connections get their turn.
const READ_BUDGET: u8 = 4;
/// Bytes of a read that uses up all of the budget: there is probably more where that came from.
const BULK: usize = READ_BUFFER / 2;
/// The same for a read of one large packet, which is less work.
const BULK_LARGE: usize = 4 * READ_BUFFER;
/// Rounds of the runtime that others then have to themselves. A small message needs three on its
/// way: it is read; its receiver is told, after all that was ready has been read; it is written.
const ROUNDS: u8 = 3;
/// Memory reserved at once for a large packet; beyond that it grows with what really arrives.
const RESERVE: usize = 1 << 20;
/// Bytes of the longest fixed header.
const LONGEST_HEADER: usize = 5;
/// Acknowledgements that may wait unsent before nothing more is read from the client.
const REPLIES_HIGH: usize = 64 * 1024;
/// Time for the last bytes of an ended connection to get out.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes thrown away while waiting for the other side to close.
const DISCARD: usize = 1 << 20;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The read buffer in use. It may go along with what was read, to a receiver; its last owner gives
/// it back.
struct ReadBuffer(Vec<u8>);

impl ReadBuffer {
    fn take() -> Self {
        let mut buffer = SCRATCH.take();
        buffer.resize(READ_BUFFER, 0);
        Self(buffer)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
}

/// What is left of the last read: the beginning of a packet.
enum Stash {
    /// Less than a packet, and the whole packet fits into the read buffer.
    Small(Vec<u8>),
    /// A packet that is read into a buffer of its own, of that many bytes in the end.
    Large(Box<(BytesMut, usize)>),
}

enum Stage {
    /// Nothing has been read yet.
    Fresh,
    /// To come in when something has arrived.
    Outside,
    /// It waits for its turn to come in.
    Queued,
    Running,
    /// The connection has ended: the last bytes go out.
    Flushing,
    /// Nothing more is written; waiting for the other side to close.
    Closing(usize),
}

/// Drives one connection from its first byte to its last.
pub(crate) struct Driver<T> {
    transport: T,
    connection: Connection,
    outlet: Arc<Outlet>,
    stash: Stash,
    stage: Stage,
    linger: Option<Pin<Box<Sleep>>>,
    /// Size of the last packet in bytes if it was a large one, else 0.
    expected: usize,
    /// Reads since the last pause; beyond the budget, rounds of this pause.
    reads: u8,
    /// Rounds until more of a backlog is written.
    rounds: u8,
    /// There may be output that nobody else writes: acknowledgements of what was read, and what the
    /// socket did not take.
    unwritten: bool,
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<T: Transport> Driver<T> {
    pub(crate) fn new(transport: T, outlet: Arc<Outlet>, link: Arc<Link>) -> Self {
        outlet.bind(link.clone());
        let connection = Connection::new(outlet.core.hub.clone(), link);
        let stash = Stash::Small(Vec::new());
        Self {
            transport,
            connection,
            outlet,
            stash,
            stage: Stage::Fresh,
            linger: None,
            expected: 0,
            reads: 0,
            rounds: 0,
            unwritten: true,
            stopped: None,
        }
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.outlet.register(cx);
        loop {
            match self.stage {
                Stage::Fresh => {
                    // Mostly nothing is there yet.
                    self.stage = Stage::Outside;
                    ready!(self.run(cx));
                }
                Stage::Outside if !self.outlet.core.may_enter(cx.waker()) => {
                    self.stage = Stage::Queued;
                    return Poll::Pending;
                }
                Stage::Outside | Stage::Queued => self.stage = Stage::Running,
                Stage::Running => ready!(self.run(cx)),
                Stage::Flushing => ready!(self.flush_last(cx)),
                Stage::Closing(discarded) => return self.close(cx, discarded),
            }
        }
    }

    /// Lets others have their turn. Those whose sockets are ready come first too: waking oneself
    /// would keep the runtime from looking at its sockets for many rounds.
    fn give_way(&self, cx: &mut Context<'_>) {
        let pause = std::pin::pin!(tokio::task::yield_now());
        if pause.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// One round: write, ask a hook, read. Pending when nothing can go on.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.notify_receivers();
        let flushed = self.poll_flush(cx);
        if self.connection.link().ended().is_some() {
            self.stage = Stage::Flushing;
            return Poll::Ready(());
        }
        if self.connection.is_waiting() {
            ready!(self.connection.poll(cx, self.outlet.core.now()));
            self.reuse_stash();
            return Poll::Ready(());
        }
        if flushed != Flushed::Empty && self.connection.unwritten_replies() > REPLIES_HIGH {
            return Poll::Pending;
        }
        if self.reads >= READ_BUDGET {
            self.reads += 1;
            if self.reads >= READ_BUDGET + ROUNDS {
                self.reads = 0;
            }
            self.give_way(cx);
            return Poll::Pending;
        }
        match self.read(cx) {
            // Read once in each turn: a client that is written to all the time is heard, too.
            Poll::Ready(Ok(1..)) if flushed == Flushed::Paused => return Poll::Pending,
            Poll::Ready(Ok(1..)) => self.reads = (self.reads + 1).min(READ_BUDGET),
            Poll::Ready(_) => self.lost(),
            Poll::Pending => {
                self.reads = 0;
                return Poll::Pending;
            }
        }
        // Others that are ready to read may have more for the same receivers. Much for one receiver
        // is written at once, while the processor's cache still has it.
        let much =
            self.expected > 0 || self.reads >= READ_BUDGET && self.connection.owes_one_notice();
        if !much && self.connection.owes_others_notice() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Writes what there is to write, some of it if there is very much.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Flushed {
        self.unwritten |= self.connection.has_output() || self.outlet.take_asked();
        if !self.unwritten {
            return Flushed::Empty;
        }
        if self.rounds > 0 {
            self.rounds -= 1;
            self.give_way(cx);
            return Flushed::Paused;
        }
        let flushed = self.write(cx);
        self.unwritten = matches!(flushed, Flushed::Blocked | Flushed::Paused);
        match flushed {
            Flushed::Failed => self.lost(),
            Flushed::Empty => self.connection.output_written(),
            Flushed::Paused => self.rounds = ROUNDS - 1,
            Flushed::Blocked => {}
        }
        flushed
    }

    /// Writes; with something left, the task is woken when it is to go on.
    fn write(&mut self, cx: &mut Context<'_>) -> Flushed {
        match self.transport.poll_flush(cx, &self.outlet) {
            Poll::Ready(Flushed::Paused) => {
                self.give_way(cx);
                Flushed::Paused
            }
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Flushed::Blocked,
        }
    }

    /// The other side closed, or the transport broke.
    fn lost(&mut self) {
        self.stage = Stage::Closing(DISCARD);
        self.outlet
            .core
            .hub
            .lost(self.connection.link(), self.outlet.core.now());
    }

    /// Reads once and handles what came. 0 bytes are the end of the stream.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match std::mem::replace(&mut self.stash, Stash::Small(Vec::new())) {
            Stash::Small(kept) if kept.is_empty() && self.expected > 0 => {
                // Probably another one of that size: read without a copy.
                let buffer = BytesMut::with_capacity(self.expected.min(RESERVE));
                self.read_large(cx, Box::new((buffer, self.expected)))
            }
            Stash::Small(kept) => self.read_small(cx, kept),
            Stash::Large(large) => self.read_large(cx, large),
        }
    }

    fn read_large(
        &mut self,
        cx: &mut Context<'_>,
        mut large: Box<(BytesMut, usize)>,
    ) -> Poll<io::Result<usize>> {
        let (buffer, whole) = &mut *large;
        let missing = whole.saturating_sub(buffer.len());
        buffer.reserve(missing.min(RESERVE));
        let mut room = buffer.limit(missing);
        let read = poll_read_buf(Pin::new(self.transport.reader()), cx, &mut room)?;
        let Poll::Ready(count) = read else {
            // Nothing is held for a packet that may never come.
            if !buffer.is_empty() {
                self.stash = Stash::Large(large);
            }
            return Poll::Pending;
        };
        if count >= BULK_LARGE {
            self.reads = READ_BUDGET;
        }
        self.outlet.core.hub.count_read(count as u64);
        let known = self.connection.missing(buffer);
        if let Some(size) = known {
            *whole = size;
        }
        let limit = self.outlet.core.hub.config().limits.packet_bytes as usize;
        let malformed = known.is_none() && buffer.len() > LONGEST_HEADER;
        if buffer.len() >= *whole || *whole > limit || malformed {
            self.handle_large(*large);
        } else {
            self.stash = Stash::Large(large);
        }
        Poll::Ready(Ok(count))
    }

    fn read_small(&mut self, cx: &mut Context<'_>, kept: Vec<u8>) -> Poll<io::Result<usize>> {
        let mut scratch = ReadBuffer::take();
        let Some((head, tail)) = scratch.0.split_at_mut_checked(kept.len()) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };
        let mut buffer = ReadBuf::new(tail);
        if Pin::new(self.transport.reader())
            .poll_read(cx, &mut buffer)?
            .is_pending()
        {
            self.stash = Stash::Small(kept);
            return Poll::Pending;
        }
        let count = buffer.filled().len();
        if count > 0 {
            head.copy_from_slice(&kept);
            self.outlet.core.hub.count_read(count as u64);
        }
        let filled = ..kept.len() + count;
        if count >= BULK {
            self.reads = READ_BUDGET;
            let lent = Bytes::from_owner(scratch);
            self.handle(lent.get(filled).unwrap_or_default(), Some(&lent));
        } else if count > 0 {
            self.handle(scratch.0.get(filled).unwrap_or_default(), None);
        }
        Poll::Ready(Ok(count))
    }

    /// Feeds bytes to the connection and keeps what is left.
    fn handle(&mut self, bytes: &[u8], backing: Option<&Bytes>) {
        let now = self.outlet.core.now();
        let used = self.connection.receive_quietly(bytes, backing, now);
        self.keep(bytes.get(used..).unwrap_or_default());
    }

    /// Keeps the beginning of a packet, or all that has to wait for a hook's answer.
    fn keep(&mut self, rest: &[u8]) {
        self.stash = match self.connection.missing(rest) {
            Some(whole) if whole > READ_BUFFER / 2 && whole > rest.len() => {
                let mut buffer = BytesMut::with_capacity(whole.min(RESERVE).max(rest.len()));
                buffer.extend_from_slice(rest);
                Stash::Large(Box::new((buffer, whole)))
            }
            _ => Stash::Small(rest.to_vec()),
        };
    }

    fn handle_large(&mut self, (buffer, whole): (BytesMut, usize)) {
        self.expected = if whole > READ_BUFFER / 2 { whole } else { 0 };
        // Whoever keeps a packet keeps its buffer, which may have been made for a larger one.
        let fits = buffer.capacity() / 2 <= buffer.len();
        let bytes = buffer.freeze();
        self.handle(&bytes, Some(&bytes).filter(|_| fits));
    }

    /// Goes on with packets that were read before a hook deferred its answer.
    fn reuse_stash(&mut self) {
        if let Stash::Small(stash) = &mut self.stash
            && !stash.is_empty()
        {
            let stash = std::mem::take(stash);
            self.handle(&stash, None);
        }
    }

    /// Whether the client is to be waited for before the socket is closed, because it may not have
    /// read yet why it was disconnected. At shutdown nobody is waited for.
    fn worth_waiting(&self) -> bool {
        !matches!(
            self.connection.link().ended(),
            Some(
                DisconnectReason::ByClient(_)
                    | DisconnectReason::ConnectionLost
                    | DisconnectReason::Shutdown
            )
        )
    }

    /// Time is up for an ended connection.
    fn lingered(&mut self, cx: &mut Context<'_>) -> bool {
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        linger.as_mut().poll(cx).is_ready()
    }

    /// The broker stops; a connection that has written everything is not waited for then.
    fn is_stopping(&mut self, cx: &mut Context<'_>) -> bool {
        let stopping = &self.outlet.core.closing;
        let stopped = self
            .stopped
            .get_or_insert_with(|| Box::pin(stopping.clone().cancelled_owned()));
        stopped.as_mut().poll(cx).is_ready()
    }

    fn flush_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let flushed = self.write(cx);
        let unwritten = matches!(flushed, Flushed::Blocked | Flushed::Paused);
        if unwritten && !self.lingered(cx) {
            return Poll::Pending;
        }
        let failed = flushed != Flushed::Empty;
        let shut = self.transport.poll_shutdown(cx);
        let discarded = if failed || matches!(shut, Poll::Ready(Err(_))) {
            DISCARD
        } else {
            0
        };
        self.stage = Stage::Closing(discarded);
        Poll::Ready(())
    }

    /// Waits for the other side to close, so that what was written last is not lost in a reset.
    fn close(&mut self, cx: &mut Context<'_>, mut discarded: usize) -> Poll<()> {
        let mut scratch = [0; 4096];
        while discarded < DISCARD {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(self.transport.reader()).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    discarded += buffer.filled().len();
                }
                Poll::Ready(_) => discarded = DISCARD,
                Poll::Pending
                    if !self.worth_waiting() || self.is_stopping(cx) || self.lingered(cx) =>
                {
                    discarded = DISCARD;
                }
                Poll::Pending => {
                    self.stage = Stage::Closing(discarded);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<T: Transport> Future for Driver<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        // A panic ends this connection and no other.
        match catch_unwind(AssertUnwindSafe(|| driver.drive(cx))) {
            Ok(done) => done,
            Err(_) => {
                self.outlet
                    .core
                    .hub
                    .caught_panic(self.connection.link(), self.outlet.core.now());
                Poll::Ready(())
            }
        }
    }
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.connection.notify_receivers();
        self.outlet
            .core
            .hub
            .closed(self.connection.link(), self.outlet.core.now());
        self.outlet.close();
    }
}
