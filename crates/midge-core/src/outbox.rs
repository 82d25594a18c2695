//! Bytes on their way to one client.

use std::cell::RefCell;
use std::io::IoSlice;

use bytes::Bytes;

/// Buffers of connections that have nothing to send, kept per thread: an idle connection owns none.
const POOLED_BUFFERS: usize = 32;
const POOLED_CAPACITY: usize = 256 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
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

/// Encoded packets in order. Small ones are copied into one buffer; large payloads stay shared
/// segments, spliced in at their place for a vectored write.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How much of `bytes` has been written.
    written: usize,
    /// Few connections have any at a time.
    segments: Option<Box<Segments>>,
}

/// Shared payloads, each with its place in the bytes.
#[derive(Debug, Default)]
struct Segments {
    list: Vec<(usize, Bytes)>,
    /// Bytes of them that wait.
    bytes: usize,
    /// The first that is not written yet, and how much of it is.
    next: usize,
    written: usize,
}

impl Segments {
    fn next(&self) -> Option<&(usize, Bytes)> {
        self.list.get(self.next)
    }
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        let shared = self.segments.as_ref().map_or(0, |segments| segments.bytes);
        self.bytes.len() - self.written + shared
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append encoded bytes to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() == 0 {
            self.bytes = take_buffer();
        }
        &mut self.bytes
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// Appends a packet with another packet identifier.
    pub(crate) fn push_numbered(&mut self, packet: &[u8], at: usize, packet_id: u16) {
        let buffer = self.buffer();
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
        let segments = self.segments.get_or_insert_default();
        segments.bytes += segment.len();
        segments.list.push((self.bytes.len(), segment));
    }

    /// Appends all that another outbox holds.
    pub(crate) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            self.release();
            *self = other;
            return;
        }
        let mut from = other.written;
        if let Some(segments) = other.segments.take() {
            let mut skip = segments.written;
            for (at, segment) in segments.list.iter().skip(segments.next) {
                self.push(&other.bytes[from..*at]);
                from = *at;
                self.push_segment(segment.slice(skip..));
                skip = 0;
            }
        }
        self.push(&other.bytes[from..]);
        other.release();
    }

    /// Fills `slices` with what is to be written next and returns how many it used.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut from = self.written;
        let shared = self.segments.as_deref();
        let mut skip = shared.map_or(0, |segments| segments.written);
        let mut segments = shared
            .into_iter()
            .flat_map(|segments| segments.list.iter().skip(segments.next));
        while used < slices.len() {
            let next = segments.next();
            let to = next.map_or(self.bytes.len(), |(at, _)| *at);
            if to > from {
                slices[used] = IoSlice::new(&self.bytes[from..to]);
                used += 1;
                from = to;
            }
            let Some((_, segment)) = next else { break };
            if used == slices.len() {
                break;
            }
            slices[used] = IoSlice::new(&segment[skip..]);
            skip = 0;
            used += 1;
        }
        used
    }

    /// The next contiguous run of bytes to write, empty if nothing waits.
    pub fn chunk(&self) -> &[u8] {
        let segments = self.segments.as_deref();
        match segments.and_then(|segments| Some((segments.next()?, segments.written))) {
            Some(((at, segment), skip)) if *at == self.written => &segment[skip..],
            Some(((at, _), _)) => &self.bytes[self.written..*at],
            None => &self.bytes[self.written..],
        }
    }

    /// Marks `count` bytes as written. When nothing waits any more the buffer is given back.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let segments = self.segments.as_deref_mut();
            let next = segments.and_then(|segments| {
                let (at, segment) = segments.next()?;
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
                segments.next += 1;
                segments.written = 0;
            }
        }
        if self.is_empty() {
            self.release();
        }
    }

    /// Forgets everything and gives the buffer back.
    pub fn release(&mut self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn content(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let used = outbox.io_slices(&mut slices);
        slices[..used]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    fn sample() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push(b"ab");
        outbox.push_segment(Bytes::from_static(b"CDE"));
        outbox.push_segment(Bytes::from_static(b"F"));
        outbox.push(b"gh");
        outbox.push_segment(Bytes::from_static(b"IJ"));
        outbox
    }

    #[test]
    fn any_split_of_writes_gives_the_same_bytes() {
        let whole = b"abCDEFghIJ";
        for first in 0..=whole.len() {
            for second in 0..=whole.len() - first {
                let mut outbox = sample();
                outbox.advance(first);
                assert_eq!(outbox.len(), whole.len() - first);
                outbox.advance(second);
                assert_eq!(content(&outbox), &whole[first + second..]);
                let mut seen = Vec::new();
                while !outbox.is_empty() {
                    let chunk = outbox.chunk().to_vec();
                    outbox.advance(chunk.len());
                    seen.extend(chunk);
                }
                assert_eq!(seen, &whole[first + second..]);
            }
        }
    }

    #[test]
    fn appending_a_half_written_outbox_keeps_the_order() {
        for written in 0..=10 {
            let mut tail = sample();
            tail.advance(written);
            let mut outbox = Outbox::default();
            outbox.push(b"x");
            outbox.append(tail);
            assert_eq!(content(&outbox), [b"x", &b"abCDEFghIJ"[written..]].concat());
        }
    }
}
