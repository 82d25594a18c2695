//! The reading side of a connection: how much is read at a time, into whose memory, and what is left
//! of it.

use std::io;
use std::pin::Pin;
use std::task::{self, Poll};

use bytes::{BufMut, Bytes};
use midge_core::{Charge, Connection, Part};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::Context;
use super::read_buffer::{LONG_READ, READ, ReadBuffer};
use crate::transport::Transport;

/// Minimum packet size for read-ahead. From here on the fixed cost per read outweighs the cache misses
/// of a longer one.
const AHEAD_FROM: usize = 2 * 1024;
/// Maximum packet size for read-ahead, and read-ahead for packets that are not large. Reading further
/// saves nothing and delays other connections.
const AHEAD: usize = LONG_READ / 2;
/// A larger packet is read into a buffer of its own when it comes alone.
const OWN_FROM: usize = READ / 2;
/// Bytes of a read that end a turn: there is probably more where that came from.
const BULK: usize = READ / 2;
/// The same for a packet in a buffer of its own, which is less work.
const LARGE_BULK: usize = 4 * READ;
/// Memory reserved at once for a large packet: a payload of 1 MiB and what precedes it. Beyond that it
/// grows with what really arrives.
const RESERVE: usize = (1 << 20) + READ;
/// Bytes of the longest fixed header.
const LONGEST_HEADER: usize = 5;

/// Bytes of the beginning of a packet that a connection holds without a charge.
const FREE_PART: usize = 256;

/// What is left of the last read.
enum Stash {
    /// The beginning of a packet, a few bytes.
    Part(Vec<u8>),
    /// More of it; the whole packet fits into the read buffer.
    Charged(Box<(Vec<u8>, Charge)>),
    /// A packet that is read into a buffer of its own.
    Large(Box<Large>),
    /// Packets that wait for a hook's answer, or for other connections to have their turn.
    Held(Box<(Bytes, Charge)>),
}

/// A packet that is read into a buffer of its own.
struct Large {
    buffer: Vec<u8>,
    /// Its bytes in the end.
    whole: usize,
    charge: Charge,
}

impl Large {
    fn new(whole: usize, begun: &[u8], context: &Context) -> Self {
        let capacity = whole.min(RESERVE).max(begun.len());
        let mut buffer = Vec::new();
        // If it fails, `grow` asks again when the rest comes.
        let _ = buffer.try_reserve_exact(capacity);
        buffer.extend_from_slice(begun);

        let charge = context.hub.hold_input(buffer.capacity());
        Self {
            buffer,
            whole,
            charge,
        }
    }

    fn missing(&self) -> usize {
        self.whole.saturating_sub(self.buffer.len())
    }

    /// Makes room for the next read: no more at a time than has arrived, or a megabyte, and exactly for
    /// the whole packet in the end. The client decides its size, so a failed allocation is an error.
    fn grow(&mut self) -> io::Result<()> {
        let (missing, length) = (self.missing(), self.buffer.len());
        if self.buffer.capacity() - length < missing.min(READ) {
            let more = missing.min(length.max(RESERVE));
            self.buffer
                .try_reserve_exact(more)
                .map_err(|_| io::ErrorKind::OutOfMemory)?;
            self.charge.set(self.buffer.capacity());
        }
        Ok(())
    }

    /// The packet, charged as what receivers may keep.
    fn finish(mut self) -> Bytes {
        self.charge.move_to(Part::Payloads);
        self.charge.share(self.buffer)
    }
}

impl Stash {
    const EMPTY: Self = Self::Part(Vec::new());

    fn of(rest: &[u8], to: &Consumer<'_>) -> Self {
        if is_held(to.connection) {
            let charge = to.context.hub.hold_input(rest.len());
            return Self::Held(Box::new((Bytes::copy_from_slice(rest), charge)));
        }
        match to.connection.packet_len(rest) {
            Some(whole) if whole > OWN_FROM => {
                Self::Large(Box::new(Large::new(whole, rest, to.context)))
            }
            _ if rest.len() > FREE_PART => {
                let charge = to.context.hub.hold_input(rest.len());
                Self::Charged(Box::new((rest.to_vec(), charge)))
            }
            _ => Self::Part(rest.to_vec()),
        }
    }

    /// Bytes that are charged for it.
    fn charged(&self) -> usize {
        match self {
            Self::Part(_) => 0,
            Self::Charged(part) => part.1.bytes(),
            Self::Large(large) => large.charge.bytes(),
            Self::Held(held) => held.1.bytes(),
        }
    }
}

/// Handles what was read.
pub(super) struct Consumer<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) context: &'a Context,
}

/// What one read brought.
pub(super) struct Read {
    /// Bytes; 0 are the end of the stream.
    pub(super) count: usize,
    /// So many that the turn is over.
    pub(super) bulk: bool,
}

/// Where the next read goes: decided before anything is read.
enum ReadPlan {
    /// Into the thread's buffer, for whatever comes.
    Shared,
    /// Into the thread's long buffer: the client sends packets that are worth it without a pause.
    Ahead(ReadBuffer),
    /// Into a buffer of the packet's own, which is large and comes alone.
    Own(Box<Large>),
}

impl ReadPlan {
    /// The buffer for a read of whatever comes.
    #[inline]
    fn buffer(self) -> ReadBuffer {
        match self {
            Self::Ahead(buffer) => buffer,
            _ => ReadBuffer::take(),
        }
    }
}

/// A transport as the helpers of tokio read it.
struct Reader<'a, T>(&'a mut T);

impl<T: Transport> AsyncRead for Reader<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buffer)
    }
}

/// Whether input must wait before it is handled: for the answer of a hook, or for other connections to
/// have their turn.
fn is_held(connection: &Connection) -> bool {
    connection.is_waiting() || connection.is_interrupted()
}

/// The reading side of a connection.
pub(super) struct Input {
    stash: Stash,
    /// Bytes of the first packet of the last read, 0 if that is not known.
    packet: u32,
    /// The last read brought much, or all that it asked for: there is probably more.
    more: bool,
}

impl Input {
    pub(super) fn new() -> Self {
        Self {
            stash: Stash::EMPTY,
            packet: 0,
            more: false,
        }
    }

    /// Whether large packets come in.
    pub(super) fn is_large(&self) -> bool {
        self.packet() > OWN_FROM
    }

    fn packet(&self) -> usize {
        self.packet as usize
    }

    /// No packet of MQTT is as long as the type's limit.
    fn set_packet(&mut self, bytes: usize) {
        self.packet = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Reads once and feeds the connection with what came.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut task::Context<'_>,
        transport: &mut impl Transport,
        mut to: Consumer<'_>,
    ) -> Poll<io::Result<Read>> {
        let held = self.stash.charged();
        let plan = self.plan(to.context);
        let read = match plan {
            ReadPlan::Own(large) => self.read_large(cx, transport, &mut to, large),
            plan => self.read_packets(cx, transport, &mut to, plan.buffer()),
        };

        let holds = self.stash.charged();
        if holds != held {
            let link = to.connection.link();
            to.context.hub.note_input(link, holds, || to.context.now());
        }

        read
    }

    /// Decides where the next read goes. The beginning of a packet that has a buffer of its own leaves
    /// the stash with it.
    #[inline]
    fn plan(&mut self, context: &Context) -> ReadPlan {
        let is_plain = !self.more && !self.is_large() && !matches!(self.stash, Stash::Large(_));
        if is_plain {
            return ReadPlan::Shared;
        }

        self.plan_for_much(context)
    }

    /// The plan for a client that sends much: large packets, or many of them without a pause.
    fn plan_for_much(&mut self, context: &Context) -> ReadPlan {
        if matches!(self.stash, Stash::Large(_))
            && let Stash::Large(large) = std::mem::replace(&mut self.stash, Stash::EMPTY)
        {
            return ReadPlan::Own(large);
        }

        if self.more && (AHEAD_FROM..=AHEAD).contains(&self.packet()) {
            // Packets of one size end where the read does.
            let far = if self.is_large() { LONG_READ } else { AHEAD };
            let room = far - far % self.packet().max(1);
            if let Some(buffer) = ReadBuffer::take_long(room) {
                return ReadPlan::Ahead(buffer);
            }
        }

        // Probably another packet of that size follows: read without a copy.
        if self.is_large() && matches!(&self.stash, Stash::Part(part) if part.is_empty()) {
            return ReadPlan::Own(Box::new(Large::new(self.packet(), &[], context)));
        }

        ReadPlan::Shared
    }

    /// Reads packets into a buffer of the thread, behind the beginning of the first one.
    #[inline]
    fn read_packets(
        &mut self,
        cx: &mut task::Context<'_>,
        transport: &mut impl Transport,
        to: &mut Consumer<'_>,
        mut scratch: ReadBuffer,
    ) -> Poll<io::Result<Read>> {
        let begun = std::mem::replace(&mut self.stash, Stash::EMPTY);
        let part = match &begun {
            Stash::Part(part) => &part[..],
            Stash::Charged(part) => &part.0,
            Stash::Large(large) => &large.buffer,
            Stash::Held(held) => &held.0,
        };

        let Some((head, tail)) = scratch.room().split_at_mut_checked(part.len()) else {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        };

        let room = tail.len();
        let mut buffer = ReadBuf::new(tail);
        if transport.poll_read(cx, &mut buffer)?.is_pending() {
            self.stash = begun;
            self.more = false;
            return Poll::Pending;
        }

        let count = buffer.filled().len();
        let bulk = count >= BULK;
        if count > 0 {
            head.copy_from_slice(part);
            to.context.hub.count_read(count as u64);
            self.more = count >= room.min(READ);
            let filled = ..part.len() + count;
            drop(begun);
            let bytes = scratch.as_ref().get(filled).unwrap_or_default();
            self.set_packet(to.connection.packet_len(bytes).unwrap_or(0));
            let used = if bulk {
                let lent = scratch.lend(&to.context.hub);
                let bytes = lent.get(filled).unwrap_or_default();
                self.handle(to, bytes, Some(&lent))
            } else {
                self.handle(to, bytes, None)
            };
            if used == 0 {
                to.connection.note_partial_packet(count, to.context.now());
            }
        }

        Poll::Ready(Ok(Read { count, bulk }))
    }

    /// Reads a packet into a buffer of its own.
    fn read_large(
        &mut self,
        cx: &mut task::Context<'_>,
        transport: &mut impl Transport,
        to: &mut Consumer<'_>,
        mut large: Box<Large>,
    ) -> Poll<io::Result<Read>> {
        large.grow()?;

        let missing = large.missing();
        let mut room = (&mut large.buffer).limit(missing);
        let Poll::Ready(count) = poll_read_buf(Pin::new(&mut Reader(transport)), cx, &mut room)?
        else {
            // An empty buffer is released: the packet may never come.
            if !large.buffer.is_empty() {
                self.stash = Stash::Large(large);
            }
            self.more = false;
            return Poll::Pending;
        };

        to.context.hub.count_read(count as u64);
        self.more = count >= missing.min(READ);

        let known = to.connection.packet_len(&large.buffer);
        if let Some(size) = known {
            large.whole = size;
        }

        self.set_packet(large.whole);

        let limit = to.context.hub.config().limits.packet_bytes as usize;
        let malformed = known.is_none() && large.buffer.len() > LONGEST_HEADER;
        if large.missing() == 0 || large.whole > limit || malformed {
            // A message that shares the packet keeps its buffer, which may have been made for a larger one.
            let fits = large.buffer.capacity() / 2 <= large.buffer.len();
            let bytes = large.finish();
            self.handle(to, &bytes, Some(&bytes).filter(|_| fits));
        } else {
            self.stash = Stash::Large(large);
            to.connection.note_partial_packet(count, to.context.now());
        }

        let bulk = count >= LARGE_BULK;
        Poll::Ready(Ok(Read { count, bulk }))
    }

    /// Feeds bytes to the connection and keeps the rest. Returns the number of used bytes.
    fn handle(&mut self, to: &mut Consumer<'_>, bytes: &[u8], backing: Option<&Bytes>) -> usize {
        let now = to.context.now();
        let used = to.connection.receive_unflushed(bytes, backing, now);
        let rest = bytes.get(used..).unwrap_or_default();
        self.stash = Stash::of(rest, to);
        used
    }

    /// Continues with packets that were read before a hook deferred its answer, or before the turn ended.
    pub(super) fn resume(&mut self, to: Consumer<'_>) {
        if let Stash::Held(held) = std::mem::replace(&mut self.stash, Stash::EMPTY) {
            let (held, charge) = *held;
            let used = to
                .connection
                .receive_unflushed(&held, None, to.context.now());
            let rest = held.slice(used..);
            self.stash = if is_held(to.connection) {
                Stash::Held(Box::new((rest, charge)))
            } else {
                Stash::of(&rest, &to)
            };
            let link = to.connection.link();
            let holds = self.stash.charged();
            to.context.hub.note_input(link, holds, || to.context.now());
        }
    }
}
