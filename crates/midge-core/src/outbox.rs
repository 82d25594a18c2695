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
    segments: Vec<(usize, Bytes)>,
    segment_bytes: usize,
    /// How much of `bytes` and of `segments` has been written.
    written: usize,
    next_segment: usize,
    segment_written: usize,
}

impl Outbox {
    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written + self.segment_bytes
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
        self.segment_bytes += segment.len();
        self.segments.push((self.bytes.len(), segment));
    }

    /// Appends all that another outbox holds.
    pub(crate) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            self.release();
            *self = other;
            return;
        }
        if other.next_segment >= other.segments.len() {
            self.push(&other.bytes[other.written..]);
            other.release();
            return;
        }
        let mut from = other.written;
        for (index, (at, segment)) in other.segments.iter().enumerate().skip(other.next_segment) {
            self.push(&other.bytes[from..*at]);
            from = *at;
            let skip = if index == other.next_segment {
                other.segment_written
            } else {
                0
            };
            self.push_segment(segment.slice(skip..));
        }
        self.push(&other.bytes[from..]);
        other.release();
    }

    /// Fills `slices` with what is to be written next and returns how many it used.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut from = self.written;
        let mut skip = self.segment_written;
        let mut segments = self.segments.iter().skip(self.next_segment);
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
        match self.segments.get(self.next_segment) {
            Some((at, segment)) if *at == self.written => &segment[self.segment_written..],
            Some((at, _)) => &self.bytes[self.written..*at],
            None => &self.bytes[self.written..],
        }
    }

    /// Marks `count` bytes as written. When nothing waits any more the buffer is given back.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let next = self.segments.get(self.next_segment);
            let to = next.map_or(self.bytes.len(), |(at, _)| *at);
            let run = (to - self.written).min(count);
            self.written += run;
            count -= run;
            if self.written < to || count == 0 {
                break;
            }
            let Some((_, segment)) = next else { break };
            let run = (segment.len() - self.segment_written).min(count);
            self.segment_written += run;
            self.segment_bytes -= run;
            count -= run;
            if self.segment_written == segment.len() {
                self.next_segment += 1;
                self.segment_written = 0;
            }
        }
        if self.is_empty() {
            self.release();
        }
    }

    /// Forgets everything and gives the buffer back.
    pub fn release(&mut self) {
        give_buffer(std::mem::take(&mut self.bytes));
        self.segments = Vec::new();
        self.segment_bytes = 0;
        self.written = 0;
        self.next_segment = 0;
        self.segment_written = 0;
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
