//! A client of a script, and its connection at the core.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};

use midge_core::{Connection, Flush, Hub, Link, NextOutput, Outbox, Tick};

use crate::build::{Connect, ack, ack_code};
use crate::packet::{Kind, Packet};
use crate::parse::parse;

/// No notification: the driver of a script polls its peers.
struct Unnotified;

impl Flush for Unnotified {
    fn flush(&self) {}
}

/// A connection at the core.
pub(super) struct Wire {
    hub: Arc<Hub>,
    link: Arc<Link>,
    connection: Connection,
    unread: Vec<u8>,
    output: Vec<u8>,
}

impl Wire {
    pub(super) fn open(hub: &Arc<Hub>, now: Tick) -> Option<Self> {
        let link = hub.accept("peer".into(), "script".into(), Arc::new(Unnotified), now)?;
        Some(Self {
            connection: Connection::new(hub.clone(), link.clone()),
            hub: hub.clone(),
            link,
            unread: Vec::new(),
            output: Vec::new(),
        })
    }

    /// Lets the broker read once.
    pub(super) fn say(&mut self, bytes: &[u8], now: Tick) {
        self.unread.extend_from_slice(bytes);
        let mut context = Context::from_waker(Waker::noop());
        while self.link.ended().is_none() {
            let input = bytes::Bytes::from(std::mem::take(&mut self.unread));
            let used = self.connection.receive(&input, Some(&input), now);
            self.unread
                .extend_from_slice(&input[used.min(input.len())..]);
            while self.connection.gives_way() {
                let _ = self.connection.poll(&mut context, now);
            }
            if !self.connection.is_interrupted() {
                return;
            }
        }
    }

    /// Takes all output.
    pub(super) fn read(&mut self, now: Tick) -> Vec<u8> {
        let mut out = Outbox::default();
        let mut bytes = Vec::new();
        let mut work = Vec::new();
        let mut wrote = false;
        loop {
            let next = (self.hub).next_output(&self.link, wrote, &mut out, &mut work, || now);
            wrote = next == NextOutput::Bytes;
            while !out.is_empty() {
                bytes.extend_from_slice(out.chunk());
                out.advance(out.chunk().len());
            }
            let again = !work.is_empty();
            for mut batch in work.drain(..) {
                self.hub.finish(&mut batch);
            }
            if next == NextOutput::Nothing && !again {
                break;
            }
        }

        self.connection.output_written();
        self.output.extend_from_slice(&bytes);
        bytes
    }

    pub(super) fn ended(&self) -> bool {
        self.link.ended().is_some()
    }

    /// The transport breaks.
    pub(super) fn close(self, now: Tick) {
        self.hub.closed(&self.link, now);
    }

    /// The packets that were read since the last time.
    fn packets(&mut self, version: u8) -> Vec<Packet> {
        let mut packets = Vec::new();
        let mut used = 0;
        while let Ok(Some((packet, length))) = parse(&self.output[used..], version) {
            packets.push(packet);
            used += length;
        }
        self.output.drain(..used);
        packets
    }
}

/// Packet identifiers of a session. A broker chooses them as it likes, on one way other ones than on
/// another.
#[derive(Default)]
pub(super) struct Identifiers {
    counts: HashMap<u16, u16>,
    last: u16,
}

impl Identifiers {
    /// Whole packets, with the number of the message in place of its packet identifier, 0 for one that
    /// is sent again.
    pub(super) fn counted(&mut self, mut packets: Vec<u8>) -> Vec<u8> {
        let mut rest = &mut packets[..];
        while let Some(&first) = rest.first() {
            let digits = rest[1..]
                .iter()
                .take(4)
                .take_while(|byte| **byte & 0x80 != 0);
            let head = digits.count() + 2;
            let length = (rest[1..head].iter().rev())
                .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
            let (packet, behind) = rest.split_at_mut(head + length);
            rest = behind;

            let (is_publish, qos) = (first >> 4 == 3, first >> 1 & 3);
            let at = match is_publish {
                true if qos > 0 => head + 2 + usize::from(word(&packet[head..])),
                false if first >> 4 == 6 => head,
                _ => continue,
            };
            let packet_id = word(&packet[at..]);
            if is_publish {
                // One that is sent again may be one that the client has never got.
                let is_first = first & 8 == 0;
                self.last = self.last.wrapping_add(u16::from(is_first));
                let count = if is_first { self.last } else { 0 };
                self.counts.insert(packet_id, count);
            }
            let count = self.counts.get(&packet_id).copied().unwrap_or(0);
            packet[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        packets
    }
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// A client.
pub(super) struct Peer {
    pub(super) connect: Connect,
    pub(super) wire: Option<Wire>,
    pub(super) identifiers: Identifiers,
    pub(super) next_id: u16,
    /// Acknowledgements that it owes.
    pub(super) owed: VecDeque<(Kind, u16)>,
    /// QoS 2 messages of its own that wait for PUBREL.
    pub(super) to_release: VecDeque<u16>,
    pub(super) received: u64,
}

impl Peer {
    pub(super) fn new(connect: Connect) -> Self {
        Self {
            connect,
            wire: None,
            identifiers: Identifiers::default(),
            next_id: 0,
            owed: VecDeque::new(),
            to_release: VecDeque::new(),
            received: 0,
        }
    }

    pub(super) fn fresh_id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }

    /// What packets from the broker ask for.
    pub(super) fn note(&mut self) {
        let version = self.connect.version;
        let packets = match &mut self.wire {
            Some(wire) => wire.packets(version),
            None => return,
        };

        for packet in packets {
            match packet {
                Packet::Publish(message) => {
                    self.received += 1;
                    match message.qos {
                        1 => self.owed.push_back((Kind::Puback, message.id)),
                        2 => self.owed.push_back((Kind::Pubrec, message.id)),
                        _ => {}
                    }
                }
                Packet::Ack(ack) => match ack.kind {
                    Kind::Pubrec if ack.code < 0x80 => self.to_release.push_back(ack.id),
                    Kind::Pubrel => self.owed.push_back((Kind::Pubcomp, ack.id)),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    /// Some of the acknowledgements that it owes.
    pub(super) fn acknowledge(&mut self, count: usize, refuses: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let Some((kind, id)) = self.owed.pop_front() else {
                break;
            };
            let refusal = refuses && self.connect.version == 5 && kind != Kind::Pubcomp;
            match refusal {
                true => bytes.extend(ack_code(kind, id, 0x83)),
                false => bytes.extend(ack(kind, id)),
            }
        }
        bytes
    }

    /// Forgets what belongs to a connection that is gone.
    pub(super) fn forget(&mut self) {
        self.owed.clear();
        self.to_release.clear();
    }
}
