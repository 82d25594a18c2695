//! Bytes on their way to one client.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::{Budget, Charge, Part};

#[cfg(test)]
mod tests;

/// Buffers of connections that have nothing to send, kept per thread: an idle connection owns none.
const POOLED_BUFFERS: usize = 32;
const POOLED_CAPACITY: usize = CHUNK;
/// A backlog grows by chunks of this many bytes, not by moving all of it into a larger buffer.
const CHUNK: usize = 128 * 1024;
/// A buffer with more than that is full: what is appended without a known size is smaller.
const NEARLY_FULL: usize = CHUNK - CHUNK / 8;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// For [`crate::prepare_thread`].
pub(crate) fn prepare_thread() {
    let _ = POOL.try_with(|_| ());
}

fn take_buffer() -> Vec<u8> {
    POOL.try_with(|pool| pool.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_default()
}

fn give_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOLED_CAPACITY {
        return;
    }
    buffer.clear();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED_BUFFERS {
            pool.push(buffer);
        }
    });
}

/// A full chunk, which goes back to the buffers when it is written.
struct Chunk(Vec<u8>);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        give_buffer(std::mem::take(&mut self.0));
    }
}

/// More of one payload is not written in one go.
const LONGEST_SLICE: usize = 1024 * 1024;

/// Encoded packets in order. Small ones are copied into one buffer; large payloads, and full chunks
/// of a backlog, are segments, spliced in at their place for a vectored write.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// Few connections have any at a time.
    segments: Option<Box<Segments>>,
    /// What waits for a commit.
    marks: Option<Box<Marks>>,
}

/// Bytes of the smallest buffer.
const SMALLEST: usize = 8;

/// Positions of a store, each with the number of bytes that may leave before it is committed: both
/// rise.
type Marks = VecDeque<(usize, u64)>;

/// Above that a buffer that is mostly empty is not kept for what waits.
const LOOSE: usize = 2 * 1024;

/// Payloads and chunks, each with its place in the bytes; what is charged.
#[derive(Debug, Default)]
struct Segments {
    list: VecDeque<(usize, Bytes)>,
    /// Bytes of them that wait.
    bytes: usize,
    /// Bytes of the chunks that were made of buffers, until all of them are written.
    chunks: usize,
    /// For the memory of all but shared payloads, once it is not written soon. It goes along when the
    /// bytes are taken, and shrinks as they are written.
    charge: Option<Charge>,
    /// Capacity of the buffer when it was charged last, 0 if it has to be again.
    noted: usize,
    /// How much of the first one has been written.
    written: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        let shared = self.segments.as_ref().map_or(0, |segments| segments.bytes);
        self.bytes.len() - self.written + shared
    }

    /// What is appended from now on leaves when a position is committed.
    pub(crate) fn hold(&mut self, position: u64) {
        let at = self.len();
        let marks = self.marks.get_or_insert_default();
        match marks.back_mut() {
            Some((_, last)) if *last >= position => {}
            Some((place, last)) if *place == at => *last = position,
            _ => marks.push_back((at, position)),
        }
    }

    /// Whether something may wait for a commit.
    pub(crate) fn is_marked(&self) -> bool {
        self.marks.is_some()
    }

    /// The number of bytes that may leave, and the position that those behind them wait for; `None` if
    /// all may leave.
    pub(crate) fn held(&mut self, is_committed: impl Fn(u64) -> bool) -> Option<(usize, u64)> {
        let marks = self.marks.as_deref_mut()?;
        while let Some((_, position)) = marks.front()
            && is_committed(*position)
        {
            marks.pop_front();
        }
        let first = marks.front().copied();
        if first.is_none() {
            self.marks = None;
        }
        first
    }

    /// Takes the first `count` bytes; what is behind them goes on waiting.
    pub(crate) fn split_front(&mut self, count: usize) -> Self {
        let marks = self.marks.take();
        let (mut front, mut left) = (Self::default(), count);
        while left > 0 && !self.is_empty() {
            let segment = self.segments.as_ref().and_then(|segments| {
                let (at, segment) = segments.list.front()?;
                (*at == self.written).then(|| segment.slice(segments.written..))
            });
            let chunk = self.chunk();
            let taken = chunk.len().min(left);
            match segment {
                Some(segment) => front.push_segment(segment.slice(..taken)),
                None => front.push(chunk.get(..taken).unwrap_or_default()),
            }
            self.advance(taken);
            left -= taken;
        }

        self.marks = marks;
        for (at, _) in self.marks.iter_mut().flat_map(|marks| marks.iter_mut()) {
            *at = at.saturating_sub(count);
        }
        front
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append a few encoded bytes to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.room_for(CHUNK - NEARLY_FULL)
    }

    /// The buffer to append `count` bytes to.
    #[inline]
    fn room_for(&mut self, count: usize) -> &mut Vec<u8> {
        if self.bytes.len() + count > self.bytes.capacity() {
            self.make_room(count);
        }
        &mut self.bytes
    }

    fn make_room(&mut self, count: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes = take_buffer();
        } else if self.bytes.len() + count > CHUNK && !self.bytes.is_empty() {
            self.start_chunk();
        }
    }

    /// Makes the buffer, which is full, a segment, and starts another one.
    #[cold]
    fn start_chunk(&mut self) {
        let mut buffer = take_buffer();
        buffer.reserve_exact(CHUNK);

        let full = Bytes::from_owner(Chunk(std::mem::replace(&mut self.bytes, buffer)));
        let mut from = std::mem::take(&mut self.written);
        let segments = self.segments.get_or_insert_default();
        segments.bytes += full.len() - from;
        segments.chunks += full.len();

        // Those before the buffer stay, the others cut it into pieces.
        let within = segments.list.partition_point(|(at, _)| *at <= from);
        let rest = segments.list.split_off(within);
        for (at, _) in &mut segments.list {
            *at = 0;
        }

        for (at, segment) in rest {
            if at > from {
                segments.list.push_back((0, full.slice(from..at)));
                from = at;
            }
            segments.list.push_back((0, segment));
        }

        if full.len() > from {
            segments.list.push_back((0, full.slice(from..)));
        }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > self.bytes.capacity() {
            self.make_room(bytes.len());
            if self.bytes.capacity() == 0 {
                // As large as it would grow, in one step.
                self.bytes = Vec::with_capacity(bytes.len().max(SMALLEST));
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends a packet with another packet identifier.
    pub(crate) fn push_numbered(&mut self, packet: &[u8], at: usize, packet_id: u16) {
        let buffer = self.room_for(packet.len());
        let start = buffer.len();
        buffer.extend_from_slice(packet);
        if let Some(place) = buffer
            .get_mut(start + at..)
            .and_then(<[u8]>::first_chunk_mut)
        {
            *place = packet_id.to_be_bytes();
        }
    }

    /// Appends a shared segment.
    pub(crate) fn push_segment(&mut self, segment: Bytes) {
        if segment.is_empty() {
            return;
        }
        let segments = self.segments.get_or_insert_default();
        segments.bytes += segment.len();
        segments.noted = 0;
        segments.list.push_back((self.bytes.len(), segment));
    }

    /// Bytes of memory that nothing else is charged for.
    fn own(&self) -> usize {
        let segments = self.segments.as_ref().map_or(0, |segments| {
            let list = segments.list.capacity() * size_of::<(usize, Bytes)>();
            // Chunks leave one after another; the one that is being written stays whole.
            list + size_of::<Segments>() + segments.chunks.min(segments.bytes + 2 * CHUNK)
        });
        self.bytes.capacity() + segments
    }

    /// Whether `count` bytes more need memory, or what is there has to be charged.
    pub(crate) fn exceeds_charge(&self, count: usize) -> bool {
        let noted = self.segments.as_ref().map_or(0, |segments| segments.noted);
        noted != self.bytes.capacity() || self.bytes.len() + count > noted
    }

    /// Charges what waits to `budget`, from now on until it is written or given up.
    #[cold]
    pub(crate) fn charge(&mut self, budget: &Arc<Budget>) {
        if !self.is_empty() && self.exceeds_charge(0) {
            self.compact();
            // What says what is charged is memory, too.
            self.segments.get_or_insert_default();
            let own = self.own();
            let segments = self.segments.get_or_insert_default();
            segments.noted = self.bytes.capacity();
            segments
                .charge
                .get_or_insert_with(|| Charge::new(budget, Part::Output))
                .set(own);
        }
    }

    /// Bytes that it is charged.
    pub(crate) fn charged(&self) -> usize {
        let segments = self.segments.as_ref();
        segments.map_or(0, |known| known.charge.as_ref().map_or(0, Charge::bytes))
    }

    /// Gives a buffer back that is much larger than what waits in it.
    fn compact(&mut self) {
        let rest = self.bytes.get(self.written..).unwrap_or_default();
        if self.bytes.capacity() <= LOOSE + 2 * rest.len() {
            return;
        }
        let kept = rest.to_vec();
        give_buffer(std::mem::replace(&mut self.bytes, kept));
        let written = std::mem::take(&mut self.written);
        let segments = self.segments.iter_mut().flat_map(|known| &mut known.list);
        for (at, _) in segments {
            *at = at.saturating_sub(written);
        }
    }

    /// Appends all that another outbox holds. If one of them is charged, both are, then.
    pub(crate) fn append(&mut self, mut other: Self) {
        let behind = self.len();
        let marks = other.marks.take();
        self.append_bytes(other);

        let moved = marks.into_iter().flat_map(|marks| *marks);
        for (at, position) in moved.map(|(at, position)| (behind + at, position)) {
            self.marks.get_or_insert_default().push_back((at, position));
        }
    }

    fn append_bytes(&mut self, mut other: Self) {
        if self.is_empty() {
            self.release_bytes();
            (self.bytes, self.written) = (std::mem::take(&mut other.bytes), other.written);
            self.segments = other.segments.take();
            return;
        }

        let charge = |outbox: &mut Self| outbox.segments.as_mut()?.charge.take();
        let charged = charge(self).or_else(|| charge(&mut other));
        let mut from = other.written;
        let chunks = other.segments.as_ref().map_or(0, |known| known.chunks);
        if let Some(segments) = other.segments.take() {
            let mut skip = segments.written;
            for (at, segment) in &segments.list {
                self.push(&other.bytes[from..*at]);
                from = *at;
                self.push_segment(segment.slice(skip..));
                skip = 0;
            }
        }

        self.push(&other.bytes[from..]);
        if charged.is_some() || chunks > 0 {
            let segments = self.segments.get_or_insert_default();
            segments.chunks += chunks;
            segments.charge = charged;
        }

        other.release();
        self.recharge();
    }

    /// Follows what waits, if that is charged.
    fn recharge(&mut self) {
        let (own, noted) = (self.own(), self.bytes.capacity());
        if let Some(segments) = self.segments.as_mut()
            && let Some(charge) = &mut segments.charge
        {
            charge.set(own);
            segments.noted = noted;
        }
    }

    /// All that waits, if that is one run of bytes that may be written in one go.
    #[inline]
    pub fn single(&self) -> Option<&[u8]> {
        if self.segments.is_some() {
            return None;
        }
        self.bytes
            .get(self.written..)
            .filter(|all| all.len() <= CHUNK)
    }

    /// Fills `slices` with what is to be written next and returns how many it used: `enough` bytes
    /// if there are that many. A payload of more than 128 KiB is not cut before 1 MiB.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>], mut enough: usize) -> usize {
        let mut used = 0;
        let mut fill = |bytes: &'a [u8]| {
            let longest = if bytes.len() > CHUNK {
                LONGEST_SLICE
            } else {
                enough
            };
            let part = bytes.get(..longest).unwrap_or(bytes);
            if !part.is_empty()
                && let Some(slot) = slices.get_mut(used)
            {
                *slot = IoSlice::new(part);
                used += 1;
                enough = enough.saturating_sub(part.len());
            }
            part.len() == bytes.len() && enough > 0 && used < slices.len()
        };

        let mut from = self.written;
        if let Some(segments) = self.segments.as_deref() {
            let mut skip = segments.written;
            for (at, segment) in &segments.list {
                if !fill(&self.bytes[from..*at]) || !fill(&segment[skip..]) {
                    return used;
                }
                (from, skip) = (*at, 0);
            }
        }

        fill(&self.bytes[from..]);
        used
    }

    /// The next contiguous run of bytes to write, empty if nothing waits.
    pub fn chunk(&self) -> &[u8] {
        let segments = self.segments.as_deref();
        match segments.and_then(|segments| Some((segments.list.front()?, segments.written))) {
            Some(((at, segment), skip)) if *at == self.written => &segment[skip..],
            Some(((at, _), _)) => &self.bytes[self.written..*at],
            None => &self.bytes[self.written..],
        }
    }

    /// Marks `count` bytes as written. When nothing waits any more the buffer is given back.
    pub fn advance(&mut self, count: usize) {
        if self.segments.is_some() {
            return self.advance_segments(count);
        }
        self.written = self.bytes.len().min(self.written + count);
        if self.written == self.bytes.len() {
            self.release();
        }
    }

    fn advance_segments(&mut self, mut count: usize) {
        while count > 0 {
            let segments = self.segments.as_deref_mut();
            let next = segments.and_then(|segments| {
                let (at, segment) = segments.list.front()?;
                Some((*at, segment.len(), segments))
            });
            let to = next.as_ref().map_or(self.bytes.len(), |(at, ..)| *at);
            let run = (to - self.written).min(count);
            self.written += run;
            count -= run;
            if self.written < to || count == 0 {
                break;
            }
            let Some((_, len, segments)) = next else {
                break;
            };
            let run = (len - segments.written).min(count);
            segments.written += run;
            segments.bytes -= run;
            count -= run;
            if segments.written == len {
                segments.list.pop_front();
                segments.written = 0;
            }
        }

        if self.is_empty() {
            self.release();
        } else {
            self.recharge();
        }
    }

    /// Forgets everything and gives the buffer back.
    pub fn release(&mut self) {
        self.release_bytes();
        self.marks = None;
    }

    fn release_bytes(&mut self) {
        give_buffer(std::mem::take(&mut self.bytes));
        self.segments = None;
        self.written = 0;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        give_buffer(std::mem::take(&mut self.bytes));
    }
}
