//! Publishers: a packet encoded once and patched in place, and a window from end to end.

use std::collections::VecDeque;

use super::{Engine, MAGIC, State};
use crate::mqtt;
use crate::os::{Rng, now_ns};

/// Writes never hold more than this (but at least one packet).
const BATCH_BYTES: usize = 64 * 1024;
/// Packets larger than this send their payload from a shared buffer.
const BIG: usize = 16 * 1024;
/// After so many writes the other connections have their turn.
const WRITES_PER_TURN: usize = 16;
/// Every payload starts with the time stamp (8), the publisher (4) and the sequence number (4).
pub(crate) const PAYLOAD_HEAD: usize = 16;
/// Messages of a schedule whose time of writing is kept.
pub(super) const WRITTEN: usize = 256;

/// How the topic changes from message to message.
pub(crate) enum TopicGen {
    /// It does not.
    Fixed,
    /// Decimal places at these offsets in the topic hold a number below `n`.
    Digits {
        places: Vec<usize>,
        n: u64,
        sequential: bool,
        next: u64,
    },
}

impl TopicGen {
    /// Writes the next number into the packet.
    fn patch(&mut self, packet: &mut [u8], rng: &mut Rng) {
        let Self::Digits {
            places,
            n,
            sequential,
            next,
        } = self
        else {
            return;
        };

        let mut number = if *sequential {
            *next += 1;
            *next - 1
        } else {
            rng.next() % *n
        };

        for &at in places.iter().rev() {
            packet[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// One publisher on one connection.
pub(crate) struct Publisher {
    pub(crate) conn: usize,
    /// The packet up to the end of the payload's head, and all of it.
    head: Vec<u8>,
    full: Vec<u8>,
    payload_at: usize,
    packet_id_at: usize,
    qos: u8,
    big: bool,
    topic: TopicGen,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// How many subscribers get each message.
    pub(crate) fan: u64,
    /// Messages between here and the subscribers, at most.
    pub(crate) window: u64,
    /// Messages between here and their acknowledgement, at most.
    pub(crate) ack_window: u64,
    /// Do not write before this many may be written.
    pub(crate) min_batch: u64,
    /// Send no more than this many.
    pub(crate) limit: u64,
    /// Whether its latencies count.
    pub(crate) measured: bool,
    /// Messages per second of its own schedule; 0: as many as the window allows.
    pub(crate) scheduled: bool,
    pub(super) in_flight: u64,
    pub(crate) acked: u64,
    next_id: u16,
    pub(super) dirty: bool,
    /// When the messages of the schedule were due.
    pub(super) due: VecDeque<u64>,
    /// When the last messages of the schedule were written, by their sequence number; empty without
    /// a schedule.
    pub(super) written: Vec<u64>,
}

impl Publisher {
    #[inline]
    fn credit(&self) -> u64 {
        let outstanding = self.sent.saturating_sub(self.received / self.fan);
        let mut credit = self
            .window
            .saturating_sub(outstanding)
            .min(self.limit - self.sent);
        if self.qos > 0 {
            credit = credit.min(self.ack_window.saturating_sub(self.in_flight));
        }
        if self.scheduled {
            credit = credit.min(self.due.len() as u64);
        }
        credit
    }

    /// Whether that much credit is worth a write.
    #[inline]
    fn is_worth(&self, credit: u64) -> bool {
        credit > 0
            && (credit >= self.min_batch || self.sent + credit >= self.limit || self.scheduled)
    }

    /// Appends the next message to `out`; a big one without its tail.
    #[inline]
    fn append(&mut self, out: &mut Vec<u8>, whole: bool, now: u64, rng: &mut Rng) {
        let at = out.len();
        out.extend_from_slice(if whole { &self.full } else { &self.head });

        let packet = &mut out[at..];
        let stamp = if self.scheduled {
            let at = self.sent as usize % WRITTEN;
            self.written[at] = now;
            self.due.pop_front().unwrap_or(now)
        } else {
            now
        };

        let payload = self.payload_at;
        packet[payload..payload + 8].copy_from_slice(&stamp.to_le_bytes());
        packet[payload + 12..payload + 16].copy_from_slice(&(self.sent as u32).to_le_bytes());
        if self.qos > 0 {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            let id = self.packet_id_at;
            packet[id..id + 2].copy_from_slice(&self.next_id.to_be_bytes());
            self.in_flight += 1;
        }

        self.topic.patch(packet, rng);
        self.sent += 1;
    }

    /// When that message was written, if it is one of a schedule.
    pub(super) fn written_at(&self, sequence: u32) -> Option<u64> {
        self.written.get(sequence as usize % WRITTEN).copied()
    }

    /// One message left the acknowledged window.
    pub(super) fn acknowledged(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.acked += 1;
    }
}

/// What a new publisher sends.
pub(crate) struct Message<'a> {
    pub(crate) topic: &'a str,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) size: usize,
    pub(crate) generator: TopicGen,
}

impl Engine {
    /// Adds a publisher to a connection that is up; its index goes into every payload.
    pub(crate) fn add_publisher(&mut self, conn: usize, message: Message<'_>) -> usize {
        let size = message.size.max(PAYLOAD_HEAD);
        let mqtt::PublishHead {
            bytes: mut head,
            topic_at,
            packet_id_at,
        } = mqtt::publish_head(
            self.version,
            message.topic,
            message.qos,
            message.retain,
            size,
        );
        let payload_at = head.len();
        let index = self.publishers.len();
        head.extend_from_slice(&[0; PAYLOAD_HEAD]);
        head[payload_at + 8..payload_at + 12]
            .copy_from_slice(&(index as u32 ^ MAGIC).to_le_bytes());

        let mut full = head.clone();
        full.resize(payload_at + size, b'x');

        let topic = match message.generator {
            TopicGen::Digits {
                mut places,
                n,
                sequential,
                next,
            } => {
                places.iter_mut().for_each(|p| *p += topic_at);
                TopicGen::Digits {
                    places,
                    n,
                    sequential,
                    next,
                }
            }
            TopicGen::Fixed => TopicGen::Fixed,
        };

        self.publishers.push(Publisher {
            conn,
            // A publisher of QoS 2 puts PUBRELs between its messages, so it copies even big ones.
            big: full.len() > BIG && message.qos < 2,
            head,
            full,
            payload_at,
            packet_id_at,
            qos: message.qos,
            topic,
            sent: 0,
            received: 0,
            fan: 1,
            window: 1,
            ack_window: u64::from(u16::MAX),
            min_batch: 1,
            limit: u64::MAX,
            measured: true,
            scheduled: false,
            in_flight: 0,
            acked: 0,
            next_id: 0,
            dirty: false,
            due: VecDeque::new(),
            written: Vec::new(),
        });

        index
    }

    /// Notes that a publisher may have something to send.
    #[inline]
    pub(crate) fn mark(&mut self, publisher: usize) {
        let p = &mut self.publishers[publisher];
        if !p.dirty {
            p.dirty = true;
            self.dirty.push(publisher as u32);
        }
    }

    /// Lets every marked publisher send what its credits allow.
    pub(crate) fn pump_marked(&mut self) {
        if self.dirty.is_empty() {
            return;
        }
        let now = now_ns();
        let mut marked = std::mem::take(&mut self.dirty);
        // The other buffer collects what is marked meanwhile, so that neither is allocated again.
        self.dirty = std::mem::take(&mut self.dirty_spare);
        for &publisher in &marked {
            self.publishers[publisher as usize].dirty = false;
            self.pump(publisher as usize, now);
        }
        marked.clear();
        self.dirty_spare = marked;
    }

    fn pump(&mut self, publisher: usize, now: u64) {
        for _ in 0..WRITES_PER_TURN {
            let p = &mut self.publishers[publisher];
            let at = p.conn;
            let conn = &mut self.conns[at];
            if conn.state != State::Ready || !conn.is_drained() {
                return;
            }
            let credit = p.credit();
            if !p.is_worth(credit) {
                return;
            }
            conn.out.clear();
            conn.out_pos = 0;
            let whole = !p.big || p.scheduled;
            let fit = if whole {
                (BATCH_BYTES / p.full.len()).max(1) as u64
            } else {
                1
            };
            let n = credit.min(fit);
            for _ in 0..n {
                p.append(&mut conn.out, whole, now, &mut self.rng);
            }

            if !whole {
                conn.tail_left = p.full.len() - p.head.len();
            }
            self.stats.sent += n;
            if !self.flush(at) {
                return;
            }
        }

        self.mark(publisher);
    }
}
