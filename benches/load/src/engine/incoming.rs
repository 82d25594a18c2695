//! What comes back: a streaming parser that keeps no payload, and the book of what arrived.

use super::{Engine, MAGIC, State};
use crate::mqtt;

/// What a PUBLISH told.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    stamp: u64,
    publisher: usize,
    sequence: u32,
    payload_len: usize,
    qos: u8,
    packet_id: [u8; 2],
    retain: bool,
    /// It carries the head that this generator writes.
    ours: bool,
}

/// The fixed header of a packet.
struct Frame {
    header: u8,
    /// Where the body starts and ends; the end may lie beyond the bytes at hand.
    body: usize,
    end: usize,
}

/// What the bytes at hand are.
enum Step {
    /// Too few bytes to tell.
    Wait,
    /// No MQTT.
    Garbage,
    Frame(Frame),
}

/// A variable byte integer: (value, offset after it).
#[inline]
fn varint(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let (mut value, mut shift) = (0usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 || shift == 21 {
            return Some((value, at));
        }
        shift += 7;
    }
}

#[inline]
fn next_frame(bytes: &[u8], at: usize) -> Step {
    let Some(&header) = bytes.get(at) else {
        return Step::Wait;
    };
    let Some((len, body)) = varint(bytes, at + 1) else {
        return Step::Wait;
    };
    if header >> 4 == 0 {
        return Step::Garbage;
    }
    Step::Frame(Frame {
        header,
        body,
        end: body + len,
    })
}

#[inline]
fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Engine {
    /// Reads the start of a PUBLISH; nothing when more bytes are needed for that.
    #[inline]
    fn publish_start(&self, bytes: &[u8], frame: &Frame) -> Option<Received> {
        let qos = frame.header >> 1 & 3;
        let topic_len = usize::from(u16::from_be_bytes(word(bytes, frame.body)?));
        let mut at = frame.body + 2 + topic_len;
        let mut packet_id = [0, 0];
        if qos > 0 {
            packet_id = word(bytes, at)?;
            at += 2;
        }
        if self.version == 5 {
            let (len, after) = varint(bytes, at)?;
            at = after + len;
        }

        let mut r = Received {
            stamp: 0,
            publisher: usize::MAX,
            sequence: 0,
            payload_len: frame.end.saturating_sub(at),
            qos,
            packet_id,
            retain: frame.header & 1 == 1,
            ours: false,
        };

        if frame.end >= at + 16 {
            r.stamp = u64::from_le_bytes(word(bytes, at)?);
            r.publisher = (u32::from_le_bytes(word(bytes, at + 8)?) ^ MAGIC) as usize;
            r.sequence = u32::from_le_bytes(word(bytes, at + 12)?);
            r.ours = r.publisher < self.publishers.len();
        } else if frame.end > bytes.len() {
            return None;
        }

        Some(r)
    }

    /// Handles all whole packets and the starts of large ones; returns how many bytes it used.
    pub(super) fn parse(&mut self, at: usize, bytes: &[u8], now: u64) -> usize {
        let mut pos = 0;

        loop {
            let conn = &mut self.conns[at];
            if conn.skip > 0 {
                let n = conn.skip.min(bytes.len() - pos);
                pos += n;
                conn.skip -= n;
                if conn.skip > 0 {
                    return pos;
                }
                if let Some(received) = conn.pending.take() {
                    self.on_publish(at, received, now);
                }
                continue;
            }
            let frame = match next_frame(bytes, pos) {
                Step::Wait => return pos,
                Step::Garbage => {
                    self.lost(at);
                    return bytes.len();
                }
                Step::Frame(frame) => frame,
            };

            if frame.header >> 4 == 3 {
                let Some(received) = self.publish_start(bytes, &frame) else {
                    return pos;
                };
                if frame.end > bytes.len() {
                    let conn = &mut self.conns[at];
                    conn.skip = frame.end - bytes.len();
                    conn.pending = Some(received);
                    return bytes.len();
                }
                self.on_publish(at, received, now);
            } else {
                let Some(body) = bytes.get(frame.body..frame.end) else {
                    return pos;
                };
                self.on_control(at, frame.header, body, now);
                if self.conns[at].fd.is_none() {
                    return bytes.len();
                }
            }
            pos = frame.end;
        }
    }

    #[inline]
    fn on_publish(&mut self, at: usize, r: Received, now: u64) {
        let conn = &mut self.conns[at];
        if r.qos > 0 {
            let header = if r.qos == 1 { 0x40 } else { 0x50 };
            conn.out
                .extend_from_slice(&[header, 2, r.packet_id[0], r.packet_id[1]]);
        }

        conn.received += 1;
        self.stats.received += 1;
        self.stats.received_bytes += r.payload_len as u64;
        self.stats.retained += u64::from(r.retain);
        self.last_received_ns = now;
        if self.first_received_ns == 0 {
            self.first_received_ns = now;
        }
        if !r.ours {
            self.stats.foreign += 1;
            return;
        }

        let publishers = self.publishers.len();
        let publisher = &mut self.publishers[r.publisher];
        if self.latency_on && publisher.measured {
            self.latency.add(now.saturating_sub(r.stamp));
            if let Some(written) = publisher.written_at(r.sequence).filter(|_| self.stamps) {
                self.way.add(self.arrived_ns.saturating_sub(written));
            }
        }

        match self.sequence.get_mut(conn.index * publishers + r.publisher) {
            None => publisher.received += 1,
            Some(expected) if r.sequence >= *expected => {
                let gap = u64::from(r.sequence - *expected);
                self.stats.lost += gap;
                publisher.received += 1 + gap;
                *expected = r.sequence + 1;
            }
            Some(_) => self.stats.duplicates += 1,
        }

        self.mark(r.publisher);
    }

    fn on_control(&mut self, at: usize, header: u8, body: &[u8], now: u64) {
        let id = [
            body.first().copied().unwrap_or(0),
            body.get(1).copied().unwrap_or(0),
        ];
        let failed = body.get(2).is_some_and(|&code| code >= 0x80);

        match header >> 4 {
            2 => self.on_connack(at, body, now),
            4 | 7 => self.on_acknowledged(at, failed),
            5 if failed => self.on_acknowledged(at, true),
            5 => self.conns[at]
                .out
                .extend_from_slice(&[0x62, 2, id[0], id[1]]),
            6 => self.conns[at]
                .out
                .extend_from_slice(&[0x70, 2, id[0], id[1]]),
            9 => {
                let codes_at = if self.version == 5 {
                    3 + usize::from(body.get(2).copied().unwrap_or(0))
                } else {
                    2
                };
                let codes = body.get(codes_at..).unwrap_or(&[]);
                let conn = &mut self.conns[at];
                conn.subacks += 1;
                conn.refused += codes.iter().filter(|&&code| code >= 0x80).count() as u32;
            }
            14 => self.lost(at),
            _ => {}
        }
    }

    fn on_connack(&mut self, at: usize, body: &[u8], now: u64) {
        let &[flags, 0, ref properties @ ..] = body else {
            self.connect_failed += 1;
            self.close(at, false);
            return;
        };
        let conn = &mut self.conns[at];
        conn.state = State::Ready;
        conn.session_present = flags & 1 == 1;
        if self.version == 5 {
            conn.receive_maximum = mqtt::receive_maximum(properties).unwrap_or(u16::MAX);
        }
        self.connect_time.add(now - conn.dialed_ns);
        self.ready += 1;
    }

    fn on_acknowledged(&mut self, at: usize, failed: bool) {
        let publisher = self.conns[at].index;
        self.stats.acks += 1;
        self.stats.ack_errors += u64::from(failed);
        if let Some(p) = self.publishers.get_mut(publisher) {
            p.acknowledged();
            self.mark(publisher);
        }
    }
}
