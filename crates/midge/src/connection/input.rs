//! What a connection reads: how much at a time, into whose memory, and what is left of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use midge_core::{Charge, Connection, Part};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::read_buffer::{LONG_READ, READ, ReadBuffer};
use crate::engine::runtime::Core;

/// A client that has more, of packets of at least so many bytes, is read further: what there is to do
/// for each read and write, and to wake somebody, counts more then than what leaves the cache.
const LONG_FROM: usize = 2 * 1024;
/// How far that is, as long as packets are not large: what is read further than that costs no less,
/// and is a longer turn, which others wait for.
const FAR: usize = LONG_READ / 2;
/// A larger packet is read into a buffer of its own when it comes alone.
const OWN_FROM: usize = READ / 2;
/// Bytes of a read after which others get their turn: there is probably more where that came from.
const BULK: usize = READ / 2;
/// The same for a packet in a buffer of its own, which is less work.
const LARGE_BULK: usize = 4 * READ;
/// Memory reserved at once for a large packet, of a payload of 1 MiB and what stands before it; beyond
/// that it grows with what really arrives.
const RESERVE: usize = (1 << 20) + READ;
/// Bytes of the longest fixed header.
const LONGEST_HEADER: usize = 5;

/// Bytes of the beginning of a packet that a connection holds without being charged for them.
const FREE_PART: usize = 256;

/// What is left of the last read.
enum Stash {
    /// The beginning of a packet, a few bytes.
    Part(Vec<u8>),
    /// More of it; the whole packet fits into the read buffer.
    Charged(Box<(Vec<u8>, Charge)>),
    /// A packet that is read into a buffer of its own.
    Large(Box<Large>),
    /// What has to wait for a hook's answer; seldom any.
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
    fn new(whole: usize, begun: &[u8], core: &Core) -> Self {
        let capacity = whole.min(RESERVE).max(begun.len());
        let mut buffer = Vec::new();
        // What is lacking is asked for again when the rest comes.
        let _ = buffer.try_reserve_exact(capacity);
        buffer.extend_from_slice(begun);
        let charge = core.hub.hold_input(buffer.capacity());
        Self {
            buffer,
            whole,
            charge,
        }
    }

    fn missing(&self) -> usize {
        self.whole.saturating_sub(self.buffer.len())
    }

    /// Makes room for what is read next: no more at a time than has arrived, or a megabyte, and
    /// exactly for the whole packet in the end. Its size is the client's: without memory for it the
    /// connection ends.
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

    fn of(rest: &[u8], to: &Sink<'_>) -> Self {
        if is_held(to.connection) {
            let charge = to.core.hub.hold_input(rest.len());
            return Self::Held(Box::new((Bytes::copy_from_slice(rest), charge)));
        }
        match to.connection.missing(rest) {
            Some(whole) if whole > OWN_FROM => {
                Self::Large(Box::new(Large::new(whole, rest, to.core)))
            }
            _ if rest.len() > FREE_PART => {
                let charge = to.core.hub.hold_input(rest.len());
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

/// Who handles what was read.
pub(crate) struct Sink<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) core: &'a Core,
}

/// What one read brought.
pub(crate) struct Read {
    /// Bytes; 0 are the end of the stream.
    pub(crate) count: usize,
    /// So many that others get their turn.
    pub(crate) bulk: bool,
}

/// Whether what was read waits before it is handled: for the answer of a hook, or for other
/// connections to have their turn.
fn is_held(connection: &Connection) -> bool {
    connection.is_waiting() || connection.is_interrupted()
}

/// The reading side of a connection.
pub(crate) struct Input {
    stash: Stash,
    /// Bytes of the first packet of the last read, 0 if that is not known.
    packet: u32,
    /// The last read brought much, or all that it asked for: there is probably more.
    more: bool,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self {
            stash: Stash::EMPTY,
            packet: 0,
            more: false,
        }
    }

    /// Whether large packets come in.
    pub(crate) fn is_large(&self) -> bool {
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
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
        mut to: Sink<'_>,
    ) -> Poll<io::Result<Read>> {
        let goes_on = matches!(self.stash, Stash::Large(_));
        let worth_long = self.more && (LONG_FROM..=LONG_READ / 2).contains(&self.packet());
        let long = if worth_long && !goes_on {
            // Packets of one size end where the read does.
            let far = if self.is_large() { LONG_READ } else { FAR };
            ReadBuffer::take_long(far - far % self.packet().max(1))
        } else {
            None
        };

        let held = self.stash.charged();
        let read = match std::mem::replace(&mut self.stash, Stash::EMPTY) {
            Stash::Part(part) if part.is_empty() && self.is_large() && long.is_none() => {
                // Probably another one of that size: read without a copy.
                let large = Large::new(self.packet(), &[], to.core);
                self.read_large(cx, reader, &mut to, Box::new(large))
            }
            Stash::Large(large) => self.read_large(cx, reader, &mut to, large),
            part => self.read_packets(cx, reader, &mut to, part, long),
        };

        let holds = self.stash.charged();
        if holds != held {
            let link = to.connection.link();
            to.core.hub.note_input(link, holds, || to.core.now());
        }

        read
    }

    /// Reads packets into the buffer of the thread.
    fn read_packets(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
        to: &mut Sink<'_>,
        begun: Stash,
        long: Option<ReadBuffer>,
    ) -> Poll<io::Result<Read>> {
        let mut scratch = long.unwrap_or_else(ReadBuffer::take);
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
        if Pin::new(reader).poll_read(cx, &mut buffer)?.is_pending() {
            self.stash = begun;
            self.more = false;
            return Poll::Pending;
        }

        let count = buffer.filled().len();
        let bulk = count >= BULK;
        if count > 0 {
            head.copy_from_slice(part);
            to.core.hub.count_read(count as u64);
            self.more = count >= room.min(READ);
            let filled = ..part.len() + count;
            drop(begun);
            let bytes = scratch.as_ref().get(filled).unwrap_or_default();
            self.set_packet(to.connection.missing(bytes).unwrap_or(0));
            let used = if bulk {
                let lent = scratch.lend(&to.core.hub);
                let bytes = lent.get(filled).unwrap_or_default();
                self.handle(to, bytes, Some(&lent))
            } else {
                self.handle(to, bytes, None)
            };
            if used == 0 {
                to.connection.arriving(count, to.core.now());
            }
        }

        Poll::Ready(Ok(Read { count, bulk }))
    }

    /// Reads a packet into a buffer of its own.
    fn read_large(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut (impl AsyncRead + Unpin),
        to: &mut Sink<'_>,
        mut large: Box<Large>,
    ) -> Poll<io::Result<Read>> {
        large.grow()?;

        let missing = large.missing();
        let mut room = (&mut large.buffer).limit(missing);
        let Poll::Ready(count) = poll_read_buf(Pin::new(reader), cx, &mut room)? else {
            // Nothing is held for a packet that may never come.
            if !large.buffer.is_empty() {
                self.stash = Stash::Large(large);
            }
            self.more = false;
            return Poll::Pending;
        };

        to.core.hub.count_read(count as u64);
        self.more = count >= missing.min(READ);

        let known = to.connection.missing(&large.buffer);
        if let Some(size) = known {
            large.whole = size;
        }

        self.set_packet(large.whole);

        let limit = to.core.hub.config().limits.packet_bytes as usize;
        let malformed = known.is_none() && large.buffer.len() > LONGEST_HEADER;
        if large.missing() == 0 || large.whole > limit || malformed {
            // Whoever keeps a packet keeps its buffer, which may have been made for a larger one.
            let fits = large.buffer.capacity() / 2 <= large.buffer.len();
            let bytes = large.finish();
            self.handle(to, &bytes, Some(&bytes).filter(|_| fits));
        } else {
            self.stash = Stash::Large(large);
            to.connection.arriving(count, to.core.now());
        }

        let bulk = count >= LARGE_BULK;
        Poll::Ready(Ok(Read { count, bulk }))
    }

    /// Feeds bytes to the connection and keeps the rest. Returns the number of used bytes.
    fn handle(&mut self, to: &mut Sink<'_>, bytes: &[u8], backing: Option<&Bytes>) -> usize {
        let now = to.core.now();
        let used = to.connection.receive_quietly(bytes, backing, now);
        let rest = bytes.get(used..).unwrap_or_default();
        self.stash = Stash::of(rest, to);
        used
    }

    /// Goes on with packets that were read before a hook deferred its answer, or before many hooks
    /// were called.
    pub(crate) fn resume(&mut self, to: Sink<'_>) {
        if let Stash::Held(held) = std::mem::replace(&mut self.stash, Stash::EMPTY) {
            let (held, charge) = *held;
            let used = to.connection.receive_quietly(&held, None, to.core.now());
            let rest = held.slice(used..);
            self.stash = if is_held(to.connection) {
                Stash::Held(Box::new((rest, charge)))
            } else {
                Stash::of(&rest, &to)
            };
            let link = to.connection.link();
            let holds = self.stash.charged();
            to.core.hub.note_input(link, holds, || to.core.now());
        }
    }
}
